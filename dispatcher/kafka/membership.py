"""Who owns which shard: a group consumer on an empty topic, for liveness alone; safety is by fencing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from dispatcher.core.message import TopicNames
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.letting_go import close_reader
from dispatcher.service import Deadline, Loop

_LOG = logging.getLogger("dispatcher.kafka")
_TICK_SECONDS = 0.2
_CLOSE_SECONDS = 5.0

Shards = Callable[[list[int]], None]


@dataclass(frozen=True, slots=True)
class OwnershipHooks:
    """What a membership tells, from its own threads; none of them may block or raise.

    `revoked`: another member gets them next. `lost`: another member may have them already.
    """

    assigned: Shards
    revoked: Shards
    lost: Shards


class Membership:
    """A service that takes part in sharing out the shards of an installation."""

    def __init__(
        self,
        connection: Connection,
        topics: TopicNames,
        hooks: OwnershipHooks,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._connection = connection.named("member")
        self._topics = topics
        self._hooks = hooks
        self._consumer: Consumer | None = None
        self._loop = Loop("membership", self._step, close=self._leave, failed=failed)

    def start(self) -> None:
        """Join the group."""
        self._loop.start()

    def stop(self) -> None:
        """Ask to leave the group; what is owned is revoked on the way."""
        self._loop.stop()

    def join(self, deadline: Deadline) -> bool:
        """Wait until the group was left."""
        return self._loop.join(deadline)

    def _step(self) -> float:
        if self._consumer is None:
            self._consumer = self._joined()
        message = self._consumer.poll(_TICK_SECONDS)
        if message is not None and (error := message.error()) is not None:
            _LOG.debug("membership: %s", error)
        return 0.0

    def _joined(self) -> Consumer:
        consumer = Consumer(config.member(self._connection, group_of(self._topics)))
        consumer.subscribe(
            [self._topics.shards], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        return consumer

    def _leave(self) -> None:
        """Leave within a bounded time: a close can hang while brokers are away."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            close_reader(consumer, _CLOSE_SECONDS)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        self._hooks.assigned(_numbers(partitions))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        self._hooks.revoked(_numbers(partitions))

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        self._hooks.lost(_numbers(partitions))


def group_of(topics: TopicNames) -> str:
    """Return the consumer group of an installation's replicas."""
    return f"{topics.prefix}.dispatchers"


def _numbers(partitions: list[TopicPartition]) -> list[int]:
    return sorted(each.partition for each in partitions)
