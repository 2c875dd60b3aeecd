"""A shard's changes of schedule: admitted or held, brought in one transaction or in pieces, put in force."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest
from operator import attrgetter

from dispatcher.core.batch import Draft, Limits
from dispatcher.core.change import (
    Held,
    Numbered,
    admit,
    applied_event,
    flip,
    guarded,
    held_event,
    is_retimed,
    job_event,
    job_facts,
    steps,
)
from dispatcher.core.instant import Instant
from dispatcher.core.job import Job
from dispatcher.core.ledger import Change, Fact, PausedGone, Revision, RevisionGone
from dispatcher.core.message import MessageMaker
from dispatcher.core.schedule import ChangeSet, seen_by
from dispatcher.core.state import ShardState

_REVISIONS_KEPT = 1_000


@dataclass(slots=True)
class _Staging:
    """A change brought in pieces: how many of its steps are written."""

    change: ChangeSet
    number: int
    todo: list[tuple[str, Job | None]]
    done: int = 0


class Changing:
    """Holds the change set that waits and brings it into force, piece by piece where it is large."""

    def __init__(
        self, shard: int, state: ShardState, maker: MessageMaker, *, instance: str, limits: Limits
    ) -> None:
        self.held: Held | None = None
        self.recompare = False
        """Set when a change set no longer fits what is in force: the file is to be compared again."""
        self._shard = shard
        self._state = state
        self._maker = maker
        self._instance = instance
        self._limits = limits
        self._change: ChangeSet | None = None
        self._staging: _Staging | None = None
        self._adopted: str | None = None
        self._taken = 0

    @property
    def waiting(self) -> bool:
        """Whether there is a change to bring in that nothing holds."""
        return self._staging is not None or (self._change is not None and self.held is None)

    @property
    def pending(self) -> ChangeSet | None:
        """The change set that waits as a whole and that nothing holds."""
        return self._change if self.held is None else None

    @property
    def staging(self) -> bool:
        """Whether a change is being brought in pieces."""
        return self._staging is not None

    def offer(self, change: ChangeSet) -> None:
        """Take a change set; it replaces one that still waits, also one of which pieces are written."""
        self._change = change
        if self.held is not None and self.held.change.revision != change.revision:
            self.held = None

    def forget_all_but(self, revision: str) -> Held | None:
        """Give up a change set that waits, unless it is of this revision: the file has changed again.

        An empty revision says that the file cannot be read now, which changes nothing. Returns the hold
        that ends with it.
        """
        if self._change is None or revision in ("", self._change.revision):
            return None
        held, self._change, self.held = self.held, None, None
        return held

    def adopt(self) -> bool:
        """Let the change that is held take force; return whether one was."""
        if self._change is None or self.held is None:
            return False
        self._adopted = self._change.revision
        self.held = None
        return True

    def reset(self) -> None:
        """Forget what was half brought in: the ledger was read anew. The file must be compared again."""
        self.recompare = self.recompare or self._staging is not None or self._change is not None
        self._staging = None
        self._change = None

    def draft(self, now: Instant, into: Draft) -> bool:
        """Put the next piece of a change into a draft; return whether there is one."""
        if self._change is not None and self._staging is not None:
            self._staging = None
        if self._staging is not None:
            return self._next_piece(now, self._staging, into)
        change = self._change
        if change is None or not self._fits(change):
            return False
        news = self._newly_held(change, now)
        if news is not None:
            into.kind = "held"
            into.events.append(held_event(news, self._shard, now))
            return True
        if self.held is not None:
            return False
        number = self._state.next_change()
        if len(change) > self._limits.piece:
            self._staging = _Staging(change, number, list(steps(change)))
            self._change = None
            return self._next_piece(now, self._staging, into)
        return self._apply(now, change, number, into)

    def touched(self) -> list[str] | None:
        """Return the names of the change that is being brought in pieces, or None."""
        return None if self._staging is None else [name for name, _ in self._staging.todo]

    def committed(self, kind: str) -> None:
        """Learn that a piece, or the change itself, is committed."""
        if kind == "change.piece" and self._staging is not None:
            self._staging.done += self._taken
        elif kind == "change":
            self._staging = None
            self._change = None
            self._adopted = None
            self.held = None

    def until(self) -> Instant | None:
        """Return when a held change is to be looked at again."""
        return None if self.held is None or self._change is None else self.held.until

    def _fits(self, change: ChangeSet) -> bool:
        assert self._state.position is not None
        if change.base == self._state.position.change:
            return True
        self._change = None
        self.recompare = True
        return False

    def _newly_held(self, change: ChangeSet, now: Instant) -> Held | None:
        """Judge whether a change set must wait; return why, when that was not told yet."""
        before = self.held
        if self._adopted == change.revision or (
            before is not None and (before.until is None or now < before.until)
        ):
            return None
        self.held = guarded(change, self._limits.guard) if before is not None else self._judge(change, now)
        return self.held

    def _judge(self, change: ChangeSet, now: Instant) -> Held | None:
        position = self._state.position
        assert position is not None
        stale = admit(
            change,
            self._state.revisions,
            position.revision,
            self._instance,
            now=now,
            hold_ms=self._limits.stale_hold_ms,
        )
        return stale or guarded(change, self._limits.guard)

    def _next_piece(self, now: Instant, staging: _Staging, into: Draft) -> bool:
        todo = staging.todo[staging.done : staging.done + self._limits.piece]
        if not todo:
            return self._apply(now, staging.change, staging.number, into, staged=True)
        self._taken = len(todo)
        into.kind = "change.piece"
        into.jobs = {name: job for name, job in todo if job is not None}
        self._put_jobs(todo, Numbered(staging.number, staging.change.revision, None, keep_old=True), into)
        return True

    def _apply(
        self, now: Instant, change: ChangeSet, number: int, into: Draft, *, staged: bool = False
    ) -> bool:
        """Put into the draft what puts a change in force."""
        position = into.position
        effective_from = max(seen_by(change, now), position.cursor.due, position.effective_from)
        numbered = Numbered(number, change.revision, effective_from, keep_old=bool(position.backlog))
        into.kind = "change"
        if staged:
            into.facts.append(Change(number, effective_from))
        else:
            into.jobs = {name: job for name, job in steps(change) if job is not None}
            self._put_jobs(steps(change), numbered, into)
        left = flip(change, self._state.records, into.position, effective_from, self._maker)
        into.skips += left.skips
        into.facts += [*left.facts, Revision(change.revision, now, self._instance), *self._old_revisions()]
        into.facts += [PausedGone(name) for name in change.removed if name in self._state.paused]
        into.events.append(applied_event(change, numbered, position.revision, self._shard, self._instance))
        abandoned = tuple(one for one in self._state.abandoned() if one != number)
        into.move(revision=change.revision, change=number, effective_from=effective_from, abandoned=abandoned)
        return True

    def _put_jobs(self, todo: Iterable[tuple[str, Job | None]], numbered: Numbered, into: Draft) -> None:
        for name, job in todo:
            old = self._state.records.get(name)
            into.facts.append(job_facts(name, job, old, numbered, retimed=is_retimed(job, old)))
            into.events.append(job_event(name, job, old, numbered))

    def _old_revisions(self) -> list[Fact]:
        revisions = self._state.revisions.values()
        over = len(revisions) - _REVISIONS_KEPT
        oldest = nsmallest(over, revisions, key=attrgetter("applied")) if over > 0 else ()
        return [RevisionGone(one.revision) for one in oldest]
