"""Compact JSON, read fast: the ledger is full of it."""

from __future__ import annotations

import json
from typing import Any

_DECODER = json.JSONDecoder()


def read_json(line: bytes) -> Any:
    """Return the value of a line of compact JSON. Raises ValueError.

    `json.loads` looks for encodings and white space first, which takes as long again.
    """
    text = line.decode()
    value, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError(f"a JSON value ends at {end} of {len(text)}")
    return value
