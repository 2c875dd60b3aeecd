"""The feed: notices that the file changed, makes sure it is whole, brings the difference to the shards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from dispatcher.clock import Clock
from dispatcher.core.schedule import ShardBase
from dispatcher.errors import DispatcherError, ScheduleUnreadable
from dispatcher.feed import file
from dispatcher.feed.compare import DEFAULT_LIMIT_SECONDS, Compared, Comparer
from dispatcher.feed.sight import Lookout, Sight
from dispatcher.feed.trust import Trust
from dispatcher.feed.watcher import Watcher
from dispatcher.ports import ScheduleSink
from dispatcher.service import Loop, Looped

SETTLE_MS = 60
"""A content counts once it was read twice, this far apart: a file in the middle of being written does not."""
COMPLAIN_MS = 400
"""A content that is no schedule, or no content at all, is told only if it stays for this long."""
RETRY_MS = 60_000
"""When a comparison that failed for reasons of the machine is tried again."""
DEFAULT_POLL_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Feed(Looped):
    """Watches one file for one sink. A `service.Service`; everything but waking happens in its own thread.

    A content is brought once, and again only after `recheck`; a refused one is told once. What was in force
    stays in force whatever becomes of the file. `poll` is how often the file is looked at without an event,
    `limit` the longest a comparison may take, both in seconds; `failed` is told what ended the thread.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        path: str,
        sink: ScheduleSink,
        clock: Clock,
        *,
        shards: int,
        failed: Callable[[str, BaseException], None],
        cap: int = file.DEFAULT_CAP,
        trust: Trust = Trust.OFF,
        poll: float = DEFAULT_POLL_SECONDS,
        limit: float = DEFAULT_LIMIT_SECONDS,
    ) -> None:
        self._path = path
        self._sink = sink
        self._clock = clock
        self._poll = poll
        self._comparer = Comparer(path, shards=shards, cap=cap, limit=limit)
        self._lookout = Lookout(path, cap, clock, trust)
        self._watcher = Watcher(path, self._touched)
        self._loop = Loop("feed", self._step, close=self._close, failed=failed)
        self._again = threading.Event()
        self._lock = threading.Lock()
        self._asked = self._taken = 0
        self.answered = 0
        """The last `recheck` that led to a look at the file, by the number it returned."""
        self.revision = ""
        """That of the file when it was last found fit to be in force."""
        self._refused: tuple[str, DispatcherError] | None = None
        self._handled: str | None = None
        self._delivered: str | None = None
        self._rest_until = 0
        self._told: tuple[str, str, bool] | None = None
        self._error: DispatcherError | None = None

    @property
    def error(self) -> DispatcherError | None:
        """Why the file as it is now cannot take force, None when it can. Any thread may ask."""
        return self._error

    def stop(self) -> None:
        """Ask the feed to end; a comparison under way is given up."""
        self._loop.stop()
        self._comparer.kill()

    def recheck(self) -> int:
        """Look again, and compare the file with what is in force by now; return its number for `answered`.

        Any thread may ask.
        """
        with self._lock:
            self._asked += 1
            asked = self._asked
        self._again.set()
        self._loop.waiter.wake()
        return asked

    def _touched(self) -> None:
        self._lookout.touch()
        self._loop.waiter.wake()

    def _close(self) -> None:
        self._watcher.stop()
        self._comparer.close()

    def _step(self) -> float:
        self._watcher.refresh()
        if self._again.is_set():
            self._again.clear()
            self._taken = self._asked
            self._handled, self._delivered, self._rest_until = None, None, 0
            self._lookout.touch()
        sight = self._lookout.look(settle_ms=SETTLE_MS)
        wait = self._act(sight) if self._handled != sight.key else self._poll
        self._prepare()
        return min(wait, self._poll)

    def _act(self, sight: Sight) -> float:
        """Do what the sight asks for; return the seconds until it has to be looked at again."""
        if sight.error:
            return self._complain(sight, "", ScheduleUnreadable(sight.error))
        if sight.age < SETTLE_MS:
            return (SETTLE_MS - sight.age) / 1000
        if self._refused is not None and self._refused[0] == sight.revision:
            return self._complain(sight, *self._refused)
        return self._compare(sight)

    def _compare(self, sight: Sight) -> float:
        bases = self._sink.bases()
        behind = [base for base in bases if base.revision != sight.revision]
        if not behind:
            self._delivered = None
        if not behind or self._delivered == sight.revision:
            return self._done(sight, bases)
        rest = self._rest_until - self._clock.read().monotonic
        if rest > 0:
            return rest / 1000
        try:
            compared = self._comparer.compare(behind, self._lookout.settled(sight))
        except ScheduleUnreadable as error:
            return self._failed(sight, error)
        if compared.revision != sight.revision:
            return 0.0  # the file changed since it was looked at: look again
        if compared.refused is not None:
            self._refused = (compared.revision, compared.refused)
            return 0.0
        return self._bring(sight, compared, bases)

    def _bring(self, sight: Sight, compared: Compared, bases: Sequence[ShardBase]) -> float:
        _log.info(
            "schedule.read",
            file=self._path,
            revision=compared.revision,
            jobs=compared.done.jobs if compared.done else None,
            seconds=round(compared.done.seconds, 3) if compared.done else None,
            changes=sum(map(len, compared.changes)),
        )
        for change in compared.changes:
            self._sink.apply(change)
        self._delivered = sight.revision
        return self._done(sight, bases)

    def _done(self, sight: Sight, bases: Sequence[ShardBase]) -> float:
        """Leave the content alone: it is in force or on its way.

        Where nobody was there to take it, ask at each poll: whoever comes may have no word to say so.
        """
        self._lookout.settled(sight)
        self._handled, self._told, self._error = sight.key if bases else None, None, None
        self._sink.looked(tuple(base.shard for base in bases), sight.revision)
        self.revision, self.answered = sight.revision, self._taken
        return self._poll

    def _complain(self, sight: Sight, revision: str, error: DispatcherError) -> float:
        """Tell of a file that cannot take force, once it has stayed so for long enough."""
        if sight.age < COMPLAIN_MS:
            return (COMPLAIN_MS - sight.age) / 1000
        if revision:
            self._lookout.settled(sight)
        self._handled = sight.key
        self._tell(revision, error)
        return self._poll

    def _failed(self, sight: Sight, error: ScheduleUnreadable) -> float:
        """Tell why a comparison failed, unless the file changed under it or the feed ends."""
        if self._loop.stopping:
            return 0.0
        self._lookout.touch()
        if self._lookout.look(settle_ms=0).key == sight.key:
            self._tell("", error)
            self._rest_until = self._clock.read().monotonic + RETRY_MS
        return 0.0

    def _tell(self, revision: str, error: DispatcherError) -> None:
        """Tell the sink once, and once more when there is a shard at last: that may decide the start."""
        self._error, self.answered = error, self._taken
        if revision:
            self._delivered = None
        shards = tuple(base.shard for base in self._sink.bases())
        before, self._told = self._told, (revision, str(error), bool(shards))
        if before is not None and before[:2] == self._told[:2] and (before[2] or not shards):
            self._told = before
            self._sink.looked(shards, revision)
            return
        event = "schedule.refused" if revision else "schedule.unreadable"
        _log.error(event, file=self._path, revision=revision, reason=str(error)[:2000])
        self._sink.refused(revision, error)

    def _prepare(self) -> None:
        """Have a child waiting for the next comparison; a failure is told when that comparison fails."""
        if self._loop.stopping:
            return
        try:
            self._comparer.prepare()
        except ScheduleUnreadable as error:
            _log.warning("schedule.child_missing", file=self._path, reason=str(error))
