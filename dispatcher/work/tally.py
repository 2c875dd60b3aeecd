"""What a worker counts: ends by word and lane, and the times of handlers."""

from __future__ import annotations

from collections import Counter

from dispatcher.core.figures import RUN_SECONDS
from dispatcher.core.job import Lane
from dispatcher.core.spread import Spread, Tally


class Counting:
    """The counts of one worker. The consumer thread's own."""

    def __init__(self) -> None:
        self.arrived: Counter[Lane] = Counter()
        self.redelivered = 0
        self.overlaps = 0
        self.unfenced = 0
        self.failed_commits = 0
        self._ends: dict[tuple[str, Lane, str], list[int]] = {}
        """How many runs ended so, and the milliseconds they took, by word, lane and handler."""
        self.first_attempts = self.later_attempts = 0
        self._times: dict[str, Tally] = {}

    def end(self, kind: str, lane: Lane, handler: str, milliseconds: int) -> None:
        """Count an end."""
        counts = self._ends.get((kind, lane, handler))
        if counts is None:
            counts = self._ends[kind, lane, handler] = [0, 0]
        counts[0] += 1
        counts[1] += milliseconds

    def attempt(self, handler: str, number: int, milliseconds: int) -> None:
        """Count an attempt that a handler made."""
        if number > 1:
            self.later_attempts += 1
        else:
            self.first_attempts += 1
        times = self._times.get(handler)
        if times is None:
            times = self._times[handler] = Tally(RUN_SECONDS)
        times.add(milliseconds / 1000)

    def run_times(self) -> dict[str, Spread]:
        """Return how the seconds of attempts are spread, by handler."""
        return {handler: tally.frozen() for handler, tally in self._times.items()}

    def ends(self) -> Ends:
        """Return the sums of all ends so far."""
        sums = Ends()
        for (kind, lane, handler), (count, milliseconds) in self._ends.items():
            sums.runs[kind, lane] += count
            sums.ended[lane] += count
            sums.busy_ms[lane] += milliseconds
            sums.handler_ms[handler] += milliseconds
            sums.handler_runs[handler] += count
        return sums


class Ends:
    """Sums of ends: runs by word and lane, runs and milliseconds by lane, and by handler."""

    def __init__(self) -> None:
        self.runs: Counter[tuple[str, Lane]] = Counter()
        self.ended: Counter[Lane] = Counter()
        self.busy_ms: Counter[Lane] = Counter()
        self.handler_ms: Counter[str] = Counter()
        self.handler_runs: Counter[str] = Counter()
