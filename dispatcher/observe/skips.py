"""Recorded skips, kept small: there may be one for each job and outage."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple


class Skip(NamedTuple):
    """`number` fires of a job planned in (after, until] that did not go out, and where that is recorded."""

    job: bytes
    after: int
    until: int
    number: int
    reason: str
    shard: int
    offset: int


class Skips:
    """All skips in order, about 60 bytes each."""

    def __init__(self) -> None:
        self._jobs: list[bytes] = []
        self._numbers = array("q")
        self._reasons: list[str] = []
        self._known: dict[str, str] = {}

    def add(self, skip: Skip) -> None:
        """Keep a skip."""
        self._jobs.append(skip.job)
        self._reasons.append(self._known.setdefault(skip.reason, skip.reason))
        self._numbers.extend((skip.after, skip.until, skip.number, skip.shard, skip.offset))

    def __iter__(self) -> Iterator[Skip]:
        numbers = self._numbers
        for place, (job, reason) in enumerate(zip(self._jobs, self._reasons, strict=True)):
            after, until, number, shard, offset = numbers[5 * place : 5 * place + 5]
            yield Skip(job, after, until, number, reason, shard, offset)
