"""The warm copies of the ledger: every replica reads along the partitions it does not own.

Who takes a shard finds its state decoded up to the last records, so a takeover is short however many jobs
there are. Of the partitions it owns it goes on to read where they stand, so that somebody else than the
thread at work on them knows.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import Message

from dispatcher.core.job import Job, JobReader
from dispatcher.core.ledger import Owner
from dispatcher.core.ledger_copy import LedgerCopy, RawRecord
from dispatcher.core.message import TopicNames
from dispatcher.errors import LedgerUnfit
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import END_OF_PARTITION, OUT_OF_RANGE, unread
from dispatcher.kafka.following import Following
from dispatcher.kafka.stands import Stands
from dispatcher.ports import LogEnds
from dispatcher.service import Loop, Looped

_LOG = logging.getLogger("dispatcher.kafka")
_DAY_MS = 86_400_000
_LOOKS_PER_LIMIT = 10
_REHEARSED_EVERY_S = 30.0
_LAST_RECORDS = 100
"""So many are read of a partition whose copy was given away: every transaction ends with a position."""
_AIMS_APART_S = 2.0
"""How soon brokers that told nothing are asked again: it takes a second from all the other partitions."""
_DECODED_AT_ONCE = 500
"""Jobs that are decoded before another thread may ask for a copy: some ten milliseconds."""


class _Followed:
    """What is kept of one partition, and what is known of it.

    `sure` is when it was last known to be complete, `caught_up` whether it ever reached the end, `goal` the
    end as it was when the reading began (None: no broker told it), `unfit` whether it holds a record that
    cannot be read.
    """

    __slots__ = ("caught_up", "copy", "goal", "sure", "unfit")

    def __init__(self, now: float, reader: JobReader) -> None:
        self.copy = LedgerCopy(reader)
        self.sure = now
        self.caught_up = False
        self.goal: int | None = None
        self.unfit = False

    @property
    def ready(self) -> bool:
        """Whether there is nothing left to decode."""
        return self.unfit or not self.caught_up or self.copy.decoded


_GIVEN_AWAY = _Followed(0.0, JobReader())
"""Stands for a partition whose copy was given away: its records are nobody's, but for where it stands."""


class LedgerTail(Looped):
    """A service that keeps copies of ledger partitions.

    A copy that was not known to be complete for half of the topic's `delete.retention.ms`, or whose offset
    lies below the log's start, may have missed a tombstone: it is dropped and read again from the beginning.

    `caught_up` is told, from the tail's thread, of each shard whose copy first reached the ledger's end: once
    for every `follow`, and it must not block. A copy with a record that this process cannot read is kept no
    further: who takes that shard reads it anew, and is told.
    """

    def __init__(
        self,
        connection: Connection,
        topics: TopicNames,
        failed: Callable[[str, BaseException], None],
        delete_retention_ms: int = _DAY_MS,
        *,
        caught_up: Callable[[int], None] = lambda _shard: None,
    ) -> None:
        self._caught_up = caught_up
        self._limit = delete_retention_ms / 2000
        self._lock = threading.Lock()
        self._reader = JobReader()
        self._next_rehearsal = 0.0
        self._next_aim = 0.0
        self.stands = Stands()
        """Where each shard stands, owned or not."""
        self._ever: set[int] = set()
        """The shards that were ever followed."""
        self._copies: dict[int, _Followed] = {}
        self._assigned: dict[int, _Followed] = {}
        self._next_look = time.monotonic() + self._limit / _LOOKS_PER_LIMIT
        self._following = Following(connection.named("tail"), topics.ledger)
        self._loop = Loop("ledger-tail", self._step, close=self._following.close, failed=failed)

    def follow(self, shard: int) -> None:
        """Keep a copy of a shard's partition from now on. Never blocks, from any thread."""
        with self._lock:
            self._ever.add(shard)
            self._copies.setdefault(shard, _Followed(time.monotonic(), self._reader))

    def hand_over(self, shard: int) -> LedgerCopy:
        """Keep no copy of a shard any more; give it away for good: an empty one if there is none to trust.

        Never blocks for long, from any thread.
        """
        with self._lock:
            found = self._copies.pop(shard, None)
        if found is None or found.unfit or time.monotonic() - found.sure > self._limit:
            return LedgerCopy(self._reader)
        return found.copy

    def owner_of(self, shard: int) -> Owner | None:
        """Return who last took a shard that is followed here, None when that is not known.

        Never blocks for long, from any thread.
        """
        with self._lock:
            found = self._copies.get(shard)
            return None if found is None or found.unfit else found.copy.owner()

    def jobs_of(self, shard: int) -> tuple[int, tuple[Job, ...]] | None:
        """Return the jobs in force in a shard that is followed, and the number of the last change.

        None while that is not known here. Never blocks for long, from any thread.
        """
        with self._lock:
            found = self._copies.get(shard)
            if found is None or found.unfit or not found.caught_up or not found.copy.decoded:
                return None
            state = found.copy.state()
            if state.position is None:
                return None
            return state.position.change, tuple([record.job for record in state.records.values()])

    def _step(self) -> float:
        self._reconcile()
        messages = self._following.take()
        with self._lock:
            self._apply(messages)
            reached = self._reached()
        for shard in reached:
            self._caught_up(shard)
        for shard, found in list(self._assigned.items()):
            self._decode(shard, found)
        self._rehearse()
        self._look()
        self.stands.measure(self._following, self._assigned)
        return 0.0

    def _decode(self, shard: int, found: _Followed) -> None:
        """Decode what was read, once the end was reached: nobody waits for it as long as for a takeover."""
        while not self._loop.stopping:
            self._loop.motion.moved()
            with self._lock:
                if found.ready or self._copies.get(shard) is not found:
                    return
                try:
                    found.copy.decode(_DECODED_AT_ONCE)
                    self._next_rehearsal = 0.0
                except LedgerUnfit as error:
                    self._give_up(shard, found, error)

    def _rehearse(self) -> None:
        """Have the copies planned now and then: what a trigger costs is then paid before a takeover."""
        now = time.monotonic()
        if now < self._next_rehearsal:
            return
        self._next_rehearsal = now + _REHEARSED_EVERY_S
        for shard, found in list(self._assigned.items()):
            with self._lock:
                if self._copies.get(shard) is found:
                    found.copy.rehearse()

    def _reconcile(self) -> None:
        """Let the consumer's partitions be those that are followed, or were.

        A new copy begins at the beginning. Of a partition whose copy was given away the last records are
        enough, wherever the reading was.
        """
        with self._lock:
            wanted, given_away = dict(self._copies), self._ever - self._copies.keys()
        for shard, found in list(self._assigned.items()):
            if found is not wanted.get(shard, _GIVEN_AWAY):
                self._following.remove(shard)
                del self._assigned[shard]
        if time.monotonic() < self._next_aim:
            return
        new = {**dict.fromkeys(given_away, _GIVEN_AWAY), **wanted}
        aims = {shard: self._aim(shard) for shard in new if shard not in self._assigned}
        if None in aims.values():
            self._next_aim = time.monotonic() + _AIMS_APART_S
        for shard, ends in aims.items():
            if ends is not None:
                self._begin(shard, new[shard], ends)

    def _aim(self, shard: int) -> LogEnds | None:
        """Learn where a partition begins and ends; None while no broker tells: it is asked again.

        An answer would wait for the fetches before it, so they begin afterwards. They begin at offsets, never
        at "the beginning" or "the last": the library asks for what those are by itself, and a question of an
        earlier reading of the partition, answered late, would move the present one.
        """
        if self._loop.stopping:
            return None
        self._loop.motion.moved()
        return self._following.committed_ends(shard)

    def _begin(self, shard: int, found: _Followed, ends: LogEnds) -> None:
        if found is _GIVEN_AWAY:
            self._following.add(shard, max(ends.low, ends.high - _LAST_RECORDS))
        else:
            with self._lock:
                if self._copies.get(shard) is not found:
                    return
                found.goal, found.copy.next = ends.high, ends.low
            self._following.add(shard, ends.low)
        self._assigned[shard] = found

    def _reached(self) -> list[int]:
        """Return the shards whose copies first reached the end; call it with the lock held."""
        reached = []
        for shard, found in self._assigned.items():
            if not found.caught_up and found.goal is not None and found is self._copies.get(shard):
                found.caught_up = found.copy.next >= found.goal
                if found.caught_up:
                    reached.append(shard)
        return reached

    def _apply(self, messages: list[Message]) -> None:
        """Take a batch in. Records of partitions that were given away meanwhile are nobody's."""
        records: dict[int, list[Message]] = {}
        said: list[Message] = []
        away = {shard for shard, found in self._assigned.items() if found is _GIVEN_AWAY}
        for message in messages:
            if message.error() is not None:
                said.append(message)
                continue
            self.stands.note(message)
            if (shard := message.partition() or 0) not in away:
                records.setdefault(shard, []).append(message)
        for shard, some in records.items():
            if (found := self._current(shard)) is not None and not found.unfit:
                self._take(shard, found, some)
        for message in said:
            self._hear(message)

    def _current(self, shard: int) -> _Followed | None:
        """Return what is kept of a shard, unless it was given away or begun anew since it was assigned."""
        found = self._copies.get(shard)
        return found if found is self._assigned.get(shard) else None

    def _take(self, shard: int, found: _Followed, messages: list[Message]) -> None:
        """Take records in. One that comes again, from before where the copy stands, would be old for new."""
        new = [one for one in messages if (one.offset() or 0) >= found.copy.next]
        if not new:
            return
        records: list[RawRecord] = [(one.key() or b"", one.value()) for one in new]
        try:
            found.copy.take(records, max((new[-1].offset() or 0) + 1, self._following.position(shard)))
        except LedgerUnfit as error:
            self._give_up(shard, found, error)

    def _give_up(self, shard: int, found: _Followed, error: LedgerUnfit) -> None:
        """Keep nothing more of a partition that cannot be read; it is nobody's trouble before it is taken."""
        found.unfit = True
        found.copy.clear(found.copy.next)
        _LOG.warning("ledger partition %s cannot be read along: %s", shard, error)

    def _hear(self, message: Message) -> None:
        """Take note of an end of a partition, or of an error."""
        shard, error = message.partition() or 0, message.error()
        assert error is not None
        found = self._current(shard)
        if found is None:
            if error.code() in OUT_OF_RANGE and self._assigned.pop(shard, None) is not None:
                self._following.remove(shard)
            return
        copy = found.copy
        if error.code() == END_OF_PARTITION:
            copy.next = max(copy.next, message.offset() or 0)
            found.sure = time.monotonic()
            found.goal = copy.next if found.goal is None else found.goal
        elif error.code() in OUT_OF_RANGE:
            self._renew(shard, f"offset {copy.next} lies below the log's start")
        elif (why := unread(error, message.topic(), "")) is not None:
            _LOG.error("ledger tail, shard %s: %s", shard, why)
        else:
            _LOG.debug("ledger tail, shard %s: %s", shard, error)

    def _look(self) -> None:
        """Ask the leaders now and then whether the copies are complete; renew those that may not be."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._limit / _LOOKS_PER_LIMIT
        for shard in list(self._assigned):
            if self._loop.stopping:
                return
            self._loop.motion.moved()
            self._judge(shard)

    def _judge(self, shard: int) -> None:
        ends = self._following.committed_ends(shard)
        now = time.monotonic()
        with self._lock:
            found = self._copies.get(shard)
            if found is None:
                return
            if now - found.sure > self._limit:
                self._renew(shard, f"it was not known to be complete for {now - found.sure:.0f} s")
            elif ends is not None and found.copy.next >= ends.high:
                found.sure = now

    def _renew(self, shard: int, why: str) -> None:
        """Begin a copy anew; call it with the lock held."""
        _LOG.warning("the copy of ledger partition %s is read again from the beginning: %s", shard, why)
        self._copies[shard] = _Followed(time.monotonic(), self._reader)
