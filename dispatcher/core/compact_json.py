"""Compact JSON, read and written fast: the ledger and the events are full of it."""

from __future__ import annotations

import json
from typing import Any

_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


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
    return _ENCODER.encode(value).encode()
