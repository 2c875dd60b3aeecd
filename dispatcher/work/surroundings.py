"""What programs and callables see around them: a few fixed names and what they run for.

Nothing of the worker's own environment is among it.
"""

from __future__ import annotations

import os
from pathlib import Path

import dispatcher
from dispatcher.core.instant import to_text
from dispatcher.work.handling import Task

PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where programs that a program starts are looked for."""
LANG = "C.UTF-8"
HOMES = ("HOME", "TMPDIR")
"""What names the empty directory that a program runs in."""


def told_of(task: Task) -> dict[str, str]:
    """Return what tells a program what it runs for: always the same names, empty where there is nothing."""
    return {
        "DISPATCHER_FIRE_ID": task.fire,
        "DISPATCHER_ATTEMPT": str(task.attempt),
        "DISPATCHER_JOB": task.job,
        "DISPATCHER_PLANNED": to_text(task.planned),
        "DISPATCHER_SECONDS": "" if task.seconds is None else f"{task.seconds:g}",
        "TRACEPARENT": task.traceparent,
    }


def python_path(*more: str) -> str:
    """Return where an interpreter finds this package, and other places after that."""
    home = str(Path(dispatcher.__file__).parent.parent)
    return os.pathsep.join(dict.fromkeys([home, *filter(None, more)]))
