"""What was missed, and how it is settled beside the fresh fires.

An interval is settled in three passes. By name: of each job what is not sent becomes one counted skip;
that is what is older than the grace, but for the one that `catchUp: latest` sends here, and for
`catchUp: all` what is beyond the cap. In due order: what is within the grace. In due order again:
everything that `catchUp: all` sends. What is given up comes before all of them, by name too. Progress
lies in the interval itself, and every piece follows from the interval and the records alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from dispatcher.core.cron import Cron
from dispatcher.core.instant import Instant
from dispatcher.core.job import CatchUp, Job
from dispatcher.core.ledger import Cursor, Interval
from dispatcher.core.plan import Plan
from dispatcher.core.record import JobRecord
from dispatcher.core.trigger import At, Every, Trigger

NAMES_AT_ONCE = 5_000
EVALUATIONS_AT_ONCE = 200
_ONCE_MS = 100 * 366 * 86_400_000
_SPARE = 100
"""Fires more than the shortest time between two allows: clocks change, and the ends count."""
GIVEN_UP = "dropped"
"""The reason of skips that somebody asked for."""

_Settled = tuple[tuple[Job, Instant] | None, "Skip | None"]


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
    until = _last(record, interval.end)
    after = _after(record, interval.start)
    named = interval.names_done or record.name <= interval.named
    place = interval.drained
    if not _drains(record):
        place = interval.recent
        if interval.recent_done:
            return until, until
    if named:
        after = max(after, Counting().named_until(record, interval))
    if place is not None:
        after = max(after, _after(record, place))
    if interval.drops and record.name <= interval.dropped:
        after = max(after, _last(record, interval.drops[0]))
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


def given_up(backlog: tuple[Interval, ...], until: Instant) -> tuple[Interval, ...]:
    """Return the backlog of which all that is due before `until` is to be given up."""
    return tuple([_given_up(one, min(until, one.end)) for one in backlog])


def _given_up(interval: Interval, until: Instant) -> Interval:
    if Cursor(until) <= interval.start or until <= max(interval.drops, default=0):
        return interval
    return interval._replace(drops=(*interval.drops, until))


class Counting:
    """Counts planned instants of one interval, once for all jobs of a trigger; `evaluated` times in all."""

    def __init__(self) -> None:
        self.evaluated = 0
        self._counts: dict[tuple[int, Instant, Instant], int] = {}
        self._capped: dict[int, Instant] = {}

    def count(self, job: Job, after: Instant, until: Instant) -> int:
        """Return how many planned instants lie in (after, until]."""
        if after >= until:
            return 0
        key = (id(job.trigger), after, until)
        count = self._counts.get(key)
        if count is None:
            self.evaluated += 1
            count = self._counts[key] = job.trigger.count_between(after, until)
        return count

    def named_until(self, record: JobRecord, interval: Interval) -> Instant:
        """Return the last planned instant of a record that the pass by name settles."""
        if not _drains(record):
            return _stale_until(record, interval)
        after = _after(record, interval.start)
        if not interval.most:
            return after
        return max(after, min(self._capped_until(record.job, interval), _last(record, interval.end)))

    def _capped_until(self, job: Job, interval: Interval) -> Instant:
        """Return the planned instant of a trigger up to which the cap leaves fires unsent.

        It counts back from the end of the interval by planned instants, the same for all jobs of a trigger.
        """
        trigger = job.trigger
        key = id(trigger)
        if key not in self._capped:
            low, last = interval.start.due - trigger.jitter_ms - 1, interval.end - 1
            if (last - low) // _shortest(trigger) + _SPARE < interval.most:
                self._capped[key] = low
            else:
                self._capped[key] = self._latest_but(interval.most, trigger, low, last)
        return self._capped[key]

    def _latest_but(self, most: int, trigger: Trigger, low: Instant, last: Instant) -> Instant:
        """Return the instant in [low, last] behind which `most` fires lie, or less when `low` is reached.

        It looks back from the end in growing strides: an interval may begin long before any fire.
        """
        high, stride = last, most * _shortest(trigger)
        while not self._more_than(most, trigger, far := max(low, last - stride), last):
            if far == low:
                return low
            high, stride = far, 2 * stride
        while high - far > 1:
            middle = (far + high) // 2
            if self._more_than(most, trigger, middle, last):
                far = middle
            else:
                high = middle
        return high

    def _more_than(self, most: int, trigger: Trigger, after: Instant, last: Instant) -> bool:
        self.evaluated += 1
        return trigger.count_between(after, last) > most


class Settling:
    """Settles one interval against the records in force; make a new one when either changes."""

    def __init__(self, interval: Interval, records: Mapping[str, JobRecord]) -> None:
        self.interval = interval
        self._records = {
            name: version
            for name, record in records.items()
            if (version := record.missed_under(interval.change, interval.end)) is not None
        }
        self._counting = Counting()
        self._names: list[str] | None = None
        self._plan: Plan | None = None

    def slice(self, most: int, send: int | None = None) -> Slice:
        """Return the next piece: about `most` fires and skips, at most `send` fires (None: `most`)."""
        fires = most if send is None else min(most, send)
        if self.interval.drops:
            return self._give_up(most)
        if not self.interval.names_done:
            return self._by_name(most, fires)
        return self._all(fires) if self.interval.recent_done else self._recent(fires)

    def settled(self, piece: Slice) -> None:
        """Remember that a piece is committed."""
        if self._plan is not None:
            self._plan.settle(len(piece.fires))
        if piece.rest is not None:
            self.interval = piece.rest

    # By name.

    def _give_up(self, most: int) -> Slice:
        interval = self.interval
        first, *later = interval.drops
        self._plan = None
        piece, named, done = self._walk(interval.dropped, self._dropped, most, most)
        if not done:
            return replace(piece, rest=interval._replace(dropped=named))
        if first >= interval.end:
            return piece
        start = max(interval.start, Cursor(first))
        return replace(piece, rest=interval._replace(start=start, drops=tuple(later), dropped=""))

    def _dropped(self, record: JobRecord) -> _Settled:
        after, until = unsettled(record, self.interval)
        until = min(until, _last(record, self.interval.drops[0]))
        count = self._counting.count(record.job, after, until)
        return None, Skip(record.name, GIVEN_UP, count, after, until) if count else None

    def _by_name(self, most: int, send: int) -> Slice:
        piece, named, done = self._walk(self.interval.named, self._stale, most, send)
        return replace(piece, rest=self.interval._replace(named=named, names_done=done))

    def _walk(
        self, last: str, settle: Callable[[JobRecord], _Settled], most: int, send: int
    ) -> tuple[Slice, str, bool]:
        """Settle records by name, after the one settled last.

        Returns the piece, the name that is last now, and whether that is the end.
        """
        names = self._sorted_names()
        start = bisect_right(names, last)
        fires: list[tuple[Job, Instant]] = []
        skips: list[Skip] = []
        enough = self._counting.evaluated + EVALUATIONS_AT_ONCE
        for name in names[start : start + NAMES_AT_ONCE]:
            last = name
            fire, skip = settle(self._records[name])
            if fire is not None:
                fires.append(fire)
            if skip is not None:
                skips.append(skip)
            full = len(fires) >= send or len(fires) + len(skips) >= most
            if full or self._counting.evaluated >= enough:
                break
        return Slice(tuple(fires), tuple(skips), None), last, not names or last >= names[-1]

    def _stale(self, record: JobRecord) -> _Settled:
        """Return what goes out and what is skipped of what the pass by name settles of a record."""
        job = record.job
        after, until = _after(record, self.interval.start), self._counting.named_until(record, self.interval)
        count = self._counting.count(job, after, until)
        if not count:
            return None, None
        if job.policy.catch_up is not CatchUp.LATEST:
            reason = "missed" if job.policy.catch_up is CatchUp.NONE else "capped"
            return None, Skip(job.name, reason, count, after, until)
        later = job.trigger.next_after(until)
        if later is not None and later + job.delay_ms < self.interval.end:
            return None, Skip(job.name, "coalesced", count, after, until)
        latest = job.trigger.latest_in(after, until)
        assert latest is not None
        skip = Skip(job.name, "coalesced", count - 1, after, latest - 1) if count > 1 else None
        return (job, latest), skip

    def _sorted_names(self) -> list[str]:
        if self._names is None:
            self._names = sorted(self._records)
        return self._names

    # In due order.

    def _recent(self, most: int) -> Slice:
        if self._plan is None:
            records = [one for one in self._records.values() if not _drains(one)]
            self._plan = self._planned(records, self.interval.recent)
        fires = self._plan.ready(self.interval.end - 1, most)
        if fires:
            return _sent(fires, self.interval._replace(recent=Cursor(fires[-1][0], fires[-1][1])))
        self._plan = self._planned(filter(_drains, self._records.values()), self.interval.drained)
        due = self._plan.next_due()
        left = due is not None and due < self.interval.end
        return Slice((), (), self.interval._replace(recent_done=True) if left else None)

    def _all(self, most: int) -> Slice:
        if self._plan is None:
            self._plan = self._planned(filter(_drains, self._records.values()), self.interval.drained)
        fires = self._plan.ready(self.interval.end - 1, most)
        if not fires:
            return Slice((), (), None)
        return _sent(fires, self.interval._replace(drained=Cursor(fires[-1][0], fires[-1][1])))

    def _planned(self, records: Iterable[JobRecord], place: Cursor | None) -> Plan:
        start = self.interval.start
        chosen = {one.name: one for one in records}
        floors = {name: self._floor(one) for name, one in chosen.items()}
        return Plan(max(start, place or start), chosen.values(), floor=lambda one: floors[one.job.name])

    def _floor(self, record: JobRecord) -> Instant:
        after = _after(record, self.interval.start)
        return max(after, self._counting.named_until(record, self.interval))


def _sent(fires: list[tuple[Instant, str, Instant, JobRecord]], rest: Interval) -> Slice:
    return Slice(tuple((record.job, planned) for _, _, planned, record in fires), (), rest)


def _shortest(trigger: Trigger) -> int:
    """Return a lower bound of the milliseconds between two fires of a trigger."""
    match trigger.timing:
        case Every(period_ms=period):
            return period
        case Cron(shortest_ms=shortest):
            return shortest
        case At():
            return _ONCE_MS


def _drains(record: JobRecord) -> bool:
    return record.job.policy.catch_up is CatchUp.ALL


def _after(record: JobRecord, place: Cursor) -> Instant:
    """Return the planned instant after which a version's fires lie behind a place in the order.

    What the version did not plan itself, older ones did: they left it as timers.
    """
    same_instant_counts = record.name > place.name
    return max(record.effective_from, place.due - record.job.delay_ms - same_instant_counts)


def _last(record: JobRecord, end: Instant) -> Instant:
    """Return the last planned instant that is due before `end`."""
    return end - record.job.delay_ms - 1


def _stale_until(record: JobRecord, interval: Interval) -> Instant:
    """Return the last planned instant that is late by the grace or more when the interval ends."""
    return interval.end - max(1, record.job.policy.grace_ms) - record.job.delay_ms
