"""Asking for the ends of a partition as they are on the brokers, uncommitted records included."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    ListOffsetsResultInfo,
    OffsetSpec,
)

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import error_of, text_of
from dispatcher.kafka.making import made
from dispatcher.kafka.reading import look_for_leaders
from dispatcher.ports import LogEnds

_SLICE_SECONDS = 3.0
_SPECS = (OffsetSpec.earliest, OffsetSpec.latest)


class PartitionEnds:
    """Asks brokers for ends. Its client is made with the first question and stays: any thread may ask."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection.named("ends")
        self._lock = threading.Lock()
        self._admin: AdminClient | None = None

    def of(self, topic: str, partition: int, seconds: float) -> LogEnds:
        """Return the first offset kept and the high watermark. Raises KafkaUnreachable after `seconds`.

        Every error is tried again until then: a new leader may not know its high watermark yet (KIP-207).
        """
        end = time.monotonic() + seconds
        admin = self._client(topic)
        while True:
            look_for_leaders(admin, [topic])  # a question to a leader that is gone would wait for it
            slice_seconds = max(0.1, min(_SLICE_SECONDS, end - time.monotonic()))
            try:
                low, high = _asked(admin, TopicPartition(topic, partition), slice_seconds)
                return LogEnds(low.result().offset, high.result().offset)
            except KafkaException as failure:
                if time.monotonic() >= end:
                    raise KafkaUnreachable(
                        f"{topic}-{partition}: its ends are not to be had: {text_of(error_of(failure))}"
                    ) from failure
                admin.poll(0.1)

    def _client(self, topic: str) -> AdminClient:
        with self._lock:
            if self._admin is None:
                self._admin = made(AdminClient, config.admin(self._connection))
                look_for_leaders(self._admin, [topic])
            return self._admin


def _asked(
    admin: AdminClient, partition: TopicPartition, seconds: float
) -> tuple[Future[ListOffsetsResultInfo], Future[ListOffsetsResultInfo]]:
    """Ask for both ends, together: the answers to come."""
    first, last = (
        admin.list_offsets(
            {partition: spec()},  # type: ignore[no-untyped-call]  # no stub
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=seconds,
        )[partition]
        for spec in _SPECS
    )
    return first, last
