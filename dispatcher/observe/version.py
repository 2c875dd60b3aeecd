"""A version of a job as the checker understands it, from the bytes of its definition alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from dispatcher.observe.instants import instant_of, period_of
from dispatcher.observe.timing import Once, Timing, Window, steps, walls

_EVER = 1 << 60
_HASHED = re.compile(r"(?<![A-Za-z])[Hh]")


@dataclass(frozen=True, slots=True)
class Version:
    """What a version of a job plans: instants of its timing in its window, each due `delay` ms later.

    `topic` is where its messages go: its own, or the lane's name behind the prefix. `content` is the hash of
    its definition, which is the value of every message.
    """

    name: bytes
    timing: Timing
    window: Window
    delay: int
    topic: str
    own_topic: bool
    content: int

    def within(self, after: int, until: int) -> Window:
        """Return what a stretch of time has in common with the version's own window."""
        return max(after, self.window[0]), min(until, self.window[1])


@lru_cache(maxsize=4096)
def read_version(definition: bytes) -> Version:
    """Return the version a definition describes. Raises ValueError, LookupError or TypeError for none."""
    entry = json.loads(definition)
    name = entry["jobName"]
    start = instant_of(entry["startAt"]) if "startAt" in entry else None
    end = instant_of(entry["endAt"]) if "endAt" in entry else None
    after = start - 1 if start is not None else -1
    until = end - 1 if end is not None else _EVER
    own = entry.get("topic")
    return Version(
        name.encode(),
        _timing(entry, name, start),
        (after, until if entry.get("enabled", True) else after),
        _delay(name, entry.get("jitterSeconds", 0)),
        own if own is not None else _lane(entry.get("priority", 5)),
        own is not None,
        hash(definition),
    )


def _timing(entry: dict[str, Any], name: str, start: int | None) -> Timing:
    if "every" in entry:
        return steps(period_of(entry["every"]), start or 0)
    if "at" in entry:
        return Once(instant_of(entry["at"]))
    text = entry["cronTime"]
    hashed = _HASHED.search(text) and not text.strip().startswith("@")
    dst = entry.get("dst", {})
    return walls(
        text,
        name if hashed else "",
        entry.get("timezone", "UTC"),
        dst.get("gap", "run"),
        dst.get("overlap", "once"),
    )


def _delay(name: str, jitter_seconds: float) -> int:
    """Return a job's constant delay: the hash of its name, spread over whole milliseconds."""
    longest = round(jitter_seconds * 1000)
    if longest == 0:
        return 0
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") % (longest + 1)


def _lane(priority: int) -> str:
    lanes = ("low",) * 3 + ("normal",) * 4 + ("high",) * 2 + ("critical",) * 2
    return f"jobs.{lanes[priority]}"
