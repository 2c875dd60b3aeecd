"""Reading one partition from an offset to an end, committed records only, and never less than that."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, Message, TopicPartition

from dispatcher.errors import KafkaUnreachable, LedgerUnfit
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import END_OF_PARTITION, NO_TOPIC, OUT_OF_RANGE, text_of
from dispatcher.kafka.letting_go import close_reader

BATCH = 500
_UNFIT = OUT_OF_RANGE | NO_TOPIC


def read_partition(
    connection: Connection, start: TopicPartition, until: int, stall_seconds: float
) -> Iterator[list[Message]]:
    """Yield batches of committed records from the offset in `start` until the position has reached `until`.

    The position steps over markers and aborted records, so the end is reached even where no record lies
    last. Raises KafkaUnreachable after `stall_seconds` without progress, LedgerUnfit for an offset or a
    topic that is not there.
    """
    consumer = Consumer(config.reader(connection))
    try:
        consumer.assign([start])
        position, moved = start.offset, time.monotonic()
        while position < until:
            messages = consumer.consume(BATCH, 0.5)
            records = [message for message in messages if message.error() is None]
            reached = max(position, consumer.position([start])[0].offset, _end_seen(messages))
            if records:
                yield records
            now = time.monotonic()
            if reached > position or records:
                position, moved = reached, now
            elif now - moved > stall_seconds:
                raise KafkaUnreachable(
                    f"{start.topic}-{start.partition}: no progress from offset {position} towards"
                    f" {until} for {stall_seconds:g} s; a broker is away, or a foreign transaction hangs"
                )
    finally:
        close_reader(consumer)


def _end_seen(messages: list[Message]) -> int:
    """Return the furthest end announced, -1 when none was; raise for errors that no waiting mends."""
    end = -1
    for message in messages:
        error = message.error()
        if error is None:
            continue
        if error.code() == END_OF_PARTITION:
            end = max(end, message.offset() or 0)
        elif error.code() in _UNFIT:
            raise LedgerUnfit(
                f"{message.topic()}-{message.partition()}: {text_of(error)} at offset {message.offset()};"
                " the topic was re-created, truncated or may not be read: see `dispatcher topics check`"
            )
    return end
