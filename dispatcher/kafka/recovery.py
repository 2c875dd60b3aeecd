"""Looking at an installation as it lies on the brokers: the facts a diagnosis is made from.

A start reads the ends of topics, and the beginning of the ledger, where its identity lies: that costs next
to nothing. What is read is committed; an open transaction hides what lies behind it. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from dispatcher.core.codec import CURSOR_KEY, IDENTITY_KEY
from dispatcher.core.diagnosis import Facts
from dispatcher.core.job import Lane
from dispatcher.core.ledger import Identity
from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import END_OF_PARTITION, NO_TOPIC, error_of, text_of
from dispatcher.kafka.letting_go import close_reader
from dispatcher.kafka.reading import take
from dispatcher.kafka.recovery_gather import Gathered, fire_of, headers_of

Place = tuple[str, int]
Span = tuple[int, int]
_FETCH_WAIT_MS = 5
_LITTLE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is read: so many offsets before each end, or ledger and events `whole`; within `seconds`."""

    offsets: int
    whole: bool
    seconds: float


GLANCE = Depth(20, whole=False, seconds=3.0)
THOROUGH = Depth(2_000, whole=True, seconds=120.0)


class Look:
    """One look at an installation, for one call of `facts`."""

    def __init__(self, connection: Connection, topics: TopicNames, shards: int, depth: Depth) -> None:
        self._connection = Connection(
            connection.bootstrap, f"{connection.client_id}-look", connection.properties, _FETCH_WAIT_MS
        )
        self._topics = topics
        self._depth = depth
        self._lanes = tuple(topics.lane(lane) for lane in Lane)
        self._shards = [Gathered() for _ in range(shards)]
        self._end = time.monotonic() + depth.seconds
        self._admin = AdminClient(config.admin(self._connection))

    def facts(self, names: Sequence[str], expected: Identity | None) -> Facts:
        """Return what was found; `names` are the topics the installation needs.

        Raises KafkaUnreachable when the look does not come to its end in time.
        """
        everything = self._everything()
        partitions = {name: everything[name] for name in names if name in everything}
        others = () if partitions else _installed(everything)
        looked_at = (self._topics.ledger, self._topics.events, *self._lanes, self._topics.commands)
        counts = {name: self._count(name, partitions.get(name, 0)) for name in looked_at}
        spans = self._spans([(name, number) for name, count in counts.items() for number in range(count)])
        told = (self._topics.events, *self._lanes)
        used = any(end for (name, _), (_, end) in spans.items() if name in told)
        if partitions.get(self._topics.ledger) in (None, len(self._shards)):
            self._read(spans)
        by_shard = tuple(
            shard.facts(number, whole=self._depth.whole) for number, shard in enumerate(self._shards)
        )
        return Facts(self._topics, len(self._shards), partitions, others, used, expected, by_shard)

    def _count(self, topic: str, partitions: int) -> int:
        """Return how many partitions to look at; of what is not the job topics, one for each shard."""
        return partitions if topic in self._lanes else min(partitions, len(self._shards))

    def _everything(self) -> dict[str, int]:
        try:
            found = self._admin.list_topics(timeout=self._left()).topics
        except KafkaException as failure:
            raise self._unanswered(text_of(error_of(failure))) from failure
        return {name: len(topic.partitions) for name, topic in found.items() if topic.partitions}

    def _spans(self, places: Sequence[Place]) -> dict[Place, Span]:
        """Return first and last stable offset of each partition."""
        if not places:
            return {}
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no stub
        asked = [TopicPartition(*place) for place in places]
        lows, highs = self._offsets(asked, earliest), self._offsets(asked, latest)
        return {place: (lows[at], highs[at]) for place, at in zip(places, asked, strict=True)}

    def _offsets(self, asked: Sequence[TopicPartition], spec: OffsetSpec) -> dict[TopicPartition, int]:
        """Return an offset of each partition; a partition may be without a leader for a moment."""
        while True:
            futures = self._admin.list_offsets(
                dict.fromkeys(asked, spec),
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=self._left(),
            )
            try:
                return {at: int(future.result().offset) for at, future in futures.items()}
            except KafkaException as failure:
                if time.monotonic() >= self._end:
                    raise self._unanswered(text_of(error_of(failure))) from failure
                self._admin.poll(0.1)

    def _read(self, spans: Mapping[Place, Span]) -> None:
        for number, shard in enumerate(self._shards):
            shard.first = spans.get((self._topics.ledger, number), (0, 0))[0]
            shard.events = spans.get((self._topics.events, number), (0, 0))[1]
            shard.commands = spans.get((self._topics.commands, number), (0, None))[1]
        settings = {**config.reader(self._connection), "auto.offset.reset": "earliest"}
        if not self._depth.whole:
            settings["fetch.message.max.bytes"] = _LITTLE_BYTES
        consumer = Consumer(settings)
        try:
            tails = {
                place: (self._start(place, *span), span[1])
                for place, span in spans.items()
                if place[0] != self._topics.commands
            }
            self._take(consumer, tails)
            heads = {place: (spans[place][0], start) for place, (start, _) in tails.items()}
            few = self._depth.offsets
            self._take(consumer, self._lacking(IDENTITY_KEY, heads), most=few, older=True)
            self._take(consumer, self._lacking(CURSOR_KEY, heads), older=True)
        finally:
            close_reader(consumer)

    def _start(self, place: Place, first: int, end: int) -> int:
        whole = self._depth.whole and place[0] not in self._lanes
        return first if whole else max(first, end - self._depth.offsets)

    def _lacking(self, key: bytes, heads: Mapping[Place, Span]) -> dict[Place, Span]:
        """Return those parts of the ledger, before what was read, in which a key may still be found."""
        return {
            (topic, number): span
            for (topic, number), span in heads.items()
            if topic == self._topics.ledger and key not in self._shards[number].records
        }

    def _take(
        self, consumer: Consumer, spans: Mapping[Place, Span], *, most: int | None = None, older: bool = False
    ) -> None:
        """Gather what lies in spans of offsets, of each at most the first so many."""
        ends = {
            place: (start, end if most is None else min(end, start + most))
            for place, (start, end) in spans.items()
            if start < end
        }
        for message in self._messages(consumer, ends):
            self._note(message, older=older)
        for shard in self._shards:
            shard.settle()

    def _note(self, message: Message, *, older: bool) -> None:
        topic, number = message.topic(), message.partition() or 0
        if topic == self._topics.ledger:
            self._shards[number].note_ledger(message, older=older)
            return
        headers = headers_of(message)
        if topic == self._topics.events:
            self._shards[number].note_event(message, headers)
        elif (fired := fire_of(message, headers, len(self._shards))) is not None:
            self._shards[fired].note_fire(message, headers)

    def _messages(self, consumer: Consumer, spans: Mapping[Place, Span]) -> Iterator[Message]:
        """Yield the records of spans; each ends where it or its partition does, or may not be read."""
        consumer.assign([TopicPartition(*place, start) for place, (start, _) in spans.items()])
        left = dict(spans)
        while left:
            found = take(consumer, self._left())
            if not found:
                raise self._unanswered(
                    f"{len(left)} partitions of {min(left)[0]} and others could not be read"
                )
            for message in found:
                place, error = (message.topic() or "", message.partition() or 0), message.error()
                offset = message.offset() or 0
                if error is None and place in left and offset < left[place][1]:
                    yield message
                if error is None and place in left and offset >= left[place][1] - 1:
                    del left[place]
                elif error is not None and error.code() in _OVER:
                    left.pop(place, None)

    def _left(self) -> float:
        return max(0.1, self._end - time.monotonic())

    def _unanswered(self, why: str) -> KafkaUnreachable:
        return KafkaUnreachable(
            f"the topics under {self._topics.prefix!r} at {self._connection.bootstrap} cannot be read: {why}"
        )


_OVER = frozenset({END_OF_PARTITION}) | NO_TOPIC


def members_of(connection: Connection, group: str, seconds: float) -> tuple[str, ...]:
    """Return who is in a consumer group now, as `client id at host`. Raises KafkaUnreachable."""
    admin = AdminClient(config.admin(connection.named("look")))
    future = admin.describe_consumer_groups([group], request_timeout=seconds)[group]
    try:
        return tuple(f"{one.client_id} at {one.host}" for one in future.result().members)
    except KafkaException as failure:
        error = error_of(failure)
        if error.code() == KafkaError.GROUP_ID_NOT_FOUND:
            return ()
        raise KafkaUnreachable(f"group {group} cannot be described: {text_of(error)}") from failure


def _installed(everything: Mapping[str, int]) -> tuple[str, ...]:
    """Return the prefixes under which dispatchers are installed."""
    found = sorted(name.removesuffix(".ledger") for name in everything if name.endswith(".ledger"))
    return tuple(one for one in found if f"{one}.shards" in everything and f"{one}.events" in everything)
