"""What has to be known of topics to send to them: partition counts and size limits, remembered a while."""

from __future__ import annotations

import threading
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AdminClient,
    ConfigResource,
)

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import NO_TOPIC, error_of, text_of
from dispatcher.ports import TopicFacts

KNOWN_SECONDS = 30.0
ABSENT_SECONDS = 3.0
ASK_SECONDS = 0.8
USUAL_LIMIT_BYTES = 1_048_588
"""Kafka's default of `max.message.bytes`, for topics whose settings this user may not read."""


class KafkaTopicDirectory:
    """`TopicDirectory` on a real cluster; any thread may ask.

    A topic is asked for again after 30 s, an absent one after 3 s. While no broker answers, what was
    known last stands.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection.named("directory")
        self._admin = AdminClient(config.admin(self._connection))
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, TopicFacts | None]] = {}

    def facts(self, topic: str) -> TopicFacts | None:
        """Return what is known of a topic, None when it is missing or may not be described.

        Takes at most about 1.6 s. Raises KafkaUnreachable when no broker answers and nothing is known yet:
        silence must never pass for an absent topic, whose fires would be recorded as skips.
        """
        now = time.monotonic()
        with self._lock:
            known = self._known.get(topic)
        if known is not None and now < known[0]:
            return known[1]
        try:
            facts = self._ask(topic)
        except KafkaUnreachable:
            if known is None:
                raise
            facts = known[1]
        with self._lock:
            self._known[topic] = (now + (KNOWN_SECONDS if facts else ABSENT_SECONDS), facts)
        return facts

    def forget(self) -> None:
        """Ask the broker again at the next question. What was known still stands while none answers."""
        with self._lock:
            self._known = {topic: (0.0, facts) for topic, (_, facts) in self._known.items()}

    def _ask(self, topic: str) -> TopicFacts | None:
        partitions = self._partitions(topic)
        return None if partitions is None else TopicFacts(partitions, self._limit(topic))

    def _partitions(self, topic: str) -> int | None:
        try:
            found = self._admin.list_topics(topic, timeout=ASK_SECONDS).topics[topic]
        except KafkaException as failure:
            error = error_of(failure)
            if error.code() in NO_TOPIC:
                return None
            raise KafkaUnreachable(
                f"topic {topic}: no broker at {self._connection.bootstrap} tells its partitions"
                f" within {ASK_SECONDS:g} s: {text_of(error)}"
            ) from failure
        if found.error is not None and found.error.code() not in NO_TOPIC and not found.partitions:
            raise KafkaUnreachable(f"topic {topic}: {text_of(found.error)}")
        return len(found.partitions) or None

    def _limit(self, topic: str) -> int:
        """Return the largest record the topic takes, the usual limit when it is not to be had."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        futures = self._admin.describe_configs([resource], request_timeout=ASK_SECONDS)
        try:
            return int(futures[resource].result()["max.message.bytes"].value)
        except KafkaException:
            return USUAL_LIMIT_BYTES  # a guess: the broker has the last word on every record
