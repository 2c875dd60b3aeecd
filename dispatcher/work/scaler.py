"""Watches what comes, waits and is run, and says how many seats there are to be: the consumer thread's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from dispatcher.core.figures import Figures, LaneFigures
from dispatcher.core.job import Lane
from dispatcher.core.scaling import Observation, Scaling, ScalingLimits, replicas
from dispatcher.ports import Place
from dispatcher.work.tally import Counting, Ends
from dispatcher.work.waiting import WaitingRoom

_MOST_REPLICAS = 10_000


class Scaler:
    """Turns a worker's counts into observations, and these into seats and figures."""

    def __init__(self, limits: ScalingLimits, lanes: Mapping[str, Lane]) -> None:
        self._limits = limits
        self._lanes = lanes
        self._scaling = Scaling(limits)
        self._arrived: Counter[Lane] = Counter()
        self._ends = Ends()
        self._behind: Counter[Lane] = Counter()
        self._left: dict[Place, int] = {}
        """How much of each partition was not delivered at the last look."""

    @property
    def seats(self) -> int:
        """How many seats there are to be."""
        return self._scaling.seats

    def look(
        self,
        counting: Counting,
        room: WaitingRoom,
        positions: Mapping[Place, tuple[int, int]],
        monotonic: int,
    ) -> int:
        """Return how many seats there are to be, by what happened since the last look."""
        left = {place: end - position for place, (position, end) in positions.items()}
        behind, grown = self._by_lane(left), self._by_lane(self._growth(left))
        waiting, busy, ends, before = room.counts(), room.busy(), counting.ends(), self._ends
        seen = {
            lane: Observation(
                arrived=counting.arrived[lane] - self._arrived[lane] + grown[lane],
                finished=ends.ended[lane] - before.ended[lane],
                took_ms=ends.busy_ms[lane] - before.busy_ms[lane],
                busy=busy[lane],
                backlog=waiting[lane] + behind[lane],
            )
            for lane in Lane
        }
        self._arrived, self._ends = counting.arrived.copy(), ends
        self._behind, self._left = behind, left
        return self._scaling.observe(monotonic, seen)

    def _growth(self, left: Mapping[Place, int]) -> Mapping[Place, int]:
        """Return by how much what is not delivered has grown; a new partition brings no arrivals."""
        return {place: count - self._left[place] for place, count in left.items() if place in self._left}

    def _by_lane(self, counts: Mapping[Place, int]) -> Counter[Lane]:
        found: Counter[Lane] = Counter()
        for (topic, _), count in counts.items():
            found[self._lanes.get(topic, Lane.NORMAL)] += count
        return found

    def figures(self, counting: Counting, room: WaitingRoom, seats: int) -> Figures:
        """Return the worker's figures as they are now."""
        wanted, waiting, busy = self._scaling.wanted_seats(), room.counts(), room.busy()
        ends = self._ends
        lanes = {
            lane: LaneFigures(waiting[lane], busy[lane], self._behind[lane], wanted[lane]) for lane in Lane
        }
        return Figures(
            seats=seats,
            most_seats=self._limits.most,
            lanes=lanes,
            runs=dict(ends.runs),
            handler_seconds={name: spent / 1000 for name, spent in ends.handler_ms.items()},
            handler_runs=dict(ends.handler_runs),
            run_times=counting.run_times(),
            first_attempts=counting.first_attempts,
            later_attempts=counting.later_attempts,
            redelivered=counting.redelivered,
            overlaps=counting.overlaps,
            unfenced=counting.unfenced,
            failed_commits=counting.failed_commits,
            replicas=replicas(sum(wanted.values()), self._limits.most, 0, _MOST_REPLICAS),
        )
