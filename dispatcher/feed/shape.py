"""What many jobs of a file share: their shape, which is everything but name, work and words.

A shape is checked once, however many jobs have it, and jobs of one shape have the same trigger, policy and
route. It errs on the side of telling apart: a field it does not know counts.
"""

from __future__ import annotations

import re
from typing import Any

from dispatcher.feed.models import JOB_NAME, LONGEST_DESCRIPTION, LONGEST_NAME

FREE = frozenset({"jobName", "job", "taskName", "payload", "taskParams", "description"})
"""The fields of which only the presence is part of the shape."""

Shape = tuple[object, ...]

_NAME = re.compile(JOB_NAME.strip("^$"))
_HASHED = re.compile(r"(?:^|[\s,])H(?:[(/\s,]|$)", re.IGNORECASE)


def shape_of(entry: dict[str, Any]) -> Shape | None:
    """Return the shape of an entry as written; None when its name is part of its trigger (`H`)."""
    parts: list[object] = []
    for name, value in entry.items():
        parts.append(name)
        if name in FREE:
            continue
        if value.__class__ is str:
            parts.append(value)
        else:
            parts += value.__class__, repr(value)
    return None if is_hashed(entry.get("cronTime")) else tuple(parts)


def is_hashed(cron: Any) -> bool:
    """Tell whether a cron expression takes values from the hash of the job's name."""
    return cron.__class__ is str and ("H" in cron or "h" in cron) and _HASHED.search(cron) is not None


def has_sound_rest(entry: dict[str, Any]) -> bool:
    """Tell whether the free fields are right in an entry that has the shape of a valid one."""
    get = entry.get
    name = get("jobName")
    return (
        name.__class__ is str
        and len(name) <= LONGEST_NAME
        and _NAME.fullmatch(name) is not None
        and get("job", "").__class__ is str
        and get("taskName", "").__class__ is str
        and (words := get("description", "")).__class__ is str
        and len(words) <= LONGEST_DESCRIPTION
    )
