"""What long-lived processes hold over time, and whether that grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import process

EVERY_SECONDS = 2.0
MOST_MIB = 8.0
MOST_DESCRIPTORS, MOST_THREADS = 1, 0
WINDOW = 1 / 6
"""The share of a run that is looked at around its first third, and at its end: 5 of 30 minutes."""


@dataclass(frozen=True)
class Sample:
    """A look at a process: seconds since the begin, resident MiB, open descriptors, threads."""

    at: float
    mib: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """What a process holds more at the end than at a third of a run; medians, so that peaks do not count."""

    who: str
    begin: Sample
    end: Sample
    samples: int

    @property
    def mib(self) -> float:
        """How much more memory."""
        return self.end.mib - self.begin.mib

    @property
    def wrong(self) -> list[str]:
        """What of it is more than it may be."""
        told = []
        if self.mib > MOST_MIB:
            told.append(f"{self.who} holds {self.mib:.1f} MiB more, {MOST_MIB:g} are allowed")
        for what, most in (("descriptors", MOST_DESCRIPTORS), ("threads", MOST_THREADS)):
            before, after = getattr(self.begin, what), getattr(self.end, what)
            if abs(after - before) > most:
                told.append(f"{self.who} had {before} {what} and has {after}")
        return told


def sample(pid: int, at: float) -> Sample:
    """Look at a process."""
    home = Path(f"/proc/{pid}")
    descriptors = sum(1 for _ in (home / "fd").iterdir())
    threads = sum(1 for _ in (home / "task").iterdir())
    return Sample(at, process.memory(pid), descriptors, threads)


def growth(who: str, samples: Sequence[Sample], seconds: float) -> Growth:
    """Compare a window around the first third of a run with one at its end."""
    half = WINDOW * seconds / 2
    begin = [one for one in samples if abs(one.at - seconds / 3) <= half]
    end = [one for one in samples if seconds - 2 * half <= one.at <= seconds]
    return Growth(who, _middle(begin), _middle(end), len(samples))


def _middle(samples: Sequence[Sample]) -> Sample:
    assert samples, "nothing was seen of it: the run was too short"
    return Sample(
        median(one.at for one in samples),
        median(one.mib for one in samples),
        round(median(one.descriptors for one in samples)),
        round(median(one.threads for one in samples)),
    )


@dataclass
class Watch:
    """Looks at processes, by name, every other second, in a thread of its own."""

    pids: Mapping[str, int]
    seen: dict[str, list[Sample]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to look."""
        self.seen = {who: [] for who in self.pids}
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(EVERY_SECONDS):
            at = time.monotonic() - self._begun
            for who, pid in self.pids.items():
                try:
                    self.seen[who].append(sample(pid, at))
                except OSError:
                    self.gone.append(f"{who} was gone after {at:.0f} s, and nobody had killed it")
                    return
