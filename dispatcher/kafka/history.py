"""Reading whole topics as they are now: committed records, every partition, up to the ends of this moment."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AdminClient,
    ConfigResource,
    OffsetSpec,
)

from dispatcher.core.instant import Instant
from dispatcher.core.log_record import Record
from dispatcher.errors import KafkaUnreachable, RightsMissing
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import (
    END_OF_PARTITION,
    NO_TOPIC,
    OUT_OF_RANGE,
    absent,
    error_of,
    text_of,
    unread,
)
from dispatcher.kafka.letting_go import close_reader
from dispatcher.kafka.reading import headers_in, offsets_at, take
from dispatcher.kafka.rights import Operation

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""

_SLICE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds: offsets from `low` on and before `high`, uncommitted records included."""

    low: int
    high: int


class HistoryReader:
    """Reads topics of one cluster. One thread's own.

    Calls raise KafkaUnreachable, in prose, when nothing comes for `seconds`.
    """

    def __init__(self, connection: Connection, seconds: float = 10.0) -> None:
        self._connection = connection.named("history")
        self._seconds = seconds
        self._admin = AdminClient(config.admin(self._connection))

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how many partitions each of the topics has; those that are missing are left out.

        Raises RightsMissing for one that this user may not see.
        """
        found = {}
        for topic in topics:
            try:
                known = self._admin.list_topics(topic, timeout=self._seconds).topics[topic]
            except KafkaException as failure:
                raise self._unreachable(error_of(failure)) from failure
            if known.error is None:
                found[topic] = len(known.partitions)
            elif known.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise RightsMissing((absent(topic, known.error, Operation.READ),))
            elif known.error.code() not in NO_TOPIC:
                raise self._unreachable(known.error)
        return found

    def extents(self, topics: Mapping[str, int]) -> dict[Partition, Extent]:
        """Return what each partition of the topics holds now; `topics` are their partition counts."""
        chosen = [TopicPartition(topic, n) for topic, count in topics.items() for n in range(count)]
        end = time.monotonic() + self._seconds
        lows = self._offsets(chosen, OffsetSpec.earliest(), end)  # type: ignore[no-untyped-call]  # no stub
        highs = self._offsets(chosen, OffsetSpec.latest(), end)  # type: ignore[no-untyped-call]  # no stub
        return {place: Extent(lows[place], max(highs[place], lows[place])) for place in lows}

    def since(self, extents: Mapping[Partition, Extent], instant: Instant) -> dict[Partition, Extent]:
        """Return the extents from the first record of an instant or later on."""
        chosen = [TopicPartition(topic, number, instant) for topic, number in extents]
        consumer = Consumer(config.reader(self._connection))
        try:
            found = offsets_at(consumer, chosen, self._seconds) if chosen else []
        except KafkaException as failure:
            raise self._unreachable(error_of(failure)) from failure
        finally:
            close_reader(consumer)
        later = {}
        for each in found:
            extent = extents[each.topic, each.partition]
            low = extent.high if each.offset < 0 else max(extent.low, min(each.offset, extent.high))
            later[each.topic, each.partition] = Extent(low, extent.high)
        return later

    def kept_for(self, topic: str) -> int | None:
        """Return for how many milliseconds a topic surely keeps records, None where that is not certain."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        future: Future[Any] = self._admin.describe_configs([resource], request_timeout=self._seconds)[
            resource
        ]
        try:
            settings = {name: entry.value for name, entry in future.result().items()}
        except KafkaException:
            return None  # no right to ask is no certainty; whether a broker answers is learnt elsewhere
        if settings.get("retention.bytes") != "-1" or settings.get("retention.ms") is None:
            return None
        kept = int(settings["retention.ms"])
        return None if kept < 0 else kept

    def read(self, extents: Mapping[Partition, Extent]) -> Iterator[list[Record]]:
        """Yield the committed records of all the partitions in batches, each partition in its order."""
        left = {place: extent for place, extent in extents.items() if extent.low < extent.high}
        if not left:
            return
        consumer = Consumer({**config.reader(self._connection), "fetch.message.max.bytes": 1_048_576})
        try:
            consumer.assign([TopicPartition(*place, extent.low) for place, extent in left.items()])
            yield from self._until_ends(consumer, left)
        finally:
            close_reader(consumer)

    def _until_ends(self, consumer: Consumer, left: dict[Partition, Extent]) -> Iterator[list[Record]]:
        ends = {place: extent.high for place, extent in left.items()}
        reached = {place: extent.low for place, extent in left.items()}
        moved = time.monotonic()
        while left:
            messages = take(consumer, 0.5)
            batch = self._batch(messages, ends)
            if batch:
                yield batch
            progress = self._advance(consumer, left, reached, messages)
            now = time.monotonic()
            if progress or batch:
                moved = now
            elif now - moved > self._seconds:
                raise self._stalled(left, reached)

    def _batch(self, messages: list[Message], ends: Mapping[Partition, int]) -> list[Record]:
        """Return the records among the messages that lie before the ends."""
        batch = []
        for message in messages:
            error = message.error()
            if error is None:
                record = _record(message)
                if record.offset < ends[record.topic, record.partition]:
                    batch.append(record)
            elif error.code() in OUT_OF_RANGE:
                raise KafkaUnreachable(
                    f"{message.topic()}-{message.partition()}: offset {message.offset()} is no longer kept;"
                    " retention removed records while they were read: do it again"
                )
            elif message.topic() and (why := unread(error, message.topic(), "")) is not None:
                raise RightsMissing((why,))
            elif error.code() in NO_TOPIC:
                raise KafkaUnreachable(f"{message.topic()}: {text_of(error)}; was it deleted meanwhile?")
        return batch

    def _advance(
        self,
        consumer: Consumer,
        left: dict[Partition, Extent],
        reached: dict[Partition, int],
        messages: list[Message],
    ) -> bool:
        """Note how far each partition was read, and leave those that are done; return whether any moved."""
        seen = dict(reached)
        for message in messages:
            place = (message.topic() or "", message.partition() or 0)
            error = message.error()
            offset = message.offset() or 0
            if place in left and (error is None or error.code() == END_OF_PARTITION):
                reached[place] = max(reached[place], offset if error is not None else offset + 1)
        if not messages:  # the position steps over markers and aborted records, of which nothing comes
            for at in consumer.position([TopicPartition(*place) for place in left]):
                reached[at.topic, at.partition] = max(reached[at.topic, at.partition], at.offset)
        for place in [place for place, extent in left.items() if reached[place] >= extent.high]:
            del left[place]
        return seen != reached

    def _offsets(self, chosen: list[TopicPartition], spec: OffsetSpec, end: float) -> dict[Partition, int]:
        """Ask for offsets until all have answered: a new leader may not know them yet (KIP-207)."""
        found: dict[Partition, int] = {}
        while asked := [each for each in chosen if (each.topic, each.partition) not in found]:
            seconds = max(0.1, min(_SLICE_SECONDS, end - time.monotonic()))
            futures = self._admin.list_offsets(
                dict.fromkeys(asked, spec),
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=seconds,
            )
            for partition, future in futures.items():
                try:
                    found[partition.topic, partition.partition] = int(future.result().offset)
                except KafkaException as failure:
                    if time.monotonic() >= end:
                        raise self._unreachable(error_of(failure)) from failure
                    self._admin.poll(0.1)
        return found

    def _unreachable(self, error: KafkaError) -> KafkaUnreachable:
        where = self._connection.bootstrap
        return KafkaUnreachable(
            f"no broker at {where} answered within {self._seconds:g} s ({text_of(error)})"
        )

    def _stalled(
        self, left: Mapping[Partition, Extent], reached: Mapping[Partition, int]
    ) -> KafkaUnreachable:
        topic, number = place = min(left)
        return KafkaUnreachable(
            f"{topic}-{number}: no progress from offset {reached[place]} towards {left[place].high} for"
            f" {self._seconds:g} s ({len(left)} partitions are not read to their ends): its leader does not"
            " answer, or a transaction is open there; if one stays open, see `kafka-transactions.sh"
            " find-hanging`"
        )


def _record(message: Message) -> Record:
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        headers_in(message),
        message.value(),
        message.key(),
    )
