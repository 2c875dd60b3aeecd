"""Asking for the ends of a partition as they are on the brokers, uncommitted records included."""

from __future__ import annotations

import time

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import error_of, text_of
from dispatcher.kafka.making import made
from dispatcher.ports import LogEnds

_CONNECT_SECONDS = 1.0
_SLICE_SECONDS = 3.0


def partition_ends(connection: Connection, topic: str, partition: int, seconds: float) -> LogEnds:
    """Return the first offset kept and the high watermark. Raises KafkaUnreachable after `seconds`.

    Every error is tried again until then: a new leader may not know its high watermark yet (KIP-207).
    """
    admin = made(AdminClient, config.admin(connection))
    end = time.monotonic() + seconds
    _connect(admin, topic)
    low = _ask(admin, TopicPartition(topic, partition), OffsetSpec.earliest(), end)  # type: ignore[no-untyped-call]  # no stub
    high = _ask(admin, TopicPartition(topic, partition), OffsetSpec.latest(), end)  # type: ignore[no-untyped-call]  # no stub
    return LogEnds(low, high)


def _connect(admin: AdminClient, topic: str) -> None:
    """Bring the connection up: asked too early, a new client may wait for seconds until it asks again."""
    try:
        for _ in range(2):
            admin.list_topics(topic, timeout=_CONNECT_SECONDS)
    except KafkaException:
        return  # whether a broker answers is for the question itself to find out


def _ask(admin: AdminClient, partition: TopicPartition, spec: OffsetSpec, end: float) -> int:
    while True:
        try:
            futures = admin.list_offsets(
                {partition: spec},
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=max(0.1, min(_SLICE_SECONDS, end - time.monotonic())),
            )
            return int(futures[partition].result().offset)
        except KafkaException as failure:
            error: KafkaError = error_of(failure)
            if time.monotonic() >= end:
                raise KafkaUnreachable(
                    f"{partition.topic}-{partition.partition}: its ends are not to be had: {text_of(error)}"
                ) from failure
            admin.poll(0.1)
