"""Callables that do to their process what must hurt no other."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dispatcher.work.custom import CustomRun

kept: list[bytes] = []


def who() -> int:
    return os.getpid()


def add(one: int, other: int = 1) -> int:
    return one + other


def seen() -> dict[str, Any]:
    """Tell what this process can see of its worker."""
    fds = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {
        "environment": dict(os.environ),
        "fds": fds,
        "cwd": str(Path.cwd()),
        "stdin": sys.stdin.read(),
        "arguments": sys.argv,
        "limits": [resource.getrlimit(which) for which in (resource.RLIMIT_CORE, resource.RLIMIT_DATA)],
    }


def leave() -> None:
    sys.exit(3)


def leave_at_once() -> None:
    print("last words")
    os._exit(7)


def abort() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    threading.Event().wait()


def hang_stubbornly() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()


def hold_the_interpreter() -> Any:
    return 10 ** (10**9) % 7  # one operation, which no signal handler of Python can interrupt


def grow(megabytes: int) -> int:
    kept.append(b"x" * (megabytes << 20))
    return os.getpid()


def flood() -> None:
    for _ in range(100):
        os.write(1, b"x" * (1 << 20))


def fork_and_come_back() -> int:
    return os.getpid() if os.fork() else 0


def leave_a_daemon() -> int:
    return subprocess.Popen(["setsid", "sleep", "1000"], start_new_session=True).pid


def leave_a_thread() -> int:
    threading.Thread(target=threading.Event().wait).start()
    return os.getpid()


def speak_out_of_turn() -> None:
    for fd in range(3, 50):
        try:
            os.write(fd, b"\xff" * 100)
        except OSError:
            continue
    time.sleep(60)


def return_an_object() -> object:
    return object()


def return_too_much() -> str:
    return "x" * 1_000_000


def run_twice(run: CustomRun) -> None:
    raise RuntimeError(f"attempt {run.attempt} of {run.fire} \N{BROKEN HEART}")
