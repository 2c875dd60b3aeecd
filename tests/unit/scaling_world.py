"""Seats as servers in a time of events, scaled by what is observed: `python tests/unit/scaling_world.py`.

Each load is lived through with chance in arrivals, in what runs take and in when somebody looks; what is
worth knowing of it becomes a row of a table.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise

from dispatcher.core.job import Lane
from dispatcher.core.scaling import Observation, Scaling, ScalingLimits

Rate = Callable[[float], float]
"""Arrivals a second at an instant, in seconds."""


@dataclass(frozen=True)
class Load:
    """What comes. `plateau` is (from, to, seats): within it so many seats are just enough."""

    name: str
    seconds: int
    service: float
    rate: Rate = lambda _t: 0.0
    peak: float = 0.0
    bursts: Sequence[tuple[float, int]] = ()
    plateau: tuple[float, float, float] | None = None

    def arrivals(self, chance: random.Random) -> list[float]:
        found = [at + chance.random() * 0.2 for at, runs in self.bursts for _ in range(runs)]
        at = 0.0
        while self.peak and (at := at + chance.expovariate(self.peak)) < self.seconds:
            if chance.random() * self.peak < self.rate(at):
                found.append(at)
        return sorted(found)


def square(t: float) -> float:
    return 40.0 if 120 <= t < 420 else 2.0


LOADS = (
    Load("steady: 20 seats' worth", 1_200, 0.5, lambda _t: 40.0, 40.0, plateau=(0, 1_200, 20)),
    Load("square: 1 to 20 seats' worth, 5 min", 900, 0.5, square, 40.0, plateau=(120, 420, 20)),
    Load("ramp: 0 to 20 in 5 min", 600, 0.5, lambda t: min(40.0, t * 40 / 300), 40.0, plateau=(300, 600, 20)),
    Load("burst: 3 000 runs of 0.5 s at once", 400, 0.5, bursts=[(60, 3_000)], plateau=(60, 90, 50)),
    Load("cron: 600 runs of 0.5 s each minute", 900, 0.5, bursts=[(60.0 * n, 600) for n in range(1, 14)]),
    Load("long runs: 20 s, 1 a second", 1_200, 20.0, lambda _t: 1.0, 1.0, plateau=(0, 1_200, 20)),
    Load("very long: 40 runs of 120 s at once", 500, 120.0, bursts=[(30, 40)], plateau=(30, 60, 40)),
    Load("tiny: 1 000 a second of 2 ms", 120, 0.002, lambda _t: 1_000.0, 1_000.0),
)
LIMITS = ScalingLimits(least=1, most=200)


@dataclass
class Figures:
    """What a load came to."""

    load: Load
    seats: list[tuple[float, int]] = field(default_factory=list)
    """Changes: from when on there were how many."""
    started: int = 0
    finished: int = 0
    killed: int = 0
    longest_wait: float = 0.0
    work: float = 0.0
    seat_seconds: float = 0.0

    @property
    def settled(self) -> float | None:
        """Seconds from the beginning of the plateau until there were seats enough, for good."""
        if self.load.plateau is None:
            return None
        begin, end, enough = self.load.plateau
        below = [
            until
            for (since, seats), (until, _) in pairwise([*self.seats, (end, 0)])
            if seats < 0.9 * enough and since < end and until > begin
        ]
        return max(0.0, min(max(below, default=begin), end) - begin)

    @property
    def overshoot(self) -> float | None:
        """The most seats there were, by those that were enough."""
        plateau = self.load.plateau
        return None if plateau is None else max(seats for _, seats in self.seats) / plateau[2]

    @property
    def cost(self) -> float:
        """Seat seconds for each second of work."""
        return self.seat_seconds / self.work

    @property
    def changes_a_minute(self) -> int:
        """The most changes within any minute."""
        at = [instant for instant, _ in self.seats[1:]]
        return max((sum(0 <= later - one < 60 for later in at) for one in at), default=0)

    @property
    def turns(self) -> int:
        """How often it went up after down, or down after up."""
        steps = [later > earlier for (_, earlier), (_, later) in pairwise(self.seats)]
        return sum(one != other for one, other in pairwise(steps))


class World:
    """One load, lived through."""

    def __init__(self, load: Load, limits: ScalingLimits, seed: int) -> None:
        self.chance = random.Random(seed)
        self.scaling = Scaling(limits)
        self.figures = Figures(load, [(0.0, self.scaling.seats)])
        self.load = load
        self.arrivals = deque(load.arrivals(self.chance))
        self.waiting: deque[float] = deque()
        self.ends: list[tuple[float, int, float]] = []
        self._ids = count()
        self.now = 0.0
        self.seen: list[float] = [0, 0, 0.0]
        """Since the last look: arrived, finished, what those took."""

    def live(self) -> Figures:
        look = 0.0
        while self.now < self.load.seconds or self.waiting or self.ends:
            arrival = self.arrivals[0] if self.arrivals else look
            end = self.ends[0][0] if self.ends else look
            self._pass_until(min(arrival, end, look))
            if self.arrivals and self.arrivals[0] <= self.now:
                self.waiting.append(self.arrivals.popleft())
                self.seen[0] += 1
            elif self.ends and self.ends[0][0] <= self.now:
                _, _, took = heapq.heappop(self.ends)
                self.figures.finished += 1
                self.seen[1] += 1
                self.seen[2] += took
            else:
                self._look()
                look = self.now + self.chance.uniform(0.1, 0.4)
            self._seat()
        return self.figures

    def _pass_until(self, instant: float) -> None:
        if self.now < self.load.seconds:
            seats = max(self.scaling.seats, len(self.ends))
            self.figures.seat_seconds += seats * (min(instant, self.load.seconds) - self.now)
        self.now = instant

    def _look(self) -> None:
        arrived, finished, took = self.seen
        self.seen = [0, 0, 0.0]
        before = self.scaling.seats
        observation = Observation(
            int(arrived), int(finished), round(took * 1000), len(self.ends), len(self.waiting)
        )
        seats = self.scaling.observe(round(self.now * 1000), {Lane.NORMAL: observation})
        if seats != before:
            self.figures.seats.append((self.now, seats))
        if seats < before:
            self.figures.killed += max(0, len(self.ends) - seats)

    def _seat(self) -> None:
        while self.waiting and len(self.ends) < self.scaling.seats:
            arrived = self.waiting.popleft()
            took = self.chance.expovariate(1 / self.load.service) if self.load.service < 100 else 120.0
            self.figures.started += 1
            self.figures.work += took
            self.figures.longest_wait = max(self.figures.longest_wait, self.now - arrived)
            heapq.heappush(self.ends, (self.now + took, next(self._ids), took))


def live_through(load: Load, limits: ScalingLimits = LIMITS, seed: int = 1) -> Figures:
    return World(load, limits, seed).live()


HEADS = (
    "load",
    "settled, s",
    "most by enough",
    "longest wait, s",
    "seat s by work s",
    "changes a minute",
    "turns",
)


def row(figures: Figures) -> str:
    settled, overshoot = figures.settled, figures.overshoot
    cells = (
        figures.load.name,
        "" if settled is None else f"{settled:.0f}",
        "" if overshoot is None else f"{overshoot:.2f}",
        f"{figures.longest_wait:.1f}",
        f"{figures.cost:.2f}",
        str(figures.changes_a_minute),
        str(figures.turns),
    )
    return f"| {' | '.join(cells)} |"


def table(figures: Iterable[Figures]) -> str:
    head = f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}"
    return "\n".join([head, *map(row, figures)])


if __name__ == "__main__":
    print(table(map(live_through, LOADS)))
