"""Bursts: what is due at one instant and takes long to send is written before it and committed at it.

A transaction that waits open must still be right when its instant comes. So nothing but fires of that one
instant and the cursor goes into it, beside word of the burst before, and whatever would have made other fires
of it gives it up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dispatcher.core.batch import Batch, Limits
from dispatcher.core.event import Event
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.job import Job
from dispatcher.core.ledger import Position
from dispatcher.core.message import Outgoing
from dispatcher.core.record import JobRecord
from dispatcher.core.schedule import ChangeSet, seen_by
from dispatcher.core.trigger import Trigger

_MARGIN_MS = 400
"""Time that a staging has to spare: brokers and machines are not always as fast as they can be."""


def begins(at: Instant, count: int, limits: Limits) -> Instant | None:
    """Return when to begin staging `count` fires of an instant, None when they are too few for it.

    The transaction stays open no longer than it must: its readers, backlog and changes wait meanwhile.
    """
    if not limits.stage_ahead_ms or count < limits.stage_from:
        return None
    needed = _MARGIN_MS + min(count, limits.stage_most) * 1000 // limits.stage_rate
    return at - min(limits.stage_ahead_ms, needed)


def spare(at: Instant, now: Instant) -> float:
    """Return the seconds there are, at `now`, to write what is staged for an instant."""
    return max(0, at - _MARGIN_MS - now) / 1000


def fitting(messages: Sequence[Outgoing | None], most: int) -> int:
    """Return how many messages from the first on have values of at most `most` bytes together, at least 1."""
    total = 0
    for count, message in enumerate(messages):
        total += 0 if message is None else len(message[1] or b"")
        if total > most:
            return max(1, count)
    return len(messages)


def shares_partitions(job: Job, partitions: int | None, shards: int) -> bool:
    """Return whether a job's messages may lie where other shards write: an open transaction stops those.

    So an own key is never staged, nor is an own topic whose partitions are no multiple of the shards.
    """
    return job.route.key is not None or partitions is None or partitions % shards != 0


def strayed(at: Instant, now: Instant, limits: Limits) -> str | None:
    """Return why what waits for an instant must not wait, or be committed, by a clock that says `now`."""
    if at - now > limits.stage_ahead_ms:
        return f"the clock was set back to {to_text(now)}, further than stagings reach"
    if now - at > limits.behind_ms:
        return f"it is {to_text(now)} already: what is so late counts as missed"
    return None


def touches(
    change: ChangeSet, records: Mapping[str, JobRecord], position: Position, at: Instant, now: Instant
) -> bool:
    """Return whether it matters to any fire that a change waits, at `now`, for the commit of an instant.

    Now it takes effect after what `Changing` says, then after the instant itself. These are the same unless
    a job that it adds, removes or changes has a planned instant, old or new, between the two.
    """
    if change.base != position.change:
        return True
    after = max(seen_by(change, now), position.cursor.due, position.effective_from)
    return after < at and any(_plans(trigger, after, at) for trigger in _triggers(change, records))


def landed(batch: Batch, committed: Instant, shard: int) -> Event:
    """Return the event that a staged batch was committed, no earlier than `committed`."""
    assert batch.at is not None
    due = to_text(batch.at)
    data = {
        "due": due,
        "fires": batch.fires,
        "stagedAt": to_text(batch.decided),
        "committedAt": to_text(committed),
    }
    return Event("burst.landed", f"burst.landed/{shard}/{due}", "", data)


def _triggers(change: ChangeSet, records: Mapping[str, JobRecord]) -> Iterator[Trigger]:
    """Yield every trigger, old and new, of the jobs that a change touches: each meaning once."""
    known: set[str] = set()
    for job in _jobs(change, records):
        if job.trigger.digest not in known:
            known.add(job.trigger.digest)
            yield job.trigger


def _jobs(change: ChangeSet, records: Mapping[str, JobRecord]) -> Iterator[Job]:
    yield from change.added
    yield from change.changed
    for name in (*(job.name for job in change.changed), *change.removed):
        if name in records:
            yield records[name].job


def _plans(trigger: Trigger, after: Instant, until: Instant) -> bool:
    planned = trigger.next_after(after)
    return planned is not None and planned <= until
