"""The client library's built-in mock of a cluster: `dispatcher demo` runs on it without an installation.

It has no isolation, no fencing, no durability and forgets everything with the process: never a proof of
anything, and never used by `run`. Some requests it does not know; what differs lies in this module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException, Producer

from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.config import CLIENT_LOG, Connection
from dispatcher.kafka.directory import USUAL_LIMIT_BYTES
from dispatcher.kafka.membership import OwnershipHooks
from dispatcher.kafka.topics import Identity
from dispatcher.ports import TopicFacts
from dispatcher.service import Deadline, Motion

PARTITIONS = 4
"""Every topic of the mock has four partitions, so a demo has four shards and four partitions per lane."""
_SECONDS = 5.0


class EmbeddedBroker:
    """A mock cluster of one broker that lives as long as the context it manages."""

    def __init__(self) -> None:
        self._owner: Producer | None = None
        self.bootstrap = ""

    def __enter__(self) -> Self:
        self._owner = Producer({"test.mock.num.brokers": 1, "logger": CLIENT_LOG})
        broker = next(iter(self._owner.list_topics(timeout=_SECONDS).brokers.values()))
        self.bootstrap = f"{broker.host}:{broker.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner = None
        self.bootstrap = ""

    def connection(self, client_id: str = "demo") -> Connection:
        """Return how to reach the broker; its fetches are short because data does not end their wait."""
        return Connection(self.bootstrap, client_id, fetch_wait_ms=10)

    def prepare(self, topics: TopicNames) -> None:
        """Make the topics of an installation."""
        lanes = [topics.lane(lane) for lane in Lane]
        self._touch([topics.shards, topics.ledger, topics.commands, topics.events, topics.dead, *lanes])

    def identity(self) -> Identity:
        """Return an identity that says what it is."""
        return Identity("embedded", {})

    def facts(self, topic: str) -> TopicFacts | None:
        """Return the facts of a topic; asking makes it."""
        return TopicFacts(self._touch([topic]), USUAL_LIMIT_BYTES)

    def _touch(self, names: Iterable[str]) -> int:
        """Ask for topics, which makes them; return the partitions of the last."""
        if self._owner is None:
            raise KafkaUnreachable("the embedded broker has ended")
        partitions = 0
        try:
            for name in names:
                partitions = len(self._owner.list_topics(name, timeout=_SECONDS).topics[name].partitions)
        except KafkaException as failure:
            raise KafkaUnreachable(f"the embedded broker did not answer: {failure}") from failure
        return partitions or PARTITIONS


class EmbeddedDirectory:
    """`TopicDirectory` on the mock: every topic is there, asking for it makes it."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._known: dict[str, TopicFacts | None] = {}

    def facts(self, topic: str) -> TopicFacts | None:
        """Return what is known of a topic."""
        if topic not in self._known:
            self._known[topic] = self._broker.facts(topic)
        return self._known[topic]

    def forget(self) -> None:
        """Ask again at the next question."""
        self._known = {}


class SoleMembership:
    """A membership of one: owns every shard at once, where the mock's groups would take seconds."""

    def __init__(self, shards: int, hooks: OwnershipHooks) -> None:
        self._shards = list(range(shards))
        self._hooks = hooks
        self._ended = threading.Event()
        self.motion = Motion()

    def start(self) -> None:
        """Own every shard."""
        self._hooks.assigned(self._shards)

    def stop(self) -> None:
        """Own none any more."""
        if not self._ended.is_set():
            self._ended.set()
            self._hooks.revoked(self._shards)

    def silence(self) -> float:
        """Return that the broker, being in this process, is never silent."""
        return 0.0

    def join(self, deadline: Deadline) -> bool:
        """Return at once: nothing runs in the background."""
        del deadline
        return True
