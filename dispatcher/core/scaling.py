"""How many seats are wanted: Little's law for what comes, and a time within which what waits is to be gone.

    wanted = rate of arrivals x service time + backlog x service time / drain time

Runs that take longer than the drain time need a seat each, and their seats are free for nothing else. What is
measured is irregular in time, so it is smoothed by the time that passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, exp

from dispatcher.core.instant import Instant
from dispatcher.core.job import Lane

_MINUTE_MS = 60_000
_SPARE = 1.1
"""So many seats for each that is wanted: with none to spare, runs would wait for one another."""
_FEW, _TIMES_AT_ONCE = 8, 4
"""Up to so many seats, or so many times as many, at once: what few runs took says little of the others."""
_WORTH_GOING_DOWN = 0.85
"""Down only to this part of the seats or less: a few too many are cheaper than going up and down."""


@dataclass(frozen=True, slots=True)
class ScalingLimits:
    """Between which numbers, and how soon; times in milliseconds.

    A backlog is to be gone within `drain_ms`. Seats go that were idle for `idle_ms`, at most once in
    `down_ms`; they come at most once in `up_ms`; both together at most `changes` times a minute. Rates and
    loads are smoothed over `smooth_ms`, the time that runs take over `service_ms`.
    """

    least: int = 1
    most: int = 64
    drain_ms: int = 30_000
    idle_ms: int = 90_000
    up_ms: int = 3_000
    down_ms: int = 15_000
    changes: int = 12
    smooth_ms: int = 40_000
    service_ms: int = 60_000

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError("there is at least one seat, and the most is not below the least")
        if min(self.drain_ms, self.smooth_ms, self.service_ms, self.changes) < 1:
            raise ValueError("the times to drain and to smooth over, and the changes a minute, are above 0")


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen of one lane, and what happened in it since the last observation.

    `arrived` counts what came to its topics: what was delivered, and by how much what is not delivered has
    grown; it may be below 0. `finished` runs took `took_ms` in all. `busy` seats run something of it, and
    `backlog` runs wait for one, here or in the topics.
    """

    arrived: int = 0
    finished: int = 0
    took_ms: int = 0
    busy: int = 0
    backlog: int = 0


class Demand:
    """The seats that one lane wants, without bounds."""

    def __init__(self, limits: ScalingLimits) -> None:
        self._limits = limits
        self._seen: Instant | None = None
        self._rate = 0.0
        """Arrivals a millisecond."""
        self._arrived = 0
        self._finished = self._took_ms = self._seat_ms = 0.0
        """Runs, what they took, and what seats spent on runs that may go on: old ones count less and less."""
        self.wanted = 0.0

    def observe(self, now: Instant, seen: Observation) -> float:
        """Return how many seats are wanted. `now` is monotonic."""
        if self._seen is None:
            self._seen = now
        passed, self._seen = now - self._seen, now
        self._note_service(passed, seen)
        self._note_arrivals(passed, seen.arrived)
        service = self._service(seen.busy)
        each = min(1.0, service / self._limits.drain_ms)
        self.wanted = max(self._rate * service, seen.busy * each) + seen.backlog * each
        return self.wanted

    def _note_arrivals(self, passed: int, arrived: int) -> None:
        self._arrived += arrived
        if passed:
            weight = 1 - exp(-passed / self._limits.smooth_ms)
            self._rate = max(0.0, self._rate + (self._arrived / passed - self._rate) * weight)
            self._arrived = 0

    def _note_service(self, passed: int, seen: Observation) -> None:
        kept = exp(-passed / self._limits.service_ms)
        self._seat_ms = self._seat_ms * kept + seen.busy * passed
        if self._finished * kept >= 1:  # what the last run took is not forgotten
            self._finished *= kept
            self._took_ms *= kept
        self._finished += seen.finished
        self._took_ms += seen.took_ms

    def _service(self, busy: int) -> float:
        """Return how long a run takes: as those that ended; no less than seats spend on each.

        Those that go on are half done in the mean.
        """
        ended = self._took_ms / self._finished if self._finished else 0.0
        return max(ended, self._seat_ms / (self._finished + busy / 2)) if busy else ended


class Scaling:
    """How many seats there are to be. Up quickly; down when seats stay idle; seldom either."""

    def __init__(self, limits: ScalingLimits) -> None:
        self._limits = limits
        self._demands: dict[Lane, Demand] = {lane: Demand(limits) for lane in Lane}
        self._changes: deque[Instant] = deque(maxlen=limits.changes)
        self._peaks: deque[tuple[Instant, float]] = deque()
        """How many seats were in use, and when: the highest of a while first, then ever lower ones."""
        self._busy = 0.0
        self._seen: Instant | None = None
        self.seats = limits.least

    def observe(self, now: Instant, lanes: Mapping[Lane, Observation]) -> int:
        """Return how many seats there are to be, from what is seen of all lanes. `now` is monotonic."""
        wanted = sum(self._demands[lane].observe(now, seen) for lane, seen in lanes.items())
        busy = sum(seen.busy for seen in lanes.values())
        self._smooth(now, busy)
        used = self._highest(now, max(wanted, self._busy))
        if wanted > self.seats:
            soon = max(_FEW, self.seats * _TIMES_AT_ONCE)
            self._change(now, min(self._bounded(wanted), soon), self._limits.up_ms)
        else:
            fewer = max(self._bounded(used), busy)
            if fewer <= self.seats * _WORTH_GOING_DOWN:
                self._change(now, fewer, self._limits.down_ms)
        return self.seats

    def wanted_seats(self) -> Mapping[Lane, float]:
        """Return how many seats each lane wants, without bounds: for whoever scales workers."""
        return {lane: demand.wanted for lane, demand in self._demands.items()}

    def _change(self, now: Instant, seats: int, apart_ms: int) -> None:
        """Change the number unless it was changed just before, or too often within the last minute."""
        changes = self._changes
        if seats == self.seats or (changes and now - changes[-1] < apart_ms):
            return
        if len(changes) == self._limits.changes and now - changes[0] < _MINUTE_MS:
            return
        changes.append(now)
        self.seats = seats

    def _smooth(self, now: Instant, busy: int) -> None:
        passed = 0 if self._seen is None else max(0, now - self._seen)
        self._busy += (busy - self._busy) * (1 - exp(-passed / self._limits.smooth_ms))
        self._seen = now

    def _highest(self, now: Instant, used: float) -> float:
        """Return the highest number of seats in use within `idle_ms`."""
        peaks = self._peaks
        while peaks and peaks[-1][1] <= used:
            peaks.pop()
        peaks.append((now, used))
        while now - peaks[0][0] > self._limits.idle_ms:
            peaks.popleft()
        return peaks[0][1]

    def _bounded(self, seats: float) -> int:
        return max(self._limits.least, min(ceil(seats * _SPARE), self._limits.most))


def replicas(wanted: float, seats_per_worker: int, least: int, most: int) -> int:
    """Return how many workers of so many seats each are wanted, for an autoscaler."""
    return max(least, min(ceil(wanted / seats_per_worker), most))
