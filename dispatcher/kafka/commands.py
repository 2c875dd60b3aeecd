"""Commands on their way in: one consumer reads the partitions of the shards this replica owns."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from confluent_kafka import Message

from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import END_OF_PARTITION, OUT_OF_RANGE, unread
from dispatcher.kafka.following import Following
from dispatcher.kafka.offsets import PartitionEnds
from dispatcher.kafka.reading import headers_in
from dispatcher.ports import LogEnds
from dispatcher.service import Loop, Looped

_LOG = logging.getLogger("dispatcher.kafka")
_ASK_SECONDS = 2.0

CommandHeaders = list[tuple[str, bytes | str | None]] | None
Deliver = Callable[[int, int, bytes | None, bytes | None, CommandHeaders], None]
"""Takes (shard, offset after the record, key, value, headers)."""


@dataclass(frozen=True, slots=True)
class CommandHooks:
    """What the reader tells, from its own thread; none of them may block or raise.

    `lost(shard, count)`: records that retention took before they were read, markers counted too.
    `beyond(shard, offset, end)`: the offset lies behind the end; the shard is not read.
    `read(shard)`: all that waited when the shard was attached has been delivered; told once for each.
    """

    deliver: Deliver
    lost: Callable[[int, int], None]
    beyond: Callable[[int, int, int], None]
    read: Callable[[int], None] = lambda _: None


class CommandReader(Looped):
    """A service that reads the commands of attached shards, each from its own offset."""

    def __init__(
        self,
        connection: Connection,
        topics: TopicNames,
        hooks: CommandHooks,
        failed: Callable[[str, BaseException], None],
        ends: PartitionEnds | None = None,
    ) -> None:
        self._connection = connection.named("commands")
        self._ends = ends or PartitionEnds(self._connection)
        self._hooks = hooks
        self._wishes: SimpleQueue[tuple[int, bool, int | None]] = SimpleQueue()
        self._waiting: dict[int, int | None] = {}
        self._reading: dict[int, int] = {}
        self._behind: set[int] = set()
        self._following = Following(self._connection, topics.commands)
        self._loop = Loop("commands", self._step, close=self._following.close, failed=failed)

    def attach(self, shard: int, offset: int | None) -> None:
        """Read a shard's commands from an offset, None for the present end. Never blocks, any thread."""
        self._wishes.put((shard, True, offset))

    def detach(self, shard: int) -> None:
        """Read a shard's commands no more. Never blocks, from any thread; a last batch may still come."""
        self._wishes.put((shard, False, None))

    def _step(self) -> float:
        self._take_wishes()
        for shard, offset in list(self._waiting.items()):
            self._loop.motion.moved()
            self._begin(shard, offset)
        for message in self._following.take():
            self._handle(message)
        return 0.0

    def _take_wishes(self) -> None:
        while True:
            try:
                shard, attach, offset = self._wishes.get_nowait()
            except Empty:
                return
            self._drop(shard)
            self._waiting.pop(shard, None)
            if attach:
                self._waiting[shard] = offset

    def _drop(self, shard: int) -> None:
        self._behind.discard(shard)
        if self._reading.pop(shard, None) is not None:
            self._following.remove(shard)

    def _begin(self, shard: int, offset: int | None) -> None:
        """Find out where to begin; without an answer from the brokers try again at the next step."""
        ends = self._following.committed_ends(shard)
        if ends is not None and offset is not None and offset > ends.high:
            ends = self._true_ends(shard)
        if ends is None:
            return
        del self._waiting[shard]
        if offset is None:
            offset = ends.high
        elif offset > ends.high:
            self._hooks.beyond(shard, offset, ends.high)
            return
        elif offset < ends.low:
            self._hooks.lost(shard, ends.low - offset)
            offset = ends.low
        self._following.add(shard, offset)
        self._reading[shard] = offset
        self._behind.add(shard)

    def _true_ends(self, shard: int) -> LogEnds | None:
        """Return the ends with open transactions counted: the last stable offset alone proves nothing."""
        try:
            return self._ends.of(self._following.topic, shard, _ASK_SECONDS)
        except KafkaUnreachable as error:
            _LOG.debug("commands of shard %s: %s", shard, error)
            return None

    def _handle(self, message: Message) -> None:
        shard = message.partition() or 0
        if shard not in self._reading:
            return
        error = message.error()
        if error is None:
            after = (message.offset() or 0) + 1
            self._reading[shard] = after
            headers: CommandHeaders = [*headers_in(message)]
            self._hooks.deliver(shard, after, message.key(), message.value(), headers)
        elif error.code() == END_OF_PARTITION:
            if shard in self._behind:
                self._behind.discard(shard)
                self._hooks.read(shard)
        elif error.code() in OUT_OF_RANGE:
            offset = self._reading[shard]
            self._drop(shard)
            self._waiting[shard] = offset
        elif (why := unread(error, message.topic(), "")) is not None:
            _LOG.error("commands of shard %s: %s", shard, why)
