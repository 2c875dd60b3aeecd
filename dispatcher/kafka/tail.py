"""The warm copy of the ledger: every replica tails the partitions it does not own, so a takeover is short."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, Message

from dispatcher.core.codec import OWNER_KEY, decode
from dispatcher.core.ledger import Owner
from dispatcher.core.message import TopicNames
from dispatcher.errors import LedgerUnfit
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import END_OF_PARTITION, OUT_OF_RANGE
from dispatcher.kafka.following import Following
from dispatcher.service import Deadline, Loop

_LOG = logging.getLogger("dispatcher.kafka")
_DAY_MS = 86_400_000
_LOOKS_PER_LIMIT = 10


class _Copy:
    """The last records of one partition: `next` is the offset after the last one applied.

    `sure` is when the copy was last known to be complete, `caught_up` whether it ever reached the end.
    """

    __slots__ = ("caught_up", "image", "next", "sure")

    def __init__(self, now: float) -> None:
        self.image: dict[bytes, bytes] = {}
        self.next = 0
        self.sure = now
        self.caught_up = False

    def apply(self, message: Message) -> None:
        """Take one record in; one without a value deletes its key."""
        key, value = message.key() or b"", message.value()
        if value is None:
            self.image.pop(key, None)
        else:
            self.image[key] = value

    def owner(self) -> Owner | None:
        """Return the instance that last took the shard, as far as the copy knows and can read."""
        value = self.image.get(OWNER_KEY)
        try:
            fact = None if value is None else decode(OWNER_KEY, value)
        except LedgerUnfit:
            return None
        return fact if isinstance(fact, Owner) else None


class LedgerTail:
    """A service that keeps copies of ledger partitions.

    A copy that was not known to be complete for half of the topic's `delete.retention.ms`, or whose offset
    lies below the log's start, may have missed a tombstone: it is dropped and read again from the beginning.

    `caught_up` is told, from the tail's thread, of each shard whose copy first reached the ledger's end: once
    for every `follow`, and it must not block.
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
        self._copies: dict[int, _Copy] = {}
        self._assigned: dict[int, _Copy] = {}
        self._next_look = time.monotonic() + self._limit / _LOOKS_PER_LIMIT
        self._following = Following(connection.named("tail"), topics.ledger)
        self._loop = Loop("ledger-tail", self._step, close=self._following.close, failed=failed)

    def start(self) -> None:
        """Begin to read."""
        self._loop.start()

    def stop(self) -> None:
        """Ask the service to end; it does within a fraction of a second."""
        self._loop.stop()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end of the service."""
        return self._loop.join(deadline)

    def follow(self, shard: int) -> None:
        """Keep a copy of a shard's partition from now on. Never blocks, from any thread."""
        with self._lock:
            self._copies.setdefault(shard, _Copy(time.monotonic()))

    def hand_over(self, shard: int) -> tuple[dict[bytes, bytes], int]:
        """Stop following a shard; give away its copy and the offset to read on from.

        Never blocks for long, from any thread. Without a copy that can be trusted: an empty one and offset 0.
        """
        with self._lock:
            copy = self._copies.pop(shard, None)
        if copy is None or time.monotonic() - copy.sure > self._limit:
            return {}, 0
        return copy.image, copy.next

    def owner_of(self, shard: int) -> Owner | None:
        """Return who last took a shard that is followed here, None when that is not known.

        Never blocks for long, from any thread.
        """
        with self._lock:
            copy = self._copies.get(shard)
            return None if copy is None else copy.owner()

    def _step(self) -> float:
        self._reconcile()
        messages = self._following.take()
        if messages:
            with self._lock:
                reached = self._apply(messages)
            for shard in reached:
                self._caught_up(shard)
        self._look()
        return 0.0

    def _reconcile(self) -> None:
        """Let the consumer's partitions be those that are followed; a new copy begins at the beginning."""
        with self._lock:
            wanted = dict(self._copies)
        for shard, copy in list(self._assigned.items()):
            if wanted.get(shard) is not copy:
                self._following.remove(shard)
                del self._assigned[shard]
        for shard, copy in wanted.items():
            if shard not in self._assigned:
                self._following.add(shard, OFFSET_BEGINNING)
                self._assigned[shard] = copy

    def _apply(self, messages: list[Message]) -> list[int]:
        """Take a batch in; return the shards whose copies first reached the end.

        Records of partitions that were given away meanwhile are nobody's.
        """
        touched: set[int] = set()
        reached: list[int] = []
        for message in messages:
            shard = message.partition() or 0
            copy = self._copies.get(shard)
            if copy is None or copy is not self._assigned.get(shard):
                continue
            error = message.error()
            if error is None:
                copy.apply(message)
                touched.add(shard)
            elif error.code() == END_OF_PARTITION:
                copy.next = max(copy.next, message.offset() or 0)
                copy.sure = time.monotonic()
                if not copy.caught_up:
                    copy.caught_up = True
                    reached.append(shard)
            elif error.code() in OUT_OF_RANGE:
                self._renew(shard, f"offset {copy.next} lies below the log's start")
            else:
                _LOG.debug("ledger tail, shard %s: %s", shard, error)
        for shard in touched:
            copy = self._assigned[shard]
            copy.next = max(copy.next, self._following.position(shard))
        return reached

    def _look(self) -> None:
        """Ask the leaders now and then whether the copies are complete; renew those that may not be."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._limit / _LOOKS_PER_LIMIT
        for shard in list(self._assigned):
            if self._loop.stopping:
                return
            self._judge(shard)

    def _judge(self, shard: int) -> None:
        ends = self._following.committed_ends(shard)
        now = time.monotonic()
        with self._lock:
            copy = self._copies.get(shard)
            if copy is None:
                return
            if now - copy.sure > self._limit:
                self._renew(shard, f"it was not known to be complete for {now - copy.sure:.0f} s")
            elif ends is not None and copy.next >= ends.high:
                copy.sure = now

    def _renew(self, shard: int, why: str) -> None:
        """Begin a copy anew; call it with the lock held."""
        _LOG.warning("the copy of ledger partition %s is read again from the beginning: %s", shard, why)
        self._copies[shard] = _Copy(time.monotonic())
