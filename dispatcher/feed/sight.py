"""What the file shows over time: which content, since when, and whether this process saw it come."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog

from dispatcher.clock import Clock
from dispatcher.core.instant import Instant
from dispatcher.errors import ScheduleUnreadable
from dispatcher.feed import file
from dispatcher.feed.compare import Sighting
from dispatcher.feed.trust import Trust, distrust

_log = structlog.get_logger(__name__)
FULL_LOOK_MS = 60_000
"""So often the bytes are looked at even if nothing else tells of a change."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look found: the content's revision, or why there is none.

    `seen` is when it was found first, by the wall; `age` for how long it has been found since, in
    milliseconds, with no other content in between.
    """

    revision: str
    error: str
    seen: Instant
    age: int

    @property
    def key(self) -> str:
        """The same for looks that found the same."""
        return self.revision or self.error


class Lookout:
    """Looks at one file, reading it only when there may be something new. One thread looks, any may touch.

    A file that others may change counts as one that cannot be read, unless `trust` lets it pass.
    """

    def __init__(self, path: str, cap: int, clock: Clock, trust: Trust = Trust.OFF) -> None:
        self._path = path
        self._cap = cap
        self._clock = clock
        self._trust = trust
        self._doubt: str | None = None
        self._touched = threading.Event()
        self._sight: Sight | None = None
        self._since = 0
        self._looked = 0
        self._signature: file.Signature | None = None
        self._settled: str | None = None
        self._sighting = Sighting(0, witnessed=False)

    def touch(self) -> None:
        """Have the next look read the file, whatever its signature says."""
        self._touched.set()

    def look(self, settle_ms: int) -> Sight:
        """Return what the file shows now; a content younger than `settle_ms` is not read again yet."""
        now = self._clock.read()
        sight = self._sight
        age = now.monotonic - self._since
        if sight is not None and not self._is_due(sight, age, settle_ms, now.monotonic):
            return Sight(sight.revision, sight.error, sight.seen, age)
        self._touched.clear()
        self._signature = file.signature_of(self._path)
        self._looked = now.monotonic
        revision, error = self._read()
        if sight is None or (revision, error) != (sight.revision, sight.error):
            self._since, age = now.monotonic, 0
            self._sight = Sight(revision, error, now.now, age)
            return self._sight
        return Sight(revision, error, sight.seen, age)

    def settled(self, sight: Sight) -> Sighting:
        """Take a content as one the file really had; return when it came and whether this process saw that.

        A content that goes and comes back with no other one in between came when it came first.
        """
        if self._settled != sight.revision:
            self._sighting = Sighting(sight.seen, witnessed=self._settled is not None)
            self._settled = sight.revision
        return self._sighting

    def _is_due(self, sight: Sight, age: int, settle_ms: int, monotonic: int) -> bool:
        if age < settle_ms and not sight.error:
            return False
        signature = file.signature_of(self._path)
        return (
            self._touched.is_set()
            or signature is None
            or signature != self._signature
            or self._looked - self._since < settle_ms
            or monotonic - self._looked >= FULL_LOOK_MS
        )

    def _read(self) -> tuple[str, str]:
        doubt = None if self._trust is Trust.OFF else distrust(self._path)
        if doubt is not None and self._trust is Trust.REFUSE:
            return "", f"{self._path}: {doubt}"
        if doubt not in {None, self._doubt}:
            _log.warning("schedule.untrusted", file=self._path, reason=doubt)
        self._doubt = doubt
        try:
            return file.revision_of(self._path, self._cap), ""
        except ScheduleUnreadable as error:
            return "", str(error)
