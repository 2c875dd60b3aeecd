"""What a worker counts: ends by word and lane, and the times of handlers."""

from __future__ import annotations

from collections import Counter

from dispatcher.core.job import Lane


class Counting:
    """The counts of one worker. The consumer thread's own."""

    def __init__(self) -> None:
        self.runs: Counter[tuple[str, Lane]] = Counter()
        self.arrived: Counter[Lane] = Counter()
        self.ended: Counter[Lane] = Counter()
        self.busy_ms: Counter[Lane] = Counter()
        self.handler_ms: Counter[str] = Counter()
        self.handler_runs: Counter[str] = Counter()
        self.redelivered = 0
        self.overlaps = 0
        self.failed_commits = 0

    def end(self, kind: str, lane: Lane, handler: str, milliseconds: int) -> None:
        """Count an end."""
        self.runs[kind, lane] += 1
        self.ended[lane] += 1
        self.busy_ms[lane] += milliseconds
        self.handler_ms[handler] += milliseconds
        self.handler_runs[handler] += 1
