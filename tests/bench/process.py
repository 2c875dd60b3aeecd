"""What a process costs, from /proc: memory now and at its peak, processor time in all and by thread."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_MIB = 1024.0


def memory(pid: int, what: str = "VmRSS") -> float:
    """Return a process's memory in MiB; `VmHWM` is the most it ever had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / _MIB for line in lines if line.startswith(f"{what}:"))


@dataclass(frozen=True)
class Spent:
    """Seconds of processor time in all, and of each living thread by (id, name)."""

    total: float
    threads: dict[tuple[int, str], float]

    def since(self, before: Spent) -> Spent:
        """Return what was spent since an earlier look."""
        threads = {key: value - before.threads.get(key, 0.0) for key, value in self.threads.items()}
        return Spent(self.total - before.total, {key: value for key, value in threads.items() if value > 0})

    def by_name(self) -> dict[str, float]:
        """Return seconds by the name of threads, most first."""
        found: dict[str, float] = {}
        for (_, name), seconds in self.threads.items():
            found[name] = found.get(name, 0.0) + seconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def spent(pid: int) -> Spent:
    """Return the processor time a process and its children have taken so far."""
    threads = {}
    total = 0.0
    for process in (pid, *children(pid)):
        seconds, _ = _stat(Path(f"/proc/{process}/stat"))
        total += seconds
        for task in Path(f"/proc/{process}/task").iterdir():
            seconds, name = _stat(task / "stat")
            threads[int(task.name), name] = seconds
    return Spent(total, threads)


def children(pid: int) -> list[int]:
    """Return the processes a process has started and that still run."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return found


def _stat(path: Path) -> tuple[float, str]:
    head, _, tail = path.read_text(encoding="utf-8").rpartition(")")
    fields = tail.split()
    return (int(fields[11]) + int(fields[12])) / _TICK, head.partition("(")[2]
