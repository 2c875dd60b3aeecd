"""When a version of a job is planned to fire, by the checker's own arithmetic.

A `Timing` is shared by all jobs with the same trigger. Its `table` ranks the planned instants of a stretch of
time: rank r is the r-th of them, so that a fire is found by a number and a number of fires by a difference.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from dispatcher.observe.expression import read_expression
from dispatcher.observe.wall_clock import fires

Window = tuple[int, int]
"""Planned instants after the first and up to the second, in milliseconds."""


class Table(Protocol):
    """The planned instants of a stretch, ranked; what lies outside of the stretch is not to be asked."""

    def rank(self, at: int) -> int:
        """Return the rank of the last planned instant at or before an instant."""
        ...

    def at(self, rank: int) -> int:
        """Return the planned instant of a rank."""
        ...


class Timing(Protocol):
    """What is planned, windows of jobs apart. `zoned`: whether the rules of a time zone decide it."""

    @property
    def zoned(self) -> bool:
        """Whether it depends on the time zone data."""
        ...

    def table(self, window: Window) -> Table:
        """Return the ranks of the planned instants in a window."""
        ...


@dataclass(frozen=True, slots=True)
class Steps:
    """Even steps, counted from an anchor in both directions."""

    period: int
    anchor: int
    zoned = False

    def table(self, window: Window) -> Table:
        """Return itself: arithmetic reaches everywhere."""
        del window
        return self

    def rank(self, at: int) -> int:
        """Return the number of the step at or before an instant."""
        return (at - self.anchor) // self.period

    def at(self, rank: int) -> int:
        """Return the instant of a step."""
        return rank * self.period + self.anchor


@dataclass(frozen=True, slots=True)
class Once:
    """One instant."""

    instant: int
    zoned = False

    def table(self, window: Window) -> Table:
        """Return itself."""
        del window
        return self

    def rank(self, at: int) -> int:
        """Return 1 from the instant on, else 0."""
        return int(at >= self.instant)

    def at(self, rank: int) -> int:
        """Return the instant as rank 1; there is no other."""
        return self.instant if rank == 1 else -1


@dataclass(frozen=True, slots=True)
class Walls:
    """A cron expression on the clocks of a zone; `name` is the job's where `H` stands for a value."""

    expression: str
    name: str
    zone: str
    gap: str
    overlap: str

    @property
    def zoned(self) -> bool:
        """Whether it depends on the time zone data."""
        return self.zone != "UTC"

    def table(self, window: Window) -> Table:
        """Return the ranks of the fires in a window: 8 bytes for each."""
        first, last = window[0] // 1000 + 1, window[1] // 1000
        if first > last:
            return Listed(array("q"))
        expression = read_expression(self.expression, self.name)
        return Listed(fires(expression, self.zone, self.gap, self.overlap, first, last))


class Listed:
    """Planned instants one by one, in order."""

    __slots__ = ("_instants",)

    def __init__(self, instants: array[int]) -> None:
        self._instants = instants

    def rank(self, at: int) -> int:
        """Return how many are at or before an instant."""
        return bisect_right(self._instants, at)

    def at(self, rank: int) -> int:
        """Return the instant of a rank from 1 on; -1 for rank 0."""
        return self._instants[rank - 1] if rank else -1


@lru_cache(maxsize=65_536)
def steps(period: int, anchor: int) -> Steps:
    """Return even steps, the same object for the same ones."""
    return Steps(period, anchor % period)


@lru_cache(maxsize=65_536)
def walls(expression: str, name: str, zone: str, gap: str, overlap: str) -> Walls:
    """Return a cron timing, the same object for the same one; jobs without `H` share it."""
    return Walls(expression, name, zone, gap, overlap)
