"""Finding what looks like a password in a schedule: it lies open there, in topics and in dead letters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dispatcher.core.compact_json import read_json
from dispatcher.core.schedule import Schedule
from dispatcher.errors import Problem
from dispatcher.feed.locate import Finding, located
from dispatcher.masking import is_secret

_HINT = re.compile(rb"pass|secret|token|jaas|credential|authorization|key", re.IGNORECASE)
"""Without any of these a definition holds no name that hides a secret; most have none, and are not read."""
_MEMBERS = ("payload", "taskParams", "headers")
_WHY = (
    "looks like a secret, and whoever reads the topics reads it; let workers have it by their settings"
    " or the service that they call"
)


def literal_secrets(schedule: Schedule, data: bytes) -> tuple[Problem, ...]:
    """Return each text in payloads and headers whose name is that of a secret, with its place in the file."""
    found = {}
    for job in schedule.jobs.values():
        if _HINT.search(job.definition) is None:
            continue
        entry = read_json(job.definition)
        names = [member for member in _MEMBERS if member in entry]
        if some := [one for member in names for one in _in((member,), entry[member])]:
            found[job.name] = some
    return located(data, found) if found else ()


def _in(path: tuple[str | int, ...], value: Any) -> Iterator[Finding]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str) and inner and is_secret(name):
                yield Finding((*path, name), f"`{'.'.join(map(str, (*path, name)))}` {_WHY}")
            else:
                yield from _in((*path, name), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _in((*path, number), inner)
