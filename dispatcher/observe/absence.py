"""Whether shards fire at all: every replica looks at all of them, by what it reads, and trusts no thread.

A thread that has died, hangs or lost its way tells nothing of it. So its ledger is read by another one, and
held against the schedule that is in force there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dispatcher.clock import Clock
from dispatcher.core.expected import Expected
from dispatcher.core.instant import Instant
from dispatcher.core.job import Job
from dispatcher.core.ledger import Position
from dispatcher.service import Loop, Looped

_LOOK_SECONDS = 1.0
_GROUPS_AT_ONCE = 500
"""Triggers that are computed in one look at a shard: some ten milliseconds."""
_ANEW_MS = 10_000
"""A schedule that is changed all the time is taken in this often."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A shard as its ledger shows it; `overdue_since` is when the first fire was due that is missing."""

    position: Position
    overdue_since: Instant | None = None


class _Watched:
    """What is known of one shard."""

    __slots__ = ("change", "expected", "taken_in")

    def __init__(self) -> None:
        self.change = -1
        self.expected: Expected | None = None
        self.taken_in = -_ANEW_MS


class AbsenceWatch(Looped):
    """A service. `position_of` tells where a shard stands, `jobs_of` what is in force there, by change."""

    def __init__(
        self,
        shards: int,
        clock: Clock,
        position_of: Callable[[int], Position | None],
        jobs_of: Callable[[int], tuple[int, tuple[Job, ...]] | None],
        *,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._clock = clock
        self._position_of = position_of
        self._jobs_of = jobs_of
        self._watched = {shard: _Watched() for shard in range(shards)}
        self._lock = threading.Lock()
        self.seen: Mapping[int, Seen] = {}
        """Each shard whose ledger was read; replaced as a whole, any thread may read it."""
        self._loop = Loop("absence", self._step, failed=failed)

    def next_due(self, shard: int) -> Instant | None:
        """Return when the first fire is due that a shard has not settled; None if none, or not known."""
        with self._lock:
            position, expected = self._position_of(shard), self._watched[shard].expected
            if position is None or expected is None:
                return None
            return expected.next_due(position.cursor, 10 * _GROUPS_AT_ONCE)

    def _step(self) -> float:
        reading = self._clock.read()
        found = {}
        for shard, watched in self._watched.items():
            position = self._position_of(shard)
            if position is not None:
                with self._lock:
                    self._take_in(shard, watched, position, reading.monotonic)
                    found[shard] = self._look(watched, position, reading.now)
        self.seen = found
        return _LOOK_SECONDS

    def _take_in(self, shard: int, watched: _Watched, position: Position, monotonic: int) -> None:
        """Take in what is in force once it is known of the change that the position shows."""
        if watched.change == position.change or monotonic - watched.taken_in < _ANEW_MS:
            return
        found = self._jobs_of(shard)
        if found is not None and found[0] == position.change:
            watched.change, jobs = found
            watched.expected = Expected(jobs, position.effective_from)
            watched.taken_in = monotonic

    def _look(self, watched: _Watched, position: Position, now: Instant) -> Seen:
        expected = watched.expected
        if expected is None:
            return Seen(position)
        return Seen(position, expected.overdue_since(position.cursor, now, _GROUPS_AT_ONCE))
