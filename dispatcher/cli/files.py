"""Loading schedule files for commands, standard input too."""

from __future__ import annotations

import sys

from dispatcher.cli.show import waiting
from dispatcher.core.schedule import Schedule
from dispatcher.errors import ScheduleUnreadable
from dispatcher.feed.file import read
from dispatcher.feed.loader import load

STDIN = "-"
STDIN_NAME = "<stdin>"


def load_schedule(file: str, cap: int) -> Schedule:
    """Return the schedule of a file, `-` being standard input.

    Raises ScheduleUnreadable, or InvalidSchedule with all problems.
    """
    return load_with_text(file, cap)[0]


def load_with_text(file: str, cap: int) -> tuple[Schedule, bytes]:
    """Return the schedule of a file as `load_schedule` does, and the bytes that it was read from."""
    with waiting(f"Reading {file}"):
        if file == STDIN:
            data, name = _stdin(cap), STDIN_NAME
        else:
            data, name = read(file, cap).data, file
        return load(data, name).schedule, data


def _stdin(cap: int) -> bytes:
    data = sys.stdin.buffer.read(cap + 1)
    if len(data) > cap:
        raise ScheduleUnreadable(
            f"{STDIN_NAME}: has more than the {cap} bytes allowed; make it smaller or raise --max-file-bytes"
        )
    return data
