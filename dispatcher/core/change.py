"""From a change set to facts and events: how one schedule becomes the next, without a fire lost or doubled.

Old or new is decided on planned instants. Fires planned up to the change's `effective_from` belong to the
old version of a job, later ones to the new. What the old version still owes then is kept as timers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from dispatcher.core.backlog import Skip, dropped
from dispatcher.core.event import Event
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.job import CatchUp, Job
from dispatcher.core.ledger import Cursor, Fact, Interval, JobVersions, Position, Revision, Timer, Version
from dispatcher.core.message import MessageMaker, timer_of
from dispatcher.core.record import JobRecord
from dispatcher.core.schedule import ChangeSet, RemovalGuard

NAMES_TOLD = 100


@dataclass(frozen=True, slots=True)
class Held:
    """A change set that waits: why, in a word and a sentence, and until when by itself (None: for a word)."""

    change: ChangeSet
    reason: str
    text: str
    until: Instant | None


@dataclass(frozen=True, slots=True)
class Numbered:
    """A change with its number and the instant it takes effect after (None while it is brought in pieces)."""

    number: int
    revision: str
    effective_from: Instant | None
    keep_old: bool
    """Whether older versions stay in a job's record: the change is not applied yet, or backlog needs them."""


def admit(
    change: ChangeSet,
    revisions: Mapping[str, Revision],
    in_force: str,
    instance: str,
    *,
    now: Instant,
    hold_ms: int,
) -> Held | None:
    """Return why a change set must wait as stale, or None when it may be applied.

    A change this process saw with its own eyes is no relic, unless it saw it before another replica put the
    schedule in force that is. At the start, a revision that the ledger knows
    as superseded is a roll-back if this instance applied the one in force, else perhaps a lagging copy.
    """
    current = revisions.get(in_force)
    witnessed = change.witnessed and (current is None or change.seen >= current.applied)
    if witnessed or change.revision == in_force or change.revision not in revisions:
        return None
    if current is not None and current.instance == instance:
        return None
    return Held(
        change,
        "stale",
        f"the file holds revision {change.revision[:12]}, which was superseded by {in_force[:12]}"
        + (f" (applied by {current.instance})" if current is not None else "")
        + "; it takes force if the file does not change, or at once with `dispatcher adopt`",
        now + hold_ms,
    )


def guarded(change: ChangeSet, guard: RemovalGuard) -> Held | None:
    """Return why a change set must wait because it removes too much, or None."""
    if not guard.holds(change):
        return None
    return Held(
        change,
        "removal",
        f"the file would remove {change.removed_in_all} of {change.in_force_in_all} jobs; "
        "confirm with `dispatcher adopt` or mend the file",
        None,
    )


def steps(change: ChangeSet) -> Iterator[tuple[str, Job | None]]:
    """Yield (name, new job or None when removed) of every job a change set touches."""
    touched = chain(change.added, change.changed)
    return chain(((job.name, job) for job in touched), ((name, None) for name in change.removed))


def job_facts(
    name: str, job: Job | None, old: JobRecord | None, numbered: Numbered, *, retimed: bool
) -> JobVersions:
    """Return the ledger record that brings a job's new version (or its removal)."""
    kept = (
        () if old is None or not numbered.keep_old else (old.version(), *(one.version() for one in old.past))
    )
    if job is None:
        if not numbered.keep_old or numbered.effective_from is not None:
            return JobVersions(name, ())
        return JobVersions(name, (Version(numbered.number, numbered.revision, None, "", None, None), *kept))
    timed_from = numbered.effective_from if retimed or old is None else old.timed_from
    version = Version(
        numbered.number,
        numbered.revision,
        job.definition,
        job.trigger.digest,
        numbered.effective_from,
        timed_from,
    )
    return JobVersions(name, (version, *kept))


def job_event(name: str, job: Job | None, old: JobRecord | None, numbered: Numbered) -> Event:
    """Return the event that tells of a job's new version, with its validity."""
    kind = "job.removed" if job is None else "job.added" if old is None else "job.changed"
    definitions = []
    if job is not None:
        definitions.append(("definition", job.definition))
    if old is not None:
        definitions.append(("previous", old.job.definition))
    effective_from = None if numbered.effective_from is None else to_text(numbered.effective_from)
    data = {"change": numbered.number, "revision": numbered.revision, "effectiveFrom": effective_from}
    return Event(kind, f"{kind}/{name}/{numbered.number}", name, data, definitions=tuple(definitions))


def is_retimed(job: Job | None, old: JobRecord | None) -> bool:
    """Return whether a job's trigger differs from the one in force."""
    return job is None or old is None or job.trigger.digest != old.job.trigger.digest


def owed(
    old: JobRecord, effective_from: Instant, cursor: Cursor, maker: MessageMaker, revision: str
) -> tuple[list[Timer], list[Skip]]:
    """Return what a job's old version still owes, as timers: planned in time, due behind the cursor."""
    job = old.job
    timers: list[Timer] = []
    skips: list[Skip] = []
    grace = None if job.policy.catch_up is CatchUp.ALL else job.policy.grace_ms
    after = max(old.effective_from, cursor.due - job.delay_ms - (job.name > cursor.name))
    while (planned := job.trigger.next_after(after)) is not None and planned <= effective_from:
        try:
            timers.append(timer_of(job, planned, maker.fire(job, planned, revision), grace))
        except KeyError as error:
            skips.append(Skip(job.name, f"unsendable: no topic {error.args[0]!r}", 1, planned - 1, planned))
        after = planned
    if timers and job.policy.catch_up is CatchUp.LATEST:
        timers[-1] = replace(timers[-1], grace_ms=None)
    return timers, skips


def ended_backlog(old: JobRecord, job: Job | None, backlog: tuple[Interval, ...]) -> list[Skip]:
    """Return the skips that end the backlog of a job that is removed or re-timed."""
    return dropped(old, backlog, "removed" if job is None else "retimed") if backlog else []


def applied_event(change: ChangeSet, numbered: Numbered, previous: str, shard: int, instance: str) -> Event:
    """Return the event that a schedule is in force in this shard, with counts and up to 100 names each."""
    data = {
        "change": numbered.number,
        "revision": change.revision,
        "previous": previous,
        "effectiveFrom": None if numbered.effective_from is None else to_text(numbered.effective_from),
        "seen": to_text(change.seen),
        "instance": instance,
        "added": {"count": len(change.added), "names": [job.name for job in change.added[:NAMES_TOLD]]},
        "changed": {"count": len(change.changed), "names": [job.name for job in change.changed[:NAMES_TOLD]]},
        "removed": {"count": len(change.removed), "names": list(change.removed[:NAMES_TOLD])},
    }
    return Event("schedule.applied", f"schedule.applied/{shard}/{numbered.number}", "", data)


@dataclass(frozen=True, slots=True)
class Flip:
    """What goes into the transaction that puts a change in force, beside the jobs' records."""

    facts: tuple[Fact, ...]
    skips: tuple[Skip, ...]


def flip(
    change: ChangeSet,
    records: Mapping[str, JobRecord],
    position: Position,
    effective_from: Instant,
    maker: MessageMaker,
) -> Flip:
    """Return what the old versions of the jobs touched leave behind: timers, and skips of their backlog."""
    facts: list[Fact] = []
    skips: list[Skip] = []
    for name, job in steps(change):
        old = records.get(name)
        if old is None:
            continue
        timers, unsendable = owed(old, effective_from, position.cursor, maker, position.revision)
        facts += timers
        skips += unsendable
        if is_retimed(job, old):
            skips += ended_backlog(old, job, position.backlog)
    return Flip(tuple(facts), tuple(skips))


def held_event(held: Held, shard: int, now: Instant) -> Event:
    """Return the event that a change set waits, and for what."""
    data = {
        "revision": held.change.revision,
        "reason": held.reason,
        "why": held.text,
        "until": None if held.until is None else to_text(held.until),
    }
    return Event("schedule.held", f"schedule.held/{shard}/{held.change.revision}/{to_text(now)}", "", data)
