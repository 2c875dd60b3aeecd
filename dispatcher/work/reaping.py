"""Finding and ending every process below this one, wherever it has gone: groups, sessions, orphans.

On Linux this process becomes the parent of its orphaned descendants, so none can leave. Elsewhere only the
group of the program itself can be reached, and that only while it runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_LINUX = sys.platform == "linux"
_PROC = Path("/proc")
_TOLD = _PROC / "thread-self" / "children"
"""Kernels that do not list children are asked for every process instead."""
_ROUNDS = 3
_MANY = 1000


def adopt_orphans() -> Callable[[], None]:
    """Become the parent of every orphan below; return what a child calls before it turns into a program.

    That has the child die with this process, and keeps what it runs from gaining rights: what runs as
    somebody else could not be ended.
    """
    if not _LINUX:
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)

    return bind


def below(pid: int) -> Iterator[int]:
    """Yield each process below one, the nearest first; not all of very many, of which more come meanwhile."""
    if not _LINUX:
        return
    known = None if _TOLD.exists() else _by_parent()
    ahead, found = [pid], {pid}
    while ahead and len(found) < _MANY:
        one = ahead.pop(0)
        for child in _children(one) if known is None else known.get(one, ()):
            if child not in found:
                found.add(child)
                ahead.append(child)
                yield child


def ask_to_end(main: int) -> None:
    """Send SIGTERM to everything below, and wake what is stopped."""
    _to_all(signal.SIGTERM, main)
    _to_all(signal.SIGCONT, main)


def kill_all(main: int) -> None:
    """Kill everything below. Some may slip out into groups of their own: call it until nothing is left."""
    for _ in range(_ROUNDS):
        _to_all(signal.SIGKILL, main)


def reap() -> Iterator[tuple[int, int]]:
    """Yield process and status of each child that has ended; raises ChildProcessError when none is left."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        yield pid, status


def _to_all(number: signal.Signals, main: int) -> None:
    """Signal every group below, each once: the kernel lets nobody slip out of one by forking meanwhile."""
    done = {os.getpgrp()}
    for pid in below(os.getpid()) if _LINUX else (main,):
        with suppress(OSError):
            group = os.getpgid(pid)
            if group not in done:
                done.add(group)
                os.killpg(group, number)


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                yield from map(int, (task / "children").read_bytes().split())


def _by_parent() -> dict[int, list[int]]:
    """Return the children of every process, where the kernel does not list them."""
    found: dict[int, list[int]] = {}
    for process in _PROC.iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                stat = (process / "stat").read_bytes()
                found.setdefault(int(stat.rpartition(b")")[2].split()[1]), []).append(int(process.name))
    return found
