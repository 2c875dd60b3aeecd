"""Looking at processes from tests: which run, and waiting until they do not."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def is_running(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def children() -> set[int]:
    """Return the processes that this one has begun and not reaped."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may end meanwhile
            found |= set(map(int, (task / "children").read_bytes().split()))
    return found


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait until a condition holds, at most so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        os.sched_yield()
    return True


@contextmanager
def nothing_left(scratch: Path | None = None) -> Iterator[None]:
    """Make sure that no process, zombie, open file or directory is left behind."""
    before, files = children(), open_files()
    yield
    assert children() <= before
    assert len(open_files()) <= len(files)
    if scratch is not None:
        assert list(scratch.glob("dispatcher-*")) == []
