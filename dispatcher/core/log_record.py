"""A committed record as a reader got it."""

from __future__ import annotations

from typing import NamedTuple

from dispatcher.core.instant import Instant


class Record(NamedTuple):
    """One committed record and where it lies; `timestamp` is the record's own, in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: Instant
    headers: list[tuple[str, bytes]]
    value: bytes | None
    key: bytes | None = None
