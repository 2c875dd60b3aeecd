"""The wire form of fires: CloudEvents 1.0 in Kafka binary mode.

The value is the job's definition, the same bytes for every fire. What changes per fire lies in the headers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from zlib import crc32

from dispatcher.core.instant import Instant, to_text
from dispatcher.core.job import Job, Lane
from dispatcher.core.ledger import Timer
from dispatcher.core.partitioner import murmur2

Headers = list[tuple[str, bytes]]
Outgoing = tuple[str, bytes | None, bytes | None, int, Headers | None]
"""One record to write: topic, value, key, partition, headers. A plain tuple: there are very many."""

FIRE_TYPE = b"dispatcher.fire"


def fire_id(job_name: str, planned: Instant) -> str:
    """Return a fire's id, e.g. `nightly@2026-11-20T02:00:00Z`: the same after any restart."""
    return f"{job_name}@{to_text(planned)}"


def asked_id(job_name: str, ident: str) -> str:
    """Return the id of a fire that a command asked for, e.g. `nightly!by-hand-1`."""
    return f"{job_name}!{ident}"


def job_of(fire: str) -> str:
    """Return the name of a fire's job, which can hold neither `@` nor `!`."""
    return fire.partition("@")[0].partition("!")[0]


def traceparent(name: bytes, key_hash: int, planned: bytes) -> bytes:
    """Return the trace context of a fire, from what it is alone: the same after any restart.

    W3C Trace Context, version 00. The trace id is the planned instant (16 hexadecimal digits) and two hashes
    of the job, which stand last because samplers look there; the parent id is the instant.
    """
    return b"00-%b%08x%08x-%b-01" % (planned, crc32(name), key_hash, planned)


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The topics of one installation, all under one prefix."""

    prefix: str

    @property
    def shards(self) -> str:
        """Group membership only; stays empty."""
        return f"{self.prefix}.shards"

    @property
    def ledger(self) -> str:
        """The durable state, one partition per shard."""
        return f"{self.prefix}.ledger"

    @property
    def commands(self) -> str:
        """What somebody asks."""
        return f"{self.prefix}.commands"

    @property
    def events(self) -> str:
        """What happened."""
        return f"{self.prefix}.events"

    @property
    def dead(self) -> str:
        """Where workers put what they gave up."""
        return f"{self.prefix}.dead"

    def lane(self, lane: Lane) -> str:
        """Return the job topic of a lane."""
        return f"{self.prefix}.jobs.{lane}"

    def reserves(self, topic: str) -> bool:
        """Return whether a topic is the dispatcher's own and so no job's to name."""
        return topic == self.prefix or topic.startswith(f"{self.prefix}.")


class MessageMaker:
    """Encodes the fires of one shard; what fires have in common is encoded once.

    `partitions` gives a topic's partition count, or None when the topic cannot be written.
    """

    def __init__(self, topics: TopicNames, shard: int, partitions: Callable[[str], int | None]) -> None:
        self._topics = topics
        self.partitions = partitions
        self._lanes = {lane: topics.lane(lane) for lane in Lane}
        self._head = [
            ("ce_specversion", b"1.0"),
            ("ce_type", FIRE_TYPE),
            ("ce_source", f"/{topics.prefix}/shards/{shard}".encode()),
        ]
        self._tail = [
            ("content-type", b"application/json"),
            ("attempt", b"1"),
            ("shard", str(shard).encode()),
        ]
        self._planned: Instant = -1
        self._time = ("ce_time", b"")
        self._at_time = b""
        self._hex = b""
        self._revision: str | None = None
        self._end: Headers = []

    def topic_of(self, job: Job) -> str:
        """Return the topic a job's messages go to."""
        return job.route.topic if job.route.topic is not None else self._lanes[job.route.lane]

    def fire(self, job: Job, planned: Instant, revision: str) -> Outgoing:
        """Return the message of a job's fire. Raises KeyError when its topic cannot be written."""
        topic = self.topic_of(job)
        own = job.route.topic is not None
        partitions = None if own and self._topics.reserves(topic) else self.partitions(topic)
        if partitions is None:
            raise KeyError(topic)
        if self._planned != planned:
            self._note_time(planned)
        if self._revision != revision:
            self._revision, self._end = revision, [*self._tail, ("revision", revision.encode())]
        name = job.name.encode()
        headers = [
            *self._head,
            ("ce_id", name + self._at_time),
            ("ce_subject", name),
            self._time,
            *self._end,
            ("traceparent", traceparent(name, job.key_hash, self._hex)),
        ]
        if job.policy.expires_ms is not None:
            headers.append(("not_after", to_text(planned + job.policy.expires_ms).encode()))
        if job.route.headers:
            headers.extend(job.route.headers)
        key = name if job.route.key is None else job.route.key.encode()
        return (topic, job.definition, key, job.key_hash % partitions, headers)

    def asked(self, job: Job, fire: str, now: Instant, revision: str) -> Outgoing:
        """Return the message of a fire that was asked for. Raises KeyError when its topic cannot be written.

        It differs from a planned one in its id, and in the trace that follows from it.
        """
        topic, value, key, partition, headers = self.fire(job, now, revision)
        trace = traceparent(fire.encode(), job.key_hash, b"%016x" % now)
        own = {"ce_id": fire.encode(), "traceparent": trace}
        return topic, value, key, partition, [(name, own.get(name, text)) for name, text in headers or ()]

    def again(self, topic: str, key: bytes, attempt: int, headers: Headers) -> tuple[int, Headers]:
        """Return the partition of a message that is sent again, and its headers with the new attempt.

        Raises KeyError for a topic that cannot be written, or is the dispatcher's own and no lane.
        """
        own = self._topics.reserves(topic) and topic not in self._lanes.values()
        partitions = None if own else self.partitions(topic)
        if partitions is None:
            raise KeyError(topic)
        kept = [one for one in headers if one[0] != "attempt"]
        return murmur2(key) % partitions, [*kept, ("attempt", b"%d" % attempt)]

    def _note_time(self, planned: Instant) -> None:
        """Encode an instant once for all fires planned for it."""
        text = to_text(planned).encode()
        self._planned, self._time, self._at_time = planned, ("ce_time", text), b"@" + text
        self._hex = b"%016x" % planned


def timer_of(job: Job, planned: Instant, message: Outgoing, grace_ms: int | None) -> Timer:
    """Return the timer that keeps a planned fire as it is, whatever the schedule becomes meanwhile."""
    topic, value, key, partition, headers = message
    assert value is not None
    assert key is not None
    return Timer(
        id=fire_id(job.name, planned),
        job=job.name,
        planned=planned,
        due=planned + job.delay_ms,
        attempt=1,
        topic=topic,
        partition=partition,
        key=key,
        value=value,
        headers=tuple(headers or ()),
        grace_ms=grace_ms,
    )


def message_of(timer: Timer) -> Outgoing:
    """Return the message a timer holds."""
    return (timer.topic, timer.value, timer.key, timer.partition, list(timer.headers))


def is_planned(timer: Timer) -> bool:
    """Return whether a timer holds a fire of the plan, and not one that was asked for or is tried again."""
    return timer.id == fire_id(timer.job, timer.planned)


def fire_in(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Return the id of the fire whose message has these headers, None when it is no fire's."""
    found = dict(headers)
    if found.get("ce_type") != FIRE_TYPE:
        return None
    return found.get("ce_id", b"").decode(errors="replace") or None
