"""Looking at an installation as it lies on the brokers: the facts a diagnosis is made from.

A start reads the ends of topics, and the beginning of the ledger, where its identity lies: that costs next
to nothing. Nothing is written. A dispatcher may be at work meanwhile, so what the ledger is held against is
read before it: whoever sent that has written to the ledger by then, though perhaps not committed there yet.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from dispatcher.core.codec import CURSOR_KEY, IDENTITY_KEY
from dispatcher.core.diagnosis import Facts
from dispatcher.core.job import Lane
from dispatcher.core.ledger import Identity
from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import END_OF_PARTITION, NO_TOPIC, TOPIC_REFUSED, error_of, text_of
from dispatcher.kafka.letting_go import close_reader
from dispatcher.kafka.reading import look_for_leaders, take
from dispatcher.kafka.recovery_gather import Gathered, fire_of, headers_of

Place = tuple[str, int]
Span = tuple[int, int]
_FETCH_WAIT_MS = 5
_LITTLE_BYTES = 65_536
_PAUSE_SECONDS = 0.1
_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no stub


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
        self._connection = replace(connection.named("look"), fetch_wait_ms=_FETCH_WAIT_MS)
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
        partitions = self._partitions(names)
        others = () if partitions else self._others()
        spans = self._spans(partitions, (self._topics.events, *self._lanes))
        used = any(end for _, end in spans.values())
        if partitions.get(self._topics.ledger) in (None, len(self._shards)):
            self._read(partitions, spans, expected)
        by_shard = tuple(
            shard.facts(number, whole=self._depth.whole) for number, shard in enumerate(self._shards)
        )
        return Facts(self._topics, len(self._shards), partitions, others, used, expected, by_shard)

    def _count(self, topic: str, partitions: int) -> int:
        """Return how many partitions to look at; of what is not the job topics, one for each shard."""
        return partitions if topic in self._lanes else min(partitions, len(self._shards))

    def _partitions(self, names: Sequence[str]) -> dict[str, int]:
        """Return how many partitions each of the topics has that exist."""
        futures = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=self._left())
        found: dict[str, int] = {}
        for name, future in futures.items():
            try:
                found[name] = len(future.result().partitions)
            except KafkaException as failure:
                if error_of(failure).code() not in NO_TOPIC:
                    raise self._unanswered(text_of(error_of(failure))) from failure
        return found

    def _others(self) -> tuple[str, ...]:
        """Return the prefixes under which dispatchers are installed on the cluster."""
        try:
            everything = self._admin.list_topics(timeout=self._left()).topics
        except KafkaException as failure:
            raise self._unanswered(text_of(error_of(failure))) from failure
        found = sorted(name.removesuffix(".ledger") for name in everything if name.endswith(".ledger"))
        return tuple(one for one in found if f"{one}.shards" in everything and f"{one}.events" in everything)

    def _spans(self, partitions: Mapping[str, int], topics: Sequence[str]) -> dict[Place, Span]:
        """Return first and last stable offset of each partition of some topics."""
        counts = {topic: self._count(topic, partitions.get(topic, 0)) for topic in topics}
        asked = [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]
        lows, highs = self._offsets(asked, _EARLIEST), self._offsets(asked, _LATEST)
        return {(at.topic, at.partition): (lows[at], highs[at]) for at in asked}

    def _offsets(
        self,
        asked: Sequence[TopicPartition],
        spec: OffsetSpec,
        level: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[TopicPartition, int]:
        """Return an offset of each partition; a partition may be without a leader for a moment."""
        while asked:
            futures = self._admin.list_offsets(
                dict.fromkeys(asked, spec), isolation_level=level, request_timeout=self._left()
            )
            try:
                return {at: int(future.result().offset) for at, future in futures.items()}
            except KafkaException as failure:
                if time.monotonic() >= self._end:
                    raise self._unanswered(text_of(error_of(failure))) from failure
                self._admin.poll(_PAUSE_SECONDS)
        return {}

    def _read(
        self, partitions: Mapping[str, int], spans: Mapping[Place, Span], expected: Identity | None
    ) -> None:
        with self._consumer() as witness, self._consumer() as consumer:
            self._take(witness, self._tails(spans))
            self._read_ledger(consumer, self._ledger(partitions), expected)
        commands = self._spans(partitions, (self._topics.commands,))
        for number, shard in enumerate(self._shards):
            shard.events = spans.get((self._topics.events, number), (0, 0))[1]
            shard.commands = commands.get((self._topics.commands, number), (0, None))[1]

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        """Yield a consumer. Give it no other topics than the first: it takes a second to find them."""
        settings = {**config.reader(self._connection), "auto.offset.reset": "earliest"}
        if not self._depth.whole:
            settings["fetch.message.max.bytes"] = _LITTLE_BYTES
        consumer = Consumer(settings)
        try:
            yield consumer
        finally:
            close_reader(consumer)

    def _ledger(self, partitions: Mapping[str, int]) -> dict[Place, Span]:
        """Return the spans of the ledger; while a transaction is open there, wait if there is time for it."""
        while True:
            spans = self._spans(partitions, (self._topics.ledger,))
            asked = [TopicPartition(*place) for place in spans]
            highs = self._offsets(asked, _LATEST, IsolationLevel.READ_UNCOMMITTED)
            for at, high in highs.items():
                shard = self._shards[at.partition]
                shard.first, stable = spans[at.topic, at.partition]
                shard.open = high > stable
            if not self._depth.whole or not any(shard.open for shard in self._shards):
                return spans
            if time.monotonic() >= self._end:
                raise self._unanswered("a transaction stays open in the ledger")
            self._admin.poll(_PAUSE_SECONDS)

    def _read_ledger(
        self, consumer: Consumer, spans: Mapping[Place, Span], expected: Identity | None
    ) -> None:
        """Read the ledger's ends; further back what they lack, or what seems wrong and may be outdated.

        Of the beginning only the identity counts: any other record there may have a later one between.
        """
        tails = self._tails(spans)
        self._take(consumer, tails)
        heads = {place: (spans[place][0], start) for place, (start, _) in tails.items()}
        blind = self._lacking(CURSOR_KEY, heads)
        nameless = self._lacking(IDENTITY_KEY, heads)
        first = {place: (low, min(end, low + self._depth.offsets)) for place, (low, end) in nameless.items()}
        self._take(consumer, first, only=IDENTITY_KEY)
        doubtful = {
            place: span
            for place, span in nameless.items()
            if expected is not None and self._shards[place[1]].outdated(expected)
        }
        self._take(consumer, {**doubtful, **blind}, older=True)

    def _tails(self, spans: Mapping[Place, Span]) -> dict[Place, Span]:
        return {place: (self._start(place, *span), span[1]) for place, span in spans.items()}

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
        self,
        consumer: Consumer,
        spans: Mapping[Place, Span],
        *,
        only: bytes | None = None,
        older: bool = False,
    ) -> None:
        """Gather what lies in spans of offsets: before what is known of the ledger, or of one key only."""
        ends = {place: (start, end) for place, (start, end) in spans.items() if start < end}
        for message in self._messages(consumer, ends):
            if only is None or message.key() == only:
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
        look_for_leaders(consumer, sorted({topic for topic, _ in spans}))
        consumer.assign([TopicPartition(*place, start) for place, (start, _) in spans.items()])
        left = dict(spans)
        while left:
            found = take(consumer, self._left())
            if not found or (time.monotonic() > self._end and all(message.error() for message in found)):
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


_OVER = frozenset({END_OF_PARTITION}) | TOPIC_REFUSED
"""A topic was there a moment ago: "unknown" says that no broker leads it now, not that nothing is in it."""


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
