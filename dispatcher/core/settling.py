"""What becomes of a run: the records that its end leaves, as values, to be written in one transaction.

Exactly one *terminal* event ends a fire: it succeeded, is dead, was cancelled, has expired, or was skipped
because another run of its job had not ended. A failed attempt that is followed by another is none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from dispatcher.core.command import BadCommandError, Command, Parcel, decode_command, encode_command, retry_id
from dispatcher.core.dead_letter import letter
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.message import Headers, Outgoing, TopicNames
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.core.run import Delivery, Poison, Retry, Run

MOST_BEGUN = 5
"""A run whose worker died so often is dead: the next one would, too. What was handed back does not count."""
LONGEST_WAIT_MS = 24 * 3_600_000
_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT = ("content-type", b"application/json")
_KEPT_TEXT = 16_384
_KEPT_RESULT = 65_536


@dataclass(frozen=True, slots=True)
class Settled:
    """An end: its word (`succeeded`, `retrying`, `dead` …) and the records that tell of it."""

    kind: str
    outgoing: tuple[Outgoing, ...]

    @property
    def attempt(self) -> int:
        """Which attempt at the fire it was: the message's own, and what was begun of it before."""
        return int(dict(self.outgoing[0][4] or ())["attempt"])


def wait_before(retry: Retry, fire: str, attempt: int, asked_ms: int | None = None) -> int:
    """Return the milliseconds between the end of `attempt` and the next one.

    Fixed: the same each time. Exponential: twice as long each time, up to the cap, and half of it spread by a
    hash of fire and attempt, so that what failed together is not tried together, and a repeated decision is
    the same. Whoever was asked may want a longer one (`Retry-After`), which is honoured up to a day.
    """
    asked = min(asked_ms or 0, LONGEST_WAIT_MS)
    if retry.fixed:
        return max(retry.delay_ms, asked)
    wait = min(retry.delay_ms << min(attempt - 1, 40), retry.max_delay_ms)
    half = wait // 2
    spread = int.from_bytes(blake2b(f"{fire}#{attempt}".encode(), digest_size=4).digest()) % (half + 1)
    return max(wait - half + spread, asked)


class Settler:
    """Turns ends of runs into records. `dead_partitions` is the count of the topic of dead letters."""

    def __init__(self, topics: TopicNames, instance: str, shards: int, dead_partitions: int) -> None:
        self._topics = topics
        self._instance = instance
        self._shards = shards
        self._dead_partitions = dead_partitions
        self._events = topics.events
        self._source = ("ce_source", f"/{topics.prefix}/workers/{instance}".encode())

    def ended(self, run: Run, outcome: Outcome, started: Instant, ended: Instant) -> Settled:
        """Return what an attempt leaves that a handler has ended."""
        match outcome:
            case Succeeded():
                silent = outcome.result is None and not outcome.output
                facts = b"" if silent else _told(result=outcome.result, output=outcome.output)
                return Settled("succeeded", (self._event(run, "run.succeeded", started, ended, facts),))
            case Cancelled():
                facts = _told(reason=outcome.reason, output=outcome.output)
                return Settled("cancelled", (self._event(run, "run.cancelled", started, ended, facts),))
            case Failed():
                if outcome.final or run.attempt >= run.spec.retry.attempts:
                    return self.dead(run, outcome.reason, started, ended, output=outcome.output)
                return self._retrying(run, outcome, started, ended)

    def started(self, run: Run, started: Instant, now: Instant) -> Outgoing:
        """Return the event that a run was begun and goes on."""
        return self._event(run, "run.started", started, now, b"")

    def expired(self, run: Run, now: Instant) -> Settled:
        """Return what a run leaves that came too late to be begun."""
        assert run.not_after is not None
        facts = _told(reason=f"it was not to be begun after {to_text(run.not_after)}")
        return Settled("expired", (self._event(run, "run.expired", now, now, facts),))

    def overlapped(self, run: Run, other: str, now: Instant) -> Settled:
        """Return what a run leaves whose job forbids a second one while the run of `other` has not ended."""
        facts = _told(reason=f"overlap: the run of {other} has not ended")
        return Settled("skipped", (self._event(run, "run.skipped", now, now, facts),))

    def cancelled(self, run: Run, reason: str, now: Instant) -> Settled:
        """Return what a run leaves that was cancelled before it began."""
        return Settled("cancelled", (self._event(run, "run.cancelled", now, now, _told(reason=reason)),))

    def dead(self, run: Run, reason: str, started: Instant, ended: Instant, *, output: str = "") -> Settled:
        """Return what a run leaves that is given up: the event and the dead letter."""
        facts = _told(reason=reason, output=output)
        event = self._event(run, "run.dead", started, ended, facts)
        return Settled("dead", (event, self._letter(run.delivery, reason, run.attempt, ended)))

    def poisoned(self, poison: Poison, shard: int, now: Instant) -> Settled:
        """Return what a message leaves that is no run; it has an event of its own where it names no fire."""
        delivery = poison.delivery
        ident = poison.fire or f"{delivery.topic}/{delivery.partition}/{delivery.offset}"
        headers = self._head("run.dead", ident.encode(), b"%d" % poison.attempt, now, shard)
        if poison.job:
            headers.append(("ce_subject", poison.job.encode()))
        if poison.fire:
            headers.append(("fire", poison.fire.encode()))
        headers.append(("attempt", b"%d" % poison.attempt))
        facts = _told(reason=poison.why)
        value = _value("", now, now, delivery, facts, b"false")
        event = (self._events, value, (poison.job or ident).encode(), shard, headers)
        return Settled("dead", (event, self._letter(delivery, poison.why, poison.attempt, now)))

    def _retrying(self, run: Run, failed: Failed, started: Instant, ended: Instant) -> Settled:
        """Return the command that has the dispatcher fire it again at its instant, and the event."""
        wait = wait_before(run.spec.retry, run.fire, run.attempt, failed.retry_after_ms)
        at, delivery = ended + wait, run.delivery
        kept = tuple((name, value) for name, value in delivery.headers if value is not None)
        command = Command(
            "retry",
            retry_id(run.fire, run.attempt + 1),
            job=run.job,
            fire=run.fire,
            attempt=run.attempt + 1,
            at=at,
            parcel=Parcel(delivery.topic, delivery.key, delivery.value or b"", kept),
            origin="pool",
        )
        value = encode_command(command)
        try:
            decode_command(value)
        except BadCommandError as error:  # the shard would pass it over, and the fire would never end
            why = f"{failed.reason}; it cannot be tried again: {error}"
            return self.dead(run, why, started, ended, output=failed.output)
        asked = (self._topics.commands, value, run.job.encode(), run.shard, None)
        facts = _told(reason=failed.reason, output=failed.output, retryAt=to_text(at))
        return Settled("retrying", (self._event(run, "run.retrying", started, ended, facts), asked))

    def _letter(self, delivery: Delivery, reason: str, attempts: int, at: Instant) -> Outgoing:
        return letter(
            self._topics,
            self._dead_partitions,
            delivery,
            reason=_short(reason),
            attempts=attempts,
            at=at,
            by=self._instance,
        )

    def _event(self, run: Run, kind: str, started: Instant, ended: Instant, facts: bytes) -> Outgoing:
        fire, attempt, job = run.fire.encode(), b"%d" % run.attempt, run.job.encode()
        headers = self._head(kind, fire, attempt, ended, run.shard)
        headers += (("ce_subject", job), ("fire", fire), ("attempt", attempt))
        value = _value(run.spec.handler, started, ended, run.delivery, facts, _redelivered(run))
        return self._events, value, job, run.shard, headers

    def _head(self, kind: str, what: bytes, attempt: bytes, at: Instant, shard: int) -> Headers:
        """Return what the headers of all events begin with."""
        word = kind.encode()
        return [
            _SPECVERSION,
            ("ce_type", word),
            self._source,
            ("ce_id", b"%b/%b/%b" % (word, what, attempt)),
            ("ce_time", _time(at)),
            _CONTENT,
            ("shard", b"%d" % shard),
        ]


def _redelivered(run: Run) -> bytes:
    """Return whether it was begun before: `maybe` where the life before ended without a word."""
    if run.redelivered == "maybe":
        return b'"maybe"'
    return b"true" if run.redelivered else b"false"


def _value(
    handler: str, started: Instant, ended: Instant, delivery: Delivery, facts: bytes, redelivered: bytes
) -> bytes:
    """Return an event's value; put together by hand, for there is one for each run."""
    return (
        b'{"v":1,"handler":%b,"startedAt":"%b","endedAt":"%b","redelivered":%b%b%b,"partition":%d,"offset":%d}'
        % (
            _text(handler),
            _time(started),
            _time(ended),
            redelivered,
            facts,
            b',"topic":' + _text(delivery.topic),
            delivery.partition,
            delivery.offset,
        )
    )


@lru_cache(maxsize=4096)
def _time(instant: Instant) -> bytes:
    return to_text(instant).encode()


@lru_cache(maxsize=4096)
def _text(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode(errors="replace")


def _told(**facts: Any) -> bytes:
    """Return members of an event's value, each after a comma; what is empty is left out, long text is cut."""
    members = b""
    for name, value in facts.items():
        if value is not None and value != "":
            members += b',"%b":%b' % (name.encode(), _json(value))
    return members


def _json(value: Any) -> bytes:
    """Return a value as JSON. A handler may return anything: what is too long, or is no JSON, is told."""
    kept = _short(value) if isinstance(value, str) else value
    try:
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        text = json.dumps(f"no JSON: {error}")
    if len(text) > _KEPT_RESULT:
        text = json.dumps(f"{len(text)} characters of JSON, too long to keep")
    return text.encode(errors="replace")


def _short(text: str) -> str:
    return text if len(text) <= _KEPT_TEXT else f"{text[:_KEPT_TEXT]}… ({len(text)} characters)"
