"""How values are spread over buckets of fixed bounds: what histograms are made from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


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

    def frozen(self) -> Spread:
        """Return what was counted."""
        return Spread(tuple(self._counts), self._total)
