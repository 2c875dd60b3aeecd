"""How values are spread over buckets of fixed bounds: what histograms are made from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul


@dataclass(frozen=True, slots=True)
class Spread:
    """How many values in each bucket, last those beyond all bounds; and their sum."""

    counts: tuple[int, ...]
    total: float


class Tally:
    """Counts values into buckets with these upper bounds, and one more for what is beyond them all."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value so many times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._total += value * times

    def add_ages(self, now: int, instants: Mapping[int, int]) -> None:
        """Count in seconds how long ago instants were, in milliseconds, each so many times.

        Mostly they fall into one bucket; then there is nothing to do for each of them.
        """
        latest = max(instants)
        bucket = bisect_left(self._bounds, (now - min(instants)) / 1000)
        if latest <= now and bucket == bisect_left(self._bounds, (now - latest) / 1000):
            times = sum(instants.values())
            self._counts[bucket] += times
            self._total += (now * times - sum(map(mul, instants, instants.values()))) / 1000
            return
        for instant, times in instants.items():
            self.add(max(0, now - instant) / 1000, times)

    def frozen(self) -> Spread:
        """Return what was counted."""
        return Spread(tuple(self._counts), self._total)
