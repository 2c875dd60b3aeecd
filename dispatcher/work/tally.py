"""What a worker counts: ends by word and lane, and the times of handlers."""

from __future__ import annotations

from collections import Counter

from dispatcher.core.job import Lane


class Counting:
    """The counts of one worker. The consumer thread's own."""

    def __init__(self) -> None:
        self.arrived: Counter[Lane] = Counter()
        self.redelivered = 0
        self.overlaps = 0
        self.failed_commits = 0
        self._ends: dict[tuple[str, Lane, str], list[int]] = {}
        """How many runs ended so, and the milliseconds they took, by word, lane and handler."""

    def end(self, kind: str, lane: Lane, handler: str, milliseconds: int) -> None:
        """Count an end."""
        counts = self._ends.get((kind, lane, handler))
        if counts is None:
            counts = self._ends[kind, lane, handler] = [0, 0]
        counts[0] += 1
        counts[1] += milliseconds

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
