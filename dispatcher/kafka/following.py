"""A consumer that follows some partitions of one topic, each from a given offset. One thread's own."""

from __future__ import annotations

import logging

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.letting_go import close_reader
from dispatcher.kafka.reading import look_for_leaders, take
from dispatcher.ports import LogEnds

TICK_SECONDS = 0.2
"""How long a follower waits for records before it looks at what else it was asked for."""
_ASK_SECONDS = 1.0
_LOG = logging.getLogger("dispatcher.kafka")


class Following:
    """The partitions of one topic that a follower reads."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self.topic = topic
        self._consumer = Consumer(config.follower(connection))
        self._acquainted = False

    def add(self, partition: int, offset: int) -> None:
        """Read a partition from an offset on; a number, for the library may answer late what others are."""
        self._acquaint()
        self._consumer.incremental_assign([TopicPartition(self.topic, partition, offset)])

    def remove(self, partition: int) -> None:
        """Read a partition no more; what was fetched of it is dropped."""
        self._consumer.incremental_unassign([TopicPartition(self.topic, partition)])

    def take(self) -> list[Message]:
        """Return what has come, errors and ends of partitions too; wait for it at most `TICK_SECONDS`."""
        return take(self._consumer, TICK_SECONDS)

    def position(self, partition: int) -> int:
        """Return the offset after the last record taken, markers stepped over; negative before the first."""
        return self._consumer.position([TopicPartition(self.topic, partition)])[0].offset

    def lag(self, partition: int) -> int:
        """Return how many records of a partition are there, as far as was told by now, and not taken yet."""
        place = TopicPartition(self.topic, partition)
        _, high = self._consumer.get_watermark_offsets(place, cached=True)
        position = self.position(partition)
        return max(0, high - position) if position >= 0 else 0

    def committed_ends(self, partition: int) -> LogEnds | None:
        """Return the first offset and the last stable one, as the leader knows them; None without answer."""
        self._acquaint()
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self.topic, partition), timeout=_ASK_SECONDS
            )
        except KafkaException as failure:
            _LOG.debug("%s-%s: ends not to be had: %s", self.topic, partition, failure)
            return None
        return LogEnds(low, high)

    def _acquaint(self) -> None:
        if not self._acquainted:
            look_for_leaders(self._consumer, [self.topic])
            self._acquainted = True

    def close(self) -> None:
        """Let go of the consumer within a bounded time."""
        close_reader(self._consumer)
