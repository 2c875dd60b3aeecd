"""Definitions at the speed of a million: the same bytes as `core.job.encode_definition`, one encoder for all."""

from __future__ import annotations

import json
from typing import Any

_text_of = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def encode(entry: dict[str, Any]) -> bytes:
    """Return the entry as compact UTF-8 JSON, in its author's order."""
    return _text_of(entry).encode()
