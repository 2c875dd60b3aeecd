"""Definitions by the million: the bytes of `core.job.encode_definition`, with one encoder for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from json import encoder
from typing import Any


def _refuse(value: object) -> str:
    raise TypeError(f"{type(value).__name__} does not come from JSON")


_SORTED, _SKIP, _NAN = False, False, False
_make = encoder.c_make_encoder  # type: ignore[attr-defined] # the stubs leave it out
_pieces: Callable[[dict[str, Any], int], Iterable[str]] = _make(
    None, _refuse, encoder.encode_basestring, None, ":", ",", _SORTED, _SKIP, _NAN
)


def encode(entry: dict[str, Any]) -> bytes:
    """Return the entry as compact UTF-8 JSON, in its author's order."""
    return "".join(_pieces(entry, 0)).encode()
