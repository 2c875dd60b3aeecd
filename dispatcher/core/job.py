"""A job: one entry of the schedule file in the form the dispatcher works with.

The entry's text (`definition`) is the whole truth about a job: it is the value of every message the job
fires, it is what the ledger keeps, and everything else here is derived from it by `JobReader`.
Jobs are many and alike, so what they share (trigger, policy, route) is one object for all that share it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from dispatcher.core.compact_json import read_json
from dispatcher.core.partitioner import murmur2
from dispatcher.core.trigger import Trigger, trigger_from_entry

Entry = Mapping[str, Any]
"""A valid job entry of the schedule file with the file's defaults merged in, as JSON gives it."""

TRIGGER_FIELDS = ("cronTime", "every", "at", "timezone", "startAt", "endAt", "jitterSeconds", "enabled")
ROUTE_FIELDS = ("priority", "topic", "key")
POLICY_FIELDS = ("catchUp", "misfireGraceSeconds", "expiresAfterSeconds")
DEFAULT_PRIORITY = 5
DEFAULT_GRACE_SECONDS = 60


class CatchUp(StrEnum):
    """What becomes of fires missed while nobody ran, once they are later than the grace."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Lane(StrEnum):
    """One of the job topics, by urgency."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    __hash__ = str.__hash__  # each fire looks its topic up by lane; an enum's own hash runs in Python


def lane_of(priority: int) -> Lane:
    """Return the lane of a priority: 9-10 critical, 7-8 high, 3-6 normal, 0-2 low."""
    if priority >= 9:
        return Lane.CRITICAL
    if priority >= 7:
        return Lane.HIGH
    return Lane.NORMAL if priority >= 3 else Lane.LOW


@dataclass(frozen=True, slots=True)
class Policy:
    """How late fires are treated, in milliseconds."""

    catch_up: CatchUp = CatchUp.LATEST
    grace_ms: int = DEFAULT_GRACE_SECONDS * 1000
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where a job's messages go: its own topic or its lane, its own key or its name, extra headers."""

    lane: Lane = Lane.NORMAL
    topic: str | None = None
    key: str | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `definition` is its entry as compact JSON; `key_hash` the murmur2 of its message key.

    `delay_ms` is the job's jitter: constant for the job, added to every planned instant to give the due one.
    Of an `outline`, `policy`, `route` and `key_hash` are read from the definition once one is asked for.
    """

    name: str
    definition: bytes
    trigger: Trigger
    policy: Policy
    route: Route
    key_hash: int
    delay_ms: int
    _reader: JobReader | None = field(default=None, repr=False, compare=False)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Read what an outline lacks; asked for only while it does. Two threads at once do no harm."""
            if name not in _LATER:
                raise AttributeError(name)
            whole = self._reader.read(self.definition)
            for each in _LATER:
                object.__setattr__(self, each, getattr(whole, each))
            return getattr(whole, name)

    @property
    def key(self) -> str:
        """The key of the job's messages."""
        return self.route.key if self.route.key is not None else self.name


_LATER = ("key_hash", "policy", "route")


def encode_definition(entry: Entry) -> bytes:
    """Return the entry as compact UTF-8 JSON, in its author's order."""
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":"), check_circular=False).encode()


def digest_of(definition: bytes) -> bytes:
    """Return the 16 bytes by which two definitions are compared."""
    return blake2b(definition, digest_size=16).digest()


def delay_of(job_name: str, jitter_ms: int) -> int:
    """Return the job's constant delay in [0, jitter_ms], from the hash of its name."""
    if not jitter_ms:
        return 0
    return int.from_bytes(blake2b(job_name.encode(), digest_size=8).digest()) % (jitter_ms + 1)


class JobReader:
    """Turns definitions into jobs; equal triggers, policies and routes come out as the same object.

    Threads may share a reader: at the worst two equal objects are made. It never validates: it reads what
    validation has let through.
    """

    def __init__(self) -> None:
        self._triggers: dict[object, Trigger] = {}
        self._policies: dict[object, Policy] = {}
        self._routes: dict[object, Route] = {}
        self._texts: dict[str, str] = {}
        self._digests: dict[str, Trigger] = {}

    def share(self, text: str) -> str:
        """Return the first of equal texts that was asked for: a revision stands beside each of its jobs."""
        return self._texts.setdefault(text, text)

    def read(self, definition: bytes, key_hash: int | None = None) -> Job:
        """Return the job a definition describes; `key_hash` spares the hashing where it is known."""
        return self.build(read_json(definition), definition, key_hash)

    def outline(self, name: str, definition: bytes, digest: str) -> Job:
        """Return the job of a definition of which little is read yet: its trigger is one read before.

        `digest` is that of its trigger, as noted when it was written. It must be what this code calls the
        trigger, else the whole definition is read.
        """
        trigger = self._digests.get(digest)
        if trigger is None:
            job = self.read(definition)
            if job.trigger.digest == digest:
                self._digests[digest] = job.trigger
            return job
        job = object.__new__(Job)
        put = object.__setattr__
        put(job, "name", name)
        put(job, "definition", definition)
        put(job, "trigger", trigger)
        put(job, "delay_ms", delay_of(name, trigger.jitter_ms) if trigger.jitter_ms else 0)
        put(job, "_reader", self)
        return job

    def build(self, entry: Entry, definition: bytes, key_hash: int | None = None) -> Job:
        """Return the job of an entry whose definition is at hand."""
        name = entry["jobName"]
        trigger = self._trigger(entry, name)
        route = self._route(entry)
        if key_hash is None:
            key_hash = murmur2((name if route.key is None else route.key).encode())
        delay = delay_of(name, trigger.jitter_ms) if trigger.jitter_ms else 0
        return Job(name, definition, trigger, self._policy(entry), route, key_hash, delay)

    def _trigger(self, entry: Entry, name: str) -> Trigger:
        get = entry.get
        cron = get("cronTime")
        hashed = cron is not None and "H" in cron.upper() and not cron.startswith("@")
        dst = get("dst")
        shape = (*map(get, TRIGGER_FIELDS), repr(dst) if dst else None, name if hashed else None)
        trigger = self._triggers.get(shape)
        if trigger is None:
            trigger = self._triggers[shape] = trigger_from_entry(entry, hash_id=name)
        return trigger

    def _policy(self, entry: Entry) -> Policy:
        shape = tuple(map(entry.get, POLICY_FIELDS))
        policy = self._policies.get(shape)
        if policy is None:
            expires = entry.get("expiresAfterSeconds")
            policy = self._policies[shape] = Policy(
                CatchUp(entry.get("catchUp", CatchUp.LATEST)),
                round(entry.get("misfireGraceSeconds", DEFAULT_GRACE_SECONDS) * 1000),
                None if expires is None else round(expires * 1000),
            )
        return policy

    def _route(self, entry: Entry) -> Route:
        get = entry.get
        headers = get("headers")
        shape = (*map(get, ROUTE_FIELDS), tuple(headers.items()) if headers else None)
        route = self._routes.get(shape)
        if route is None:
            route = self._routes[shape] = Route(
                lane_of(get("priority", DEFAULT_PRIORITY)),
                get("topic"),
                get("key"),
                tuple((name, value.encode()) for name, value in headers.items()) if headers else (),
            )
        return route
