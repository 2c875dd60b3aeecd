"""Compact JSON, read and written fast: the ledger and the events are full of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def _parts_of(encoder: json.JSONEncoder) -> Callable[[Any, int], Iterable[str]]:
    """Return what gives the parts of a value's text.

    `JSONEncoder.encode` makes the C function that does it anew for each value, a quarter of its time for
    such as these.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: encoder.iterencode(value)
    parts: Callable[[Any, int], Iterable[str]] = make(
        None,
        encoder.default,
        json.encoder.encode_basestring,
        None,
        encoder.key_separator,
        encoder.item_separator,
        encoder.sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )
    return parts


_PARTS = _parts_of(_ENCODER)


def read_json(line: bytes) -> Any:
    """Return the value of a line of compact JSON. Raises ValueError.

    `json.loads` looks for encodings and white space first, which takes as long again.
    """
    text = line.decode()
    value, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError(f"a JSON value ends at {end} of {len(text)}")
    return value


def write_json(value: Any) -> bytes:
    """Return a value as compact JSON. `json.dumps` makes an encoder anew for each."""
    return "".join(_PARTS(value, 0)).encode()
