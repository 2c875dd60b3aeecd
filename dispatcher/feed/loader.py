"""Loading a whole schedule in this process: for the commands that look at a file and end."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from dispatcher.core.job import JobReader
from dispatcher.core.schedule import Schedule
from dispatcher.errors import InvalidSchedule
from dispatcher.feed.entries import Entries, decode, not_utf8


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid file and the schedule it holds; the jobs are in the file's order."""

    file: str
    schedule: Schedule


def load(data: bytes, file: str) -> Loaded:
    """Return the schedule that the bytes of a file hold. Raises InvalidSchedule with every problem at once.

    What is not JSON ends the search: only what comes before it and itself can be told.
    """
    revision = sha256(data).hexdigest()
    try:
        text = decode(data)
    except UnicodeDecodeError as error:
        raise InvalidSchedule(file, (not_utf8(data, error),)) from None
    with collector_off():
        entries = Entries(text)
        reader = JobReader()
        jobs = {found.name: reader.build(found.entry, found.definition) for found in entries}
        if problems := entries.problems:
            raise InvalidSchedule(file, problems)
    return Loaded(file, Schedule(revision, jobs))


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep the garbage collector from walking the growing heap again and again; nothing here makes cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
