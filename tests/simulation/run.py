"""Many histories, one after the other or in several processes, and what they tell together."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from simulation.history import live
from simulation.mutations import MUTATIONS
from simulation.quiet import quiet
from simulation.world import POINTS

_BLOCK = 250
_COLLECT_EVERY = 20
"""So few leave little behind: what is freed while it is still in the processor's cache costs less."""
WITNESSES = (
    "fires", "skips", "takeovers", "fenced", "aborted", "aborted by a successor", "timed out", "staged",
    "burst.landed", "schedule.applied", "schedule.held", "command.obeyed", "pauses", "clock steps",
    "compactions", "late EndTxn powerless", "commit held", "commit unheard", "commit silent", "commit slow",
    "commit refusal", "abort held", "abort silent", "refused", "clock jumps",
    "run.triggered", "run.redriven", "run.cancelled", "command.refused",
)  # fmt: skip
"""What must have happened, else a run proves nothing."""


@dataclass(slots=True)
class Tally:
    """What many histories did; `seconds` are those of the processor."""

    histories: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)
    found: int | None = None
    """The seed of the history that was looked for."""

    def add(self, other: Tally) -> None:
        """Take in what others did."""
        self.histories += other.histories
        self.seconds += other.seconds
        self.counts += other.counts
        self.crashes += other.crashes
        self.failed += other.failed

    def unseen(self) -> list[str]:
        """Return what never happened: points nobody died at, faults that nobody met."""
        quiet_points = [f"a crash {name}" for name in POINTS if not self.crashes[name]]
        return quiet_points + [name for name in WITNESSES if not self.counts[name]]


def run(seeds: Iterable[int], *, until: Callable[[list[str]], bool] = lambda _: False) -> Tally:
    """Live through the histories of these seeds, until the faults of one are what is looked for."""
    tally = Tally()
    started = time.process_time()
    for seed in seeds:
        result = live(seed)
        tally.histories += 1
        tally.counts.update(result.counts)
        tally.crashes.update(result.crashes)
        if tally.histories % _COLLECT_EVERY == 0:
            gc.collect()
            gc.freeze()  # what is left is what histories share: no later collection need walk it
        if result.faults:
            tally.failed.append(seed)
        if until(result.faults):
            tally.found = seed
            break
    tally.seconds = time.process_time() - started
    return tally


def run_in_processes(seeds: range, jobs: int, progress: Callable[[Tally], None]) -> Tally:
    """Live through histories in several processes; stop soon after the first that fails."""
    tally = Tally()
    blocks = [seeds[at : at + _BLOCK] for at in range(0, len(seeds), _BLOCK)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done in pool.map(_run_block, blocks):
            tally.add(done)
            progress(tally)
            if tally.failed:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return tally


def _run_block(seeds: range) -> Tally:
    with quiet():
        return run(seeds)


def breaks_the_promise(faults: list[str]) -> bool:
    """Return whether faults are more than a process that ended, that found no rest, or that was lucky."""
    return any(not fault.startswith(("ended", "stuck", "late")) for fault in faults)


def first_failure(mutation: str, most: int) -> Tally:
    """Take a safety rule away and live through histories until the promise is broken."""
    with MUTATIONS[mutation]():
        return run(range(most), until=breaks_the_promise)
