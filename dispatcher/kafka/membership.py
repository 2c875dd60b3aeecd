"""Who owns which shard: a group consumer on an empty topic, for liveness alone; safety is by fencing."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, TopicPartition

from dispatcher.core.message import TopicNames
from dispatcher.errors import InvalidSettings
from dispatcher.kafka import config
from dispatcher.kafka.config import SESSION_MS, Connection
from dispatcher.kafka.faults import text_of, unread
from dispatcher.kafka.hearing import Hearing
from dispatcher.kafka.letting_go import close_reader
from dispatcher.service import Loop, Looped

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


class Membership(Looped):
    """A service that takes part in sharing out the shards of an installation.

    When no broker answers for a whole session, the library says by itself that the shards are lost, and asks
    to join again once it can. The client id is a new one each time: members of equal ids are hard to
    tell apart, for people and for some versions of the library.
    """

    def __init__(
        self,
        connection: Connection,
        topics: TopicNames,
        hooks: OwnershipHooks,
        failed: Callable[[str, BaseException], None],
        session_ms: int = SESSION_MS,
    ) -> None:
        self._connection = connection.named(f"member-{uuid.uuid4().hex[:8]}")
        self._topics = topics
        self._hooks = hooks
        self._session_ms = session_ms
        self._hearing = Hearing()
        self._consumer: Consumer | None = None
        self._loop = Loop("membership", self._step, close=self._leave, failed=failed)

    def silence(self) -> float:
        """Return for how many seconds no broker has answered this member; any thread may ask."""
        return self._hearing.silence()

    def _step(self) -> float:
        if self._consumer is None:
            self._consumer = self._joined()
        message = self._consumer.poll(_TICK_SECONDS)
        if message is not None and (error := message.error()) is not None:
            self._judge(error)
        return 0.0

    def _judge(self, error: KafkaError) -> None:
        if error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
            raise InvalidSettings(
                f"session_seconds is {self._session_ms / 1000:g}, and the brokers refuse that: take at least"
                " their group.min.session.timeout.ms (6 s unless set otherwise)"
                " and at most their group.max.session.timeout.ms"
            )
        group = group_of(self._topics)
        why = unread(error, self._topics.shards, group)
        _LOG.log(
            logging.ERROR if why else logging.WARNING, "membership of %s: %s", group, why or text_of(error)
        )

    def _joined(self) -> Consumer:
        settings = config.member(self._connection, group_of(self._topics), self._session_ms)
        consumer = Consumer({**settings, "stats_cb": self._hearing.hear})
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
