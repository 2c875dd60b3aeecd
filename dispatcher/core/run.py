"""A run: one attempt at a fire, read from the message that a worker got. Messages are not trusted.

What the fires of a job have in common stands in the message's value, which is the same for all of them: it
is read once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from dispatcher.core.instant import Instant, from_text
from dispatcher.core.job import DEFAULT_PRIORITY, Lane, lane_of
from dispatcher.core.offsets import Past
from dispatcher.core.partitioner import murmur2

MAX_VALUE_BYTES = 16 * 1024 * 1024
_LONGEST_MS = 315_360_000_000
"""Ten years, as in the schedule: what is longer overflows where it is counted with."""
_LONGEST_NAME = 1_000
_SPECS_KEPT = 100_000
_FRESH = Past()
LARGEST_KEPT = 16_384
"""Definitions longer than this are read anew each time: they must not fill the memory of a worker."""


class Delivery(NamedTuple):
    """A message as a worker got it, and where it lies; `timestamp` is the record's, in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: Instant
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    @property
    def place(self) -> tuple[str, int]:
        """The topic and partition it lies in."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a fire is tried in all, and how long to wait before the next attempt, in milliseconds."""

    attempts: int = 1
    fixed: bool = False
    delay_ms: int = 1_000
    max_delay_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Spec:
    """What all runs of one version of a job have in common. `overlap` is `allow`, `forbid` or `queue`."""

    handler: str
    payload: Any
    retry: Retry
    timeout_ms: int | None
    overlap: str
    lane: Lane = Lane.NORMAL


Redelivered = bool | Literal["maybe"]


class Run(NamedTuple):
    """One attempt at a fire. A tuple, for there is one for each message.

    `begun` is how many other lives of a worker began it, as far as is known, and ended without letting go of
    it. `redelivered`: whether any life began it, or `maybe` did so unnoted, for it ended without a word.
    `attempt` is that of the message, and one more for each life in `begun`.
    """

    fire: str
    job: str
    attempt: int
    begun: int
    redelivered: Redelivered
    planned: Instant
    not_after: Instant | None
    shard: int
    spec: Spec
    traceparent: str
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that is no run, and why. What can be told of it is told, so that it can be found."""

    why: str
    delivery: Delivery
    fire: str = ""
    job: str = ""
    attempt: int = 1


class RunReader:
    """Reads deliveries. One thread's own: it remembers the definitions it has read.

    `trace` makes the trace context that a run hands on, from its message's, the delivery and the attempt.
    """

    def __init__(self, shards: int, trace: Callable[[str, Delivery, int], str] | None = None) -> None:
        self._shards = shards
        self._trace = trace
        self._numbers: dict[bytes | None, int] = {b"%d" % number: number for number in range(shards)}
        """Shards by their header, which spares the hashing."""
        self._specs: dict[str, tuple[bytes, Spec | str]] = {}
        """The version of each job that was read last: old ones are not kept."""

    def read(self, delivery: Delivery, past: Past = _FRESH, *, maybe: bool = False) -> Run | Poison:
        """Return the run of a delivery, or why it is none. Never raises.

        `past` is what is known of other lives with it, `maybe` whether one may have begun it unnoted.
        """
        headers = dict(delivery.headers)
        if not _is_text(delivery, headers):
            return Poison("its key or a header is not UTF-8", delivery)
        if headers.get("ce_type") != b"dispatcher.fire" or headers.get("ce_specversion") != b"1.0":
            return Poison("it is no fire: it lacks the headers of a CloudEvent 1.0 of that type", delivery)
        fire, job = _text(headers.get("ce_id")), _text(headers.get("ce_subject"))
        if not fire or not job or len(fire) > 600:
            return Poison("it has no usable ce_id or ce_subject", delivery)
        try:
            attempt = int(headers.get("attempt") or 1)
            planned = _instant(headers.get("ce_time") or b"")
            told = headers.get("not_after")
            not_after = None if told is None else _instant(told)
        except ValueError as error:
            return Poison(f"a header cannot be read: {error}", delivery, fire, job)
        if not 1 <= attempt <= 1_000_000:
            return Poison(f"its attempt is {attempt}", delivery, fire, job)
        spec = self._spec(job, delivery.value)
        if isinstance(spec, str):
            return Poison(spec, delivery, fire, job, attempt)
        shard = self._numbers.get(headers.get("shard"))
        if shard is None:
            shard = murmur2(job.encode()) % self._shards
        trace = _text(headers.get("traceparent"))
        if self._trace is not None:
            trace = self._trace(trace, delivery, attempt + past.begun)
        redelivered: Redelivered = past.known or (maybe and "maybe")
        return Run(
            fire, job, attempt + past.begun, past.begun, redelivered, planned, not_after, shard, spec, trace,
            delivery,
        )  # fmt: skip

    def shard_of(self, delivery: Delivery) -> int:
        """Return the shard that a message which is no run is told under."""
        return 0 if delivery.key is None else murmur2(delivery.key) % self._shards

    def _spec(self, job: str, value: bytes | None) -> Spec | str:
        if value is None:
            return "it has no value"
        known = self._specs.get(job)
        if known is not None and known[0] == value:
            return known[1]
        spec = _read_spec(value)
        if len(value) <= LARGEST_KEPT:
            if len(self._specs) >= _SPECS_KEPT:
                self._specs.clear()
            self._specs[job] = (value, spec)
        return spec


def _is_text(delivery: Delivery, headers: Mapping[str, bytes | None]) -> bool:
    """Return whether key and headers are UTF-8: all of them at once, for that is cheap."""
    values = [value for value in headers.values() if value is not None]
    try:
        b"\n".join([delivery.key or b"", *values]).decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode()


@lru_cache(maxsize=4096)
def _instant(value: bytes) -> Instant:
    return from_text(value.decode())


def _read_spec(value: bytes) -> Spec | str:
    """Return what a message's value asks for, or why it asks for nothing that can be understood."""
    if len(value) > MAX_VALUE_BYTES:
        return f"its value has {len(value)} bytes, more than {MAX_VALUE_BYTES}"
    try:
        entry = json.loads(value)
    except (ValueError, RecursionError) as error:
        return f"its value is not JSON: {error}"
    if not isinstance(entry, dict):
        return "its value is no JSON object"
    handler = entry.get("job", entry.get("taskName"))
    if not isinstance(handler, str) or not handler:
        return "its value names nothing to run: `job` (or `taskName`) must be text"
    if len(handler) > _LONGEST_NAME:
        return f"its `job` has {len(handler)} characters, more than {_LONGEST_NAME}"
    overlap = entry.get("overlap", "allow")
    if overlap not in ("allow", "forbid", "queue"):
        return f"its `overlap` is {overlap!r:.40}: it must be allow, forbid or queue"
    try:
        retry, timeout_ms = _retry(entry.get("retry")), _milliseconds(entry.get("timeoutSeconds"))
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        return f"its `retry` or `timeoutSeconds` cannot be read: {error}"
    payload, priority = entry.get("payload", entry.get("taskParams")), entry.get("priority")
    lane = lane_of(priority if isinstance(priority, int) else DEFAULT_PRIORITY)
    return Spec(handler, payload, retry, timeout_ms, overlap, lane)


def _retry(data: Any) -> Retry:
    if data is None:
        return Retry()
    backoff = data.get("backoff", {})
    found = Retry(
        int(data.get("attempts", 1)),
        backoff.get("type", "exponential") == "fixed",
        int(backoff.get("delayMs", 1_000)),
        int(backoff.get("maxDelayMs", 60_000)),
    )
    delays = (found.delay_ms, found.max_delay_ms)
    if found.attempts < 1 or min(delays) < 0 or max(delays) > _LONGEST_MS:
        raise ValueError("attempts must be at least 1, delays not negative, and at most ten years")
    return found


def _milliseconds(seconds: Any) -> int | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError("`timeoutSeconds` must be a number above 0")
    if seconds > _LONGEST_MS / 1000:
        raise ValueError("`timeoutSeconds` must be at most ten years")
    return max(1, round(seconds * 1000))
