"""What one transaction holds, and what is remembered after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dispatcher.core.backlog import Skip, Slice
from dispatcher.core.codec import encode
from dispatcher.core.event import Event, encode_event
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.job import Job
from dispatcher.core.ledger import Fact, Position
from dispatcher.core.message import Outgoing, TopicNames, fire_id
from dispatcher.core.schedule import RemovalGuard
from dispatcher.core.state import NO_JOBS


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers a shard lives by; times in milliseconds.

    `batch` messages and `piece` changes per transaction. Fires later than `behind_ms` count as missed.
    `ahead` messages at the most are made before they are due, `ahead_ms` before at the earliest. Backlog
    waits `first_look_ms` for the first look at the file: a job may have been removed meanwhile. At most
    `catch_up_rate` fires of it go out in a second, and `catch_up_most` of a job with `catchUp: all`; 0 is
    no limit.

    `stage_from` fires of one instant, or more, are staged: up to `stage_most` of them, with values of up to
    `stage_bytes`, are written before it, at most `stage_ahead_ms` (0: never), at `stage_rate` a second.
    """

    batch: int = 4_000
    piece: int = 5_000
    behind_ms: int = 10_000
    heartbeat_ms: int = 300_000
    stale_hold_ms: int = 120_000
    first_look_ms: int = 60_000
    ahead: int = 50_000
    ahead_ms: int = 5_000
    stage_ahead_ms: int = 2_000
    stage_from: int = 1_000
    stage_most: int = 50_000
    stage_bytes: int = 32_000_000
    stage_rate: int = 15_000
    catch_up_rate: int = 0
    catch_up_most: int = 0
    guard: RemovalGuard = field(default_factory=RemovalGuard)


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction to be: its records, the position record last, and its meaning.

    `settled` ready fires of the plan and `piece` of the backlog are done with it; `told` events that
    were waiting are in it. `jobs` are the jobs of definitions among the facts that are read already.
    It was `decided` then. One with an instant `at` is staged: written at once, and not to be committed
    before that instant by the wall clock.
    """

    kind: str
    outgoing: list[Outgoing]
    facts: tuple[Fact, ...]
    fires: int = 0
    skips: int = 0
    settled: int = 0
    told: int = 0
    piece: Slice | None = None
    jobs: Mapping[str, Job] = field(default_factory=lambda: NO_JOBS)
    at: Instant | None = None
    decided: Instant = 0
    dues: Mapping[Instant, int] = field(default_factory=dict)
    """How many of its fires were due when."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """How many fires it skips, by reason."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before `until`; None: not before something new arrives."""

    until: Instant | None


@dataclass(slots=True)
class Draft:
    """A batch being put together."""

    kind: str
    position: Position
    fires: list[Outgoing] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    settled: int = 0
    piece: Slice | None = None
    jobs: Mapping[str, Job] = field(default_factory=lambda: NO_JOBS)
    at: Instant | None = None
    dues: dict[Instant, int] = field(default_factory=dict)

    def fire(self, message: Outgoing, due: Instant) -> None:
        """Put a fire in that is due, or was, at an instant."""
        self.fires.append(message)
        self.dues[due] = self.dues.get(due, 0) + 1

    def move(self, **changes: object) -> None:
        """Change the position that the batch will leave."""
        self.position = self.position._replace(**changes)  # type: ignore[arg-type] # names are Position's own


class Encoder:
    """Turns drafts into batches for one shard."""

    def __init__(self, topics: TopicNames, shard: int) -> None:
        self._topics = topics
        self._ledger = topics.ledger
        self._shard = shard

    def batch(self, draft: Draft, now: Instant, waiting: Iterable[Event] = ()) -> Batch:
        """Return the batch of a draft, with the events that were waiting for the next transaction."""
        told = tuple(waiting)
        events = [*told, *draft.events, *map(skip_event, draft.skips)]
        outgoing = draft.fires
        if events:
            time = to_text(now)
            outgoing += [encode_event(event, self._topics, self._shard, time) for event in events]
        facts = (*draft.facts, draft.position)
        for fact in facts:
            key, value = encode(fact)
            outgoing.append((self._ledger, value, key, self._shard, None))
        return Batch(
            draft.kind,
            outgoing,
            facts,
            fires=len(outgoing) - len(events) - len(facts),
            skips=sum([skip.count for skip in draft.skips]),
            settled=draft.settled,
            told=len(told),
            piece=draft.piece,
            jobs=draft.jobs,
            at=draft.at,
            decided=now,
            dues=draft.dues,
            reasons=_by_reason(draft.skips),
        )


def _by_reason(skips: Iterable[Skip]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for skip in skips:
        counts[skip.reason] = counts.get(skip.reason, 0) + skip.count
    return counts


def skip_event(skip: Skip) -> Event:
    """Return the event of a skip: how many fires planned in (after, until] will not go out, and why."""
    data = {
        "reason": skip.reason,
        "count": skip.count,
        "after": to_text(skip.after),
        "until": to_text(skip.until),
    }
    ident = f"run.skipped/{skip.job}/{to_text(skip.after)}/{to_text(skip.until)}"
    fire = fire_id(skip.job, skip.until) if skip.until == skip.after + 1 else None
    return Event("run.skipped", ident, skip.job, data, fire=fire)


def fire_of(outgoing: Outgoing) -> str | None:
    """Return the fire id of a message, or None for an event or a ledger record."""
    headers = dict(outgoing[4] or ())
    return headers["ce_id"].decode() if headers.get("ce_type") == b"dispatcher.fire" else None
