"""What would become of missed fires: the same rules as settling them, counted instead of performed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dispatcher.core.backlog import GIVEN_UP, Settling, given_up, unsettled
from dispatcher.core.instant import Instant
from dispatcher.core.ledger import Cursor, Interval
from dispatcher.core.plan import Plan
from dispatcher.core.record import JobRecord
from dispatcher.core.schedule import Schedule
from dispatcher.core.state import ShardState


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a start now would do about one job's missed fires planned in (after, until]."""

    job: str
    sent: int
    skipped: int
    reason: str
    after: Instant
    until: Instant


def outlook(state: ShardState, now: Instant, schedule: Schedule | None, most: int = 0) -> Iterator[Outlook]:
    """Yield, by job, what a start at `now` would send and skip, if the file then says `schedule`.

    Without a schedule the one in force goes on. `most` is the cap that such a start would set; 0: none.
    """
    for record, interval in _shares(state, _intervals(state, now, most)):
        yield from _of_job(record, interval, schedule)


def to_give_up(state: ShardState, until: Instant) -> Iterator[Outlook]:
    """Yield, by job, what giving up all that is missed and due before `until` would skip."""
    for record, interval in _shares(state, given_up(_intervals(state, until, 0), until)):
        yield from (row for row in _of_job(record, interval, None) if row.reason == GIVEN_UP)


def _intervals(state: ShardState, now: Instant, most: int) -> tuple[Interval, ...]:
    """Return the backlog as a start at `now` finds it or makes it."""
    position = state.position
    if position is None:
        return ()
    due = Plan(position.cursor, state.records.values()).next_due()
    if due is None or due >= now:
        return position.backlog
    return (*position.backlog, Interval(position.cursor, now, position.change, most=most))


def _shares(state: ShardState, backlog: tuple[Interval, ...]) -> Iterator[tuple[JobRecord, Interval]]:
    for interval in backlog:
        for name in sorted(state.records):
            version = state.records[name].missed_under(interval.change, interval.end)
            if version is not None:
                yield version, interval


def _of_job(record: JobRecord, interval: Interval, schedule: Schedule | None) -> Iterator[Outlook]:
    after, until = unsettled(record, interval)
    for drop in interval.drops:
        last = min(until, drop - record.job.delay_ms - 1)
        if count := _count(record, after, last):
            yield Outlook(record.name, 0, count, GIVEN_UP, after, last)
        after = max(after, last)
    count = _count(record, after, until)
    if not count:
        return
    if schedule is not None and (reason := _ended(record, schedule)):
        yield Outlook(record.name, 0, count, reason, after, until)
        return
    skipped, reason = _skipped(record, _without_drops(interval))
    yield Outlook(record.name, count - skipped, skipped, reason, after, until)


def _count(record: JobRecord, after: Instant, until: Instant) -> int:
    return record.job.trigger.count_between(after, until) if after < until else 0


def _without_drops(interval: Interval) -> Interval:
    """Return what is left of an interval once all is given up that is to be."""
    if not interval.drops:
        return interval
    start = max(interval.start, Cursor(interval.drops[-1]))
    return interval._replace(start=start, drops=(), dropped="")


def _ended(record: JobRecord, schedule: Schedule) -> str:
    new = schedule.jobs.get(record.name)
    if new is None:
        return "removed"
    return "retimed" if new.trigger.digest != record.job.trigger.digest else ""


def _skipped(record: JobRecord, interval: Interval) -> tuple[int, str]:
    """Return how many of a record's missed fires are skipped, and why."""
    if interval.names_done or record.name <= interval.named:
        return 0, ""
    piece = Settling(interval, {record.name: record}).slice(1)
    return sum(skip.count for skip in piece.skips), ", ".join(skip.reason for skip in piece.skips)
