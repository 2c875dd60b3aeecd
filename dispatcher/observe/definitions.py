"""The definitions in a `job.*` event, as the very bytes that every message of the job carries."""

from __future__ import annotations

import json
from typing import Any

_NEW, _OLD = ',"definition":', ',"previous":'
_decoder = json.JSONDecoder()


def definitions(value: bytes) -> tuple[dict[str, Any], bytes | None, bytes | None]:
    """Return an event's own facts, the new definition and the one before it, where it has them.

    Raises ValueError for a value that is no such event.
    """
    text = value.decode()
    head, mark, rest = text.partition(_NEW)
    if not mark:
        head, mark, rest = text.partition(_OLD)
        return _facts(head, mark), None, rest[:-1].encode() if mark else None
    if _OLD not in rest:
        return _facts(head, mark), rest[:-1].encode(), None
    _, end = _decoder.raw_decode(rest)
    old = rest[end:-1].removeprefix(_OLD) if rest.startswith(_OLD, end) else ""
    return _facts(head, mark), rest[:end].encode(), old.encode() or None


def _facts(head: str, mark: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(head + "}" if mark else head)
    return found
