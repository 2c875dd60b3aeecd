"""Events: what happened, as CloudEvents in the events topic, co-partitioned with the shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dispatcher.core.compact_json import write_json
from dispatcher.core.message import Outgoing, TopicNames

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `type` is its name in the design's words (`job.added`, `run.skipped` …), `subject` the job's name or
    empty, `id` unique and the same if the same thing is told again, `fire` the fire id when it is about one.
    `data` is the value; `definitions` are further members of it whose values are JSON already.
    """

    type: str
    id: str
    subject: str
    data: dict[str, Any]
    fire: str | None = None
    attempt: int | None = None
    definitions: tuple[tuple[str, bytes], ...] = ()


def encode_event(event: Event, topics: TopicNames, shard: int, time: str) -> Outgoing:
    """Return the event as a record of the events topic; `time` is when it happened."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", event.type.encode()),
        ("ce_source", f"/{topics.prefix}/shards/{shard}".encode()),
        ("ce_id", event.id.encode()),
        ("ce_time", time.encode()),
        ("content-type", b"application/json"),
        ("shard", str(shard).encode()),
    ]
    if event.subject:
        headers.append(("ce_subject", event.subject.encode()))
    if event.fire is not None:
        headers.append(("fire", event.fire.encode()))
    if event.attempt is not None:
        headers.append(("attempt", str(event.attempt).encode()))
    value = write_json({"v": SCHEMA, **event.data})
    for name, definition in event.definitions:
        value = b'%b,"%b":%b}' % (value[:-1], name.encode(), definition)
    key = (event.subject or event.type).encode()
    return (topics.events, value, key, shard, headers)
