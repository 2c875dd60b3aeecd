"""What was missed, and how it is settled beside the fresh fires.

An interval is settled in two passes. By name: of each job that does not catch up on everything, what is
older than its grace becomes one counted skip, but for the one that `catchUp: latest` still sends. In due
order: what is within the grace, and everything of `catchUp: all`. Progress lies in the interval itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dispatcher.core.instant import Instant
from dispatcher.core.job import CatchUp, Job
from dispatcher.core.ledger import Cursor, Interval
from dispatcher.core.plan import Plan
from dispatcher.core.record import JobRecord

NAMES_AT_ONCE = 5_000
EVALUATIONS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Skip:
    """Planned fires of a job in (after, until] that will not go out: how many, and why."""

    job: str
    reason: str
    count: int
    after: Instant
    until: Instant


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of settling: fires to send, skips to record, and the interval after it (None: settled)."""

    fires: tuple[tuple[Job, Instant], ...]
    skips: tuple[Skip, ...]
    rest: Interval | None


def unsettled(record: JobRecord, interval: Interval) -> tuple[Instant, Instant]:
    """Return the planned instants (after, until] of a version that an interval still has to settle."""
    until = interval.end - record.job.delay_ms - 1
    after = _after(record, interval.start)
    if not _in_due_order_only(record) and (interval.names_done or record.name <= interval.named):
        after = max(after, _stale_until(record, interval))
    if interval.drained is not None:
        after = max(after, _after(record, interval.drained))
    return after, until


def dropped(record: JobRecord, backlog: tuple[Interval, ...], reason: str) -> list[Skip]:
    """Return the skips that end a record's share of the backlog."""
    skips = []
    for interval in backlog:
        version = record.missed_under(interval.change, interval.end)
        if version is None:
            continue
        after, until = unsettled(version, interval)
        count = version.job.trigger.count_between(after, until) if after < until else 0
        if count:
            skips.append(Skip(record.name, reason, count, after, until))
    return skips


class Settling:
    """Settles one interval against the records in force; make a new one when either changes."""

    def __init__(self, interval: Interval, records: Mapping[str, JobRecord]) -> None:
        self.interval = interval
        self._records = {
            name: version
            for name, record in records.items()
            if (version := record.missed_under(interval.change, interval.end)) is not None
        }
        self._names: list[str] | None = None
        self._drain: Plan | None = None
        self._counts: dict[tuple[int, Instant, Instant], int] = {}

    def slice(self, most: int) -> Slice:
        """Return the next piece: about `most` fires and skips at the most."""
        if not self.interval.names_done:
            return self._by_name(most)
        return self._in_due_order(most)

    def settled(self, piece: Slice) -> None:
        """Remember that a piece is committed."""
        if self._drain is not None:
            self._drain.settle(len(piece.fires))
        if piece.rest is not None:
            self.interval = piece.rest

    def _by_name(self, most: int) -> Slice:
        names = self._sorted_names()
        start = bisect_right(names, self.interval.named)
        fires: list[tuple[Job, Instant]] = []
        skips: list[Skip] = []
        known = len(self._counts)
        named = self.interval.named
        for name in names[start : start + NAMES_AT_ONCE]:
            named = name
            fire, skip = self._stale(self._records[name])
            if fire is not None:
                fires.append(fire)
            if skip is not None:
                skips.append(skip)
            if len(fires) + len(skips) >= most or len(self._counts) - known >= EVALUATIONS_AT_ONCE:
                break
        done = not names or named == names[-1] or start == len(names)
        return Slice(tuple(fires), tuple(skips), replace(self.interval, named=named, names_done=done))

    def _stale(self, record: JobRecord) -> tuple[tuple[Job, Instant] | None, Skip | None]:
        """Return what goes out and what is skipped of a record's fires older than its grace."""
        job = record.job
        after, until = _after(record, self.interval.start), _stale_until(record, self.interval)
        if _in_due_order_only(record) or until <= after:
            return None, None
        count = self._count(job, after, until)
        if not count:
            return None, None
        if job.policy.catch_up is CatchUp.NONE:
            return None, Skip(job.name, "missed", count, after, until)
        later = job.trigger.next_after(until)
        if later is not None and later + job.delay_ms < self.interval.end:
            return None, Skip(job.name, "coalesced", count, after, until)
        latest = job.trigger.latest_in(after, until)
        assert latest is not None
        skip = Skip(job.name, "coalesced", count - 1, after, latest - 1) if count > 1 else None
        return (job, latest), skip

    def _count(self, job: Job, after: Instant, until: Instant) -> int:
        """Count the planned instants in (after, until], once for all jobs of one trigger."""
        key = (id(job.trigger), after, until)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = job.trigger.count_between(after, until)
        return count

    def _in_due_order(self, most: int) -> Slice:
        if self._drain is None:
            position = self.interval.drained or self.interval.start
            floors = {name: self._floor(version) for name, version in self._records.items()}
            self._drain = Plan(position, self._records.values(), floor=lambda one: floors[one.job.name])
        fires = self._drain.ready(self.interval.end - 1, most)
        if not fires:
            return Slice((), (), None)
        rest = replace(self.interval, drained=Cursor(fires[-1][0], fires[-1][1]))
        return Slice(tuple((record.job, planned) for _, _, planned, record in fires), (), rest)

    def _floor(self, record: JobRecord) -> Instant:
        after = _after(record, self.interval.start)
        return after if _in_due_order_only(record) else max(after, _stale_until(record, self.interval))

    def _sorted_names(self) -> list[str]:
        if self._names is None:
            self._names = sorted(self._records)
        return self._names


def _in_due_order_only(record: JobRecord) -> bool:
    return record.job.policy.catch_up is CatchUp.ALL


def _after(record: JobRecord, place: Cursor) -> Instant:
    """Return the planned instant after which a version's fires lie behind a place in the order.

    What the version did not plan itself, older ones did: they left it as timers.
    """
    same_instant_counts = record.name > place.name
    return max(record.effective_from, place.due - record.job.delay_ms - same_instant_counts)


def _stale_until(record: JobRecord, interval: Interval) -> Instant:
    """Return the last planned instant that is late by the grace or more when the interval ends."""
    return interval.end - max(1, record.job.policy.grace_ms) - record.job.delay_ms
