"""Many histories, one after the other or in several processes, and what they tell together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.history import live


@dataclass(slots=True)
class Tally:
    """What many histories did."""

    histories: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what others did."""
        self.histories += other.histories
        self.seconds += other.seconds
        self.counts += other.counts
        self.crashes += other.crashes
        self.failed += other.failed


def run(seeds: range, *, until_failure: bool = False, progress: Callable[[int], None] | None = None) -> Tally:
    """Live through the histories of these seeds."""
    tally = Tally()
    started = time.perf_counter()
    for seed in seeds:
        result = live(seed)
        tally.histories += 1
        tally.counts.update(result.counts)
        tally.crashes.update(result.crashes)
        if result.faults:
            tally.failed.append(seed)
            if until_failure:
                break
        if progress is not None and tally.histories % 500 == 0:
            progress(tally.histories)
    tally.seconds = time.perf_counter() - started
    return tally
