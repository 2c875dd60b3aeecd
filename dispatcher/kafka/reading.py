"""Reading one partition from an offset to an end, committed records only, and never less than that."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from dispatcher.core.message import Headers
from dispatcher.errors import KafkaUnreachable, LedgerUnfit
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import END_OF_PARTITION, NO_TOPIC, OUT_OF_RANGE, error_of, text_of, unread
from dispatcher.kafka.letting_go import close_reader
from dispatcher.kafka.making import made

BATCH = 500
_UNFIT = OUT_OF_RANGE | NO_TOPIC
_ASK_SECONDS = 1.0
_UNREADABLE = ("unreadable-headers", b"\xff")
"""Stands for headers with a name that is not UTF-8, and is as unfit for anything as they are."""


def read_partition(
    connection: Connection, start: TopicPartition, until: int, stall_seconds: float
) -> Iterator[list[Message]]:
    """Yield batches of committed records from the offset in `start` until the position has reached `until`.

    The position steps over markers and aborted records, so the end is reached even where no record lies
    last. Raises KafkaUnreachable after `stall_seconds` without progress, LedgerUnfit for an offset or a
    topic that is not there.
    """
    if start.offset >= until:
        return  # what was read along has nothing left to read, and a client costs time, threads and memory
    consumer = made(Consumer, config.reader(connection))
    try:
        look_for_leaders(consumer, [start.topic])
        consumer.assign([start])
        position, moved = start.offset, time.monotonic()
        while position < until:
            messages = take(consumer, 0.5)
            records = [message for message in messages if message.error() is None]
            told = -1 if len(records) == len(messages) else _end_seen(messages)
            reached = max(position, consumer.position([start])[0].offset, told)
            if records:
                yield records
            now = time.monotonic()
            if reached > position or records:
                position, moved = reached, now
            elif now - moved > stall_seconds:
                raise KafkaUnreachable(
                    f"{start.topic}-{start.partition}: no progress from offset {position} towards {until} for"
                    f" {stall_seconds:g} s: {_why(consumer, start, until)}"
                )
    finally:
        close_reader(consumer)


def look_for_leaders(client: Consumer | AdminClient, topics: Iterable[str]) -> None:
    """Have a client learn who leads topics, before it reads or asks for anything of them.

    Else a new one finds no broker every third time or so, and the library looks again after a second. Whether
    brokers answer is for what follows to find out: where they do not of one topic, no other is asked for.
    """
    with contextlib.suppress(KafkaException):
        for topic in topics:
            client.list_topics(topic, timeout=_ASK_SECONDS)


def take(consumer: Consumer, seconds: float) -> list[Message]:
    """Return what has come, ends and errors too, as soon as there is anything; wait at most `seconds`.

    `Consumer.consume` alone would wait for a full batch, so the first message is polled for.
    """
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(BATCH, 0.0)]


def offsets_at(consumer: Consumer, asked: list[TopicPartition], seconds: float) -> list[TopicPartition]:
    """Return the first offsets at instants (negative: none is so late). Raises KafkaException.

    An error told of a single partition is raised, too: its offset would look as if nothing were there.
    """
    found = list(consumer.offsets_for_times(asked, timeout=seconds))
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return found


def headers_in(message: Message) -> Headers:
    """Return the headers of a record; the library raises for names that are not UTF-8."""
    try:
        return message.headers() or []  # type: ignore[return-value]  # a list of bytes on the way in
    except (UnicodeDecodeError, SystemError):
        return [_UNREADABLE]


def _end_seen(messages: list[Message]) -> int:
    """Return the furthest end announced, -1 when none was; raise for errors that no waiting mends."""
    end = -1
    for message in messages:
        error = message.error()
        if error is None:
            continue
        if error.code() == END_OF_PARTITION:
            end = max(end, message.offset() or 0)
        elif message.topic() and (why := unread(error, message.topic(), "")) is not None:
            raise LedgerUnfit(why)
        elif error.code() in _UNFIT:
            raise LedgerUnfit(
                f"{message.topic()}-{message.partition()}: {text_of(error)} at offset {message.offset()};"
                " the topic was re-created, truncated or may not be read: see `dispatcher topics check`"
            )
    return end


def _why(consumer: Consumer, start: TopicPartition, until: int) -> str:
    """Say what keeps a read from its end: nobody answers, or a transaction is open there."""
    try:
        stable = consumer.get_watermark_offsets(start, timeout=1.0)[1]
    except KafkaException as failure:
        return f"its leader does not answer ({text_of(error_of(failure))})"
    if stable >= until:
        return "its leader answers, but sends nothing; it is tried again"
    return (
        f"a transaction is open at offset {stable}. If it stays so, a broker lost the transaction's marker"
        " (Kafka 4.3 can while it starts, or its controller gives it up, KAFKA-20734): find it with"
        " `kafka-transactions.sh find-hanging`"
    )
