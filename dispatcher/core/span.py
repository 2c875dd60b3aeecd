"""Spans of traces as values: a fire, from its planned instant to its commit, and the runs of it.

Messages carry the context of their fire's span, made from what the fire is: `traceparent`. So the one who
commits a fire and those who run it need not have met to tell of the same trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple

from dispatcher.core.batch import Batch
from dispatcher.core.instant import Instant, from_text, to_text
from dispatcher.core.message import Headers, fire_in, job_of
from dispatcher.core.run import Delivery

_CONTEXT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_LONGEST_MS = 60_000
"""A fire that is later than this was missed, or is spread by jitter: its span begins when it was decided."""
_GOOD_ENDS = frozenset({"succeeded", "cancelled", "skipped"})


class Context(NamedTuple):
    """Which span it is: its trace, and its own id."""

    trace: int
    span: int


class Span(NamedTuple):
    """Something that took its time. `error` says in a word why it did not go well, or is None."""

    name: str
    context: Context
    parent: Context | None
    start: Instant
    end: Instant
    attributes: dict[str, str | int]
    error: str | None = None


def context_of(traceparent: str) -> Context | None:
    """Return the span that a W3C trace context of version 00 names, None when it names none."""
    found = _CONTEXT.fullmatch(traceparent)
    if found is None:
        return None
    context = Context(int(found[1], 16), int(found[2], 16))
    return context if all(context) else None


def to_traceparent(context: Context) -> str:
    """Return the W3C trace context of a span."""
    return f"00-{context.trace:032x}-{context.span:016x}-01"


def child_of(parent: Context, *what: object) -> Context:
    """Return the context of a span below another one, the same for the same things."""
    digest = blake2b(repr((parent.span, what)).encode(), digest_size=8).digest()
    return Context(parent.trace, int.from_bytes(digest) or 1)


def run_context(traceparent: str, delivery: Delivery, attempt: int, instance: str) -> Context | None:
    """Return the span of a run of a delivery by a worker; None when its message has no usable context."""
    fire = context_of(traceparent)
    return None if fire is None else child_of(fire, *delivery.place, delivery.offset, attempt, instance)


def run_traceparent(traceparent: str, delivery: Delivery, attempt: int, instance: str) -> str:
    """Return the trace context that a run hands on: its own span's, or the message's if that is unusable."""
    context = run_context(traceparent, delivery, attempt, instance)
    return traceparent if context is None else to_traceparent(context)


def fire_spans(batch: Batch, shard: int, committed: Instant) -> Iterator[Span]:
    """Yield the spans of the fires that a transaction brought."""
    for topic, _, key, partition, headers in batch.outgoing if batch.fires else ():
        fire = fire_in(headers or ())
        if fire is None:
            continue
        told = dict(headers or ())
        context = context_of(told.get("traceparent", b"").decode(errors="replace"))
        if context is None:
            continue
        attempt, planned = int(told.get("attempt", b"1")), _planned(told, committed)
        attributes = {
            **_messaging("send", topic, partition, fire, attempt),
            "messaging.kafka.message.key": (key or b"").decode(errors="replace"),
            "dispatcher.shard": shard,
            "dispatcher.kind": batch.kind,
            "dispatcher.planned": to_text(planned),
            "dispatcher.revision": told.get("revision", b"").decode(errors="replace"),
        }
        usual = attempt == 1 and 0 <= committed - planned <= _LONGEST_MS
        start = planned if usual else min(batch.decided, committed)
        own, parent = (context, None) if attempt == 1 else (child_of(context, attempt), context)
        yield Span("fire", own, parent, start, committed, attributes)


def _planned(told: Mapping[str, bytes], committed: Instant) -> Instant:
    """Return what a fire was planned for; a message that is sent again may say anything."""
    try:
        return from_text(told["ce_time"].decode())
    except (KeyError, ValueError):
        return committed


def run_span(
    delivery: Delivery, attempt: int, kind: str, handler: str, times: tuple[Instant, Instant], instance: str
) -> Span | None:
    """Return the span of a run that ended so; None when its message has no usable context."""
    headers: Headers = [(name, value) for name, value in delivery.headers if value is not None]
    told = dict(headers)
    traceparent = told.get("traceparent", b"").decode(errors="replace")
    fire, context = fire_in(headers), run_context(traceparent, delivery, attempt, instance)
    if fire is None or context is None:
        return None
    attributes = {
        **_messaging("process", delivery.topic, delivery.partition, fire, attempt),
        "messaging.kafka.offset": delivery.offset,
        "dispatcher.handler": handler,
        "dispatcher.outcome": kind,
        "dispatcher.waited_ms": max(0, times[0] - delivery.timestamp),
    }
    parent = context_of(traceparent)
    return Span("run", context, parent, *times, attributes, None if kind in _GOOD_ENDS else kind)


def _messaging(operation: str, topic: str, partition: int, fire: str, attempt: int) -> dict[str, str | int]:
    """Return what spans of messages have in common, by the semantic conventions of OpenTelemetry."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.message.id": fire,
        "dispatcher.job": job_of(fire),
        "dispatcher.attempt": attempt,
    }
