"""Lines that repeat themselves: a few a minute are told, the others are counted.

Two lines are repetitions when they have the same event and level, the same names (shard, job, fire, file …)
and the same words but for their digits; figures may differ. `table` says which field is which. What is
critical, and what is logged for who asked for `debug`, is always told.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Hashable, MutableMapping
from dataclasses import dataclass
from typing import Any

import structlog

from dispatcher.logs.table import FIELDS, Role

MOST = 6
"""So many repetitions are told in each span of time."""
SECONDS = 60.0
_LIMITED = frozenset({"info", "warning", "error"})
_ASIDE = frozenset({"timestamp", "event", "level"})
_MOST_KINDS = 10_000
_DIGITS = re.compile(r"[0-9]+")

Line = MutableMapping[str, Any]


@dataclass(slots=True)
class _Said:
    """Since when lines of one kind are counted, how many were told and kept back, and the last of these."""

    since: float
    told: int = 1
    kept_back: int = 0
    last: Line | None = None


class Repetitions:
    """Decides what is told, given the time in seconds. One owner."""

    def __init__(self, most: int = MOST, seconds: float = SECONDS, kinds: int = _MOST_KINDS) -> None:
        self._most = most
        self._seconds = seconds
        self._kinds = kinds
        self._said: dict[Hashable, _Said] = {}
        """Oldest first: a kind whose time is over leaves, and comes back at the end."""

    def take(self, line: Line, now: float) -> Line | None:
        """Return the line as it is to be told, with the number of those kept back; None: not now."""
        key = key_of(line)
        said = self._said.get(key)
        if said is not None and now - said.since < self._seconds:
            if said.told < self._most:
                said.told += 1
                return line
            said.kept_back += 1
            said.last = line
            return None
        self._said.pop(key, None)
        self._said[key] = _Said(now)
        return _with_count(line, said.kept_back if said is not None else 0)

    def over(self, now: float) -> list[Line]:
        """Return the last line of each kind whose time is over: one that was kept back is told in the end."""
        late: list[Line] = []
        while self._said:
            key, oldest = next(iter(self._said.items()))
            if now - oldest.since < self._seconds and len(self._said) <= self._kinds:
                break
            del self._said[key]
            if oldest.last is not None:
                late.append(_with_count(oldest.last, oldest.kept_back - 1))
        return late


class Repeats:
    """A structlog processor that keeps repetitions back. `tell` writes a line that is told late."""

    def __init__(self, tell: Callable[[Line], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._repetitions = Repetitions()

    def __call__(self, _logger: Any, _method: str, line: Line) -> Line:
        """Return the line, after those whose time is over. Raises DropEvent for one that is kept back."""
        with self._lock:
            now = self._clock()
            told = self._repetitions.take(line, now) if line["level"] in _LIMITED else line
            late = self._repetitions.over(now)
        for one in late:
            self._tell(one)
        if told is None:
            raise structlog.DropEvent
        return told

    def finish(self) -> None:
        """Tell what is still kept back."""
        with self._lock:
            late = self._repetitions.over(float("inf"))
        for one in late:
            self._tell(one)


def key_of(line: Line) -> Hashable:
    """Return what lines have in common that are repetitions of one another."""
    parts: list[Hashable] = [line["event"], line["level"]]
    for name, value in line.items():
        field = FIELDS.get(name)
        if name in _ASIDE or (field is not None and field.role is Role.FIGURE):
            continue
        text = str(value)
        parts.append(
            (name, _DIGITS.sub("0", text) if field is not None and field.role is Role.TEXT else text)
        )
    return tuple(parts)


def _with_count(line: Line, kept_back: int) -> Line:
    return {**line, "repeated": kept_back} if kept_back else line
