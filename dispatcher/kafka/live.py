"""Looking at committed fires as they come, and writing commands: what the command line does with Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from dispatcher.core.instant import Instant
from dispatcher.core.message import Headers
from dispatcher.errors import KafkaUnreachable, RightsMissing, TopicsUnfit
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import (
    END_OF_PARTITION,
    NO_TOPIC,
    TOPIC_REFUSED,
    absent,
    error_of,
    text_of,
    unread,
)
from dispatcher.kafka.letting_go import close_reader, let_go
from dispatcher.kafka.reading import headers_in, offsets_at, take
from dispatcher.kafka.rights import Kind, Operation, lack

_PAUSE_SECONDS = 0.1

Answer = TypeVar("Answer")


class Seen(NamedTuple):
    """One committed record as a reader got it; `timestamp` in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: Instant
    key: bytes | None
    value: bytes | None
    headers: Headers


class FireReader:
    """Reads every partition of some topics, committed records only. One thread's own.

    `since` is an instant, None for the present end, 0 for all there is. Raises KafkaUnreachable when no
    broker answers within `seconds`, TopicsUnfit for a topic that is missing, RightsMissing for a hidden one.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Sequence[str],
        since: Instant | None = None,
        seconds: float = 10.0,
    ) -> None:
        self._consumer = Consumer(config.reader(connection.named("tail")))
        self._behind: set[tuple[str, int]] = set()
        try:
            partitions = _partitions(self._consumer, topics, seconds)
            starts = _starts(self._consumer, partitions, since, seconds)
        except KafkaException as failure:
            close_reader(self._consumer)
            why = text_of(error_of(failure))
            raise KafkaUnreachable(f"no broker at {connection.bootstrap} answered: {why}") from failure
        self._behind = {(each.topic, each.partition) for each in starts}
        self._consumer.assign(starts)

    @property
    def at_end(self) -> bool:
        """Whether every partition was read to the end it had when last looked at."""
        return not self._behind

    def take(self, seconds: float) -> list[Seen]:
        """Return records as they come, a batch at most; wait for the first no longer than `seconds`.

        An empty answer may come earlier, when a partition's end was reached. Raises RightsMissing when a
        topic may not be read.
        """
        found = []
        for message in take(self._consumer, seconds):
            where = (message.topic() or "", message.partition() or 0)
            error = message.error()
            if error is None:
                self._behind.add(where)
                found.append(_seen(message))
            elif error.code() == END_OF_PARTITION:
                self._behind.discard(where)
            elif where[0] and (why := unread(error, where[0], "")) is not None:
                raise RightsMissing((why,))
        return found

    def close(self) -> None:
        """Let go of the consumer."""
        close_reader(self._consumer)


class CommandWriter:
    """Writes commands, each acknowledged by all in-sync replicas."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self._bootstrap = connection.bootstrap
        self._topic = topic
        self._producer = Producer(config.plain_producer(connection.named("commander")))

    def write(
        self, value: bytes, partitions: Iterable[int], seconds: float, key: bytes | None = None
    ) -> None:
        """Write a command to each of the partitions and wait until all have it.

        Raises KafkaUnreachable when that takes longer than `seconds` or a broker refuses it: some
        partitions may have it then. The command's id makes a repetition harmless. Raises RightsMissing when
        this user may not write it.
        """
        errors: dict[int, str] = {}
        codes: set[int] = set()
        pending = set(partitions)

        def delivered(error: KafkaError | None, message: Message) -> None:
            number = message.partition()
            if number is not None:
                pending.discard(number)
            if error is not None:
                errors[-1 if number is None else number] = text_of(error)
                codes.add(error.code())

        for partition in sorted(pending):
            self._producer.produce(self._topic, value, key, partition, delivered)
        self._wait(seconds)
        if codes & TOPIC_REFUSED:
            raise RightsMissing((lack(Kind.TOPIC, self._topic, Operation.WRITE),))
        if pending or errors:
            refused = "; ".join(f"partition {number}: {text}" for number, text in sorted(errors.items()))
            raise KafkaUnreachable(
                f"the command was not taken by every partition of {self._topic} at {self._bootstrap} within"
                f" {seconds:g} s ({refused or f'no answer for {sorted(pending)}'}); send it again"
            )

    def close(self) -> None:
        """Let go of the producer."""
        let_go(self._producer, abort=False)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while len(self._producer) and (left := end - time.monotonic()) > 0:
            self._producer.poll(min(0.2, left))


def _partitions(consumer: Consumer, topics: Sequence[str], seconds: float) -> list[TopicPartition]:
    found: list[TopicPartition] = []
    missing: list[str] = []
    hidden: list[str] = []
    for topic in topics:
        known = consumer.list_topics(topic, timeout=seconds).topics[topic]
        if known.error is not None and known.error.code() in NO_TOPIC:
            some = hidden if known.error.code() in TOPIC_REFUSED else missing
            some.append(absent(topic, known.error, Operation.READ))
        found.extend(TopicPartition(topic, partition) for partition in known.partitions)
    if hidden:
        raise RightsMissing(tuple(hidden))
    if missing:
        raise TopicsUnfit(tuple(missing), "dispatcher topics ensure")
    return found


def _starts(
    consumer: Consumer, partitions: list[TopicPartition], since: Instant | None, seconds: float
) -> list[TopicPartition]:
    until = time.monotonic() + seconds
    if since is None:
        return [_at(each, _end(consumer, each, until)) for each in partitions]
    if since <= 0:
        return [_at(each, OFFSET_BEGINNING) for each in partitions]
    asked = [_at(each, since) for each in partitions]
    found = _told(consumer, until, lambda left: offsets_at(consumer, asked, left))
    return [_at(each, each.offset if each.offset >= 0 else OFFSET_END) for each in found]


def _end(consumer: Consumer, partition: TopicPartition, until: float) -> int:
    return int(
        _told(consumer, until, lambda left: consumer.get_watermark_offsets(partition, timeout=left))[1]
    )


def _told(consumer: Consumer, until: float, ask: Callable[[float], Answer]) -> Answer:
    """Ask brokers until they tell: a partition may be without a leader, or a new client not know it yet."""
    while True:
        try:
            return ask(max(0.1, until - time.monotonic()))
        except KafkaException:
            if time.monotonic() >= until:
                raise
            consumer.poll(_PAUSE_SECONDS)


def _at(partition: TopicPartition, offset: int) -> TopicPartition:
    return TopicPartition(partition.topic, partition.partition, offset)


def _seen(message: Message) -> Seen:
    return Seen(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_in(message),
    )
