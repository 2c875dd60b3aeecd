"""The state of one shard: what its ledger says, in memory. It changes only by applying facts.

The same `apply` serves a restore, where facts come from the ledger, and remembering, where they come
from a transaction that has just committed. So memory can never be anything but what the ledger holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dispatcher.core.instant import Instant
from dispatcher.core.job import Job, JobReader
from dispatcher.core.ledger import (
    Change,
    Cursor,
    Fact,
    Identity,
    JobVersions,
    Owner,
    Position,
    Revision,
    RevisionGone,
    Timer,
    TimerGone,
    Version,
)
from dispatcher.core.record import JobRecord

NO_JOBS: Mapping[str, Job] = {}


class ShardState:
    """What a shard's ledger partition says. One owner: the shard's thread."""

    def __init__(self, reader: JobReader | None = None) -> None:
        self.position: Position | None = None
        self.records: dict[str, JobRecord] = {}
        self.timers: dict[str, Timer] = {}
        self.revisions: dict[str, Revision] = {}
        self.changes: dict[int, Instant] = {}
        self.identity: Identity | None = None
        self.owner: Owner | None = None
        self.garbage: set[str] = set()
        """Names whose ledger record no longer says anything and may be deleted."""
        self._staged: dict[str, tuple[tuple[Version, ...], Job | None]] = {}
        self._reader = reader or JobReader()

    def restore(self, facts: Iterable[Fact]) -> None:
        """Take in the facts of a ledger read to its end, in whatever order they come."""
        jobs: dict[str, JobVersions] = {}
        for fact in facts:
            if isinstance(fact, JobVersions):
                jobs[fact.name] = fact
            else:
                self.apply(fact)
        for one in jobs.values():
            self._restore_job(one)

    def read_on(self, facts: Iterable[Fact]) -> None:
        """Take in, in order, the facts behind those known: the ledger was read further."""
        for fact in facts:
            self.apply(fact)

    def apply(self, fact: Fact, jobs: Mapping[str, Job] = NO_JOBS) -> None:
        """Take in one committed fact. `jobs` spares the reading of definitions already read."""
        match fact:
            case Position():
                self._move(fact)
            case JobVersions():
                self._stage(fact, jobs)
            case Timer():
                self.timers[fact.id] = fact
            case TimerGone():
                self.timers.pop(fact.id, None)
            case Change():
                self.changes[fact.number] = fact.effective_from
            case Revision():
                self.revisions.pop(fact.revision, None)
                self.revisions[fact.revision] = fact
            case RevisionGone():
                self.revisions.pop(fact.revision, None)
            case Identity():
                self.identity = fact
            case Owner():
                self.owner = fact

    def next_change(self) -> int:
        """Return a change number never used before: events of an abandoned change keep theirs for ever."""
        used = self.position.change if self.position is not None else 0
        return max(used, *self.abandoned(), 0) + 1

    def abandoned(self) -> tuple[int, ...]:
        """Return the numbers of changes that were begun in pieces and never applied."""
        known = set(self.position.abandoned) if self.position is not None else set()
        return tuple(sorted(known | {versions[0].change for versions, _ in self._staged.values()}))

    def cursor(self) -> Cursor:
        """Return the shard's cursor. There must be a position."""
        assert self.position is not None
        return self.position.cursor

    def _move(self, position: Position) -> None:
        before = self.position
        self.position = position
        if before is not None and position.change > before.change:
            staged, self._staged = self._staged, {}
            for name, (versions, job) in staged.items():
                if versions[0].change == position.change:
                    self._put_in_force(name, versions, job)
                elif name not in self.records:
                    self.garbage.add(name)

    def _stage(self, fact: JobVersions, jobs: Mapping[str, Job]) -> None:
        if not fact.versions:
            self.records.pop(fact.name, None)
            self.garbage.discard(fact.name)
            return
        newest = fact.versions[0]
        self.garbage.discard(fact.name)
        job = None
        if newest.definition is not None:
            job = jobs.get(fact.name) or self._reader.read(newest.definition)
        if self._applied(newest):
            self._put_in_force(fact.name, fact.versions, job)
        else:
            self._staged[fact.name] = (fact.versions, job)

    def _put_in_force(self, name: str, versions: tuple[Version, ...], job: Job | None) -> None:
        if job is None:
            self.records.pop(name, None)
            self.garbage.add(name)
            return
        backlog = self.position is not None and self.position.backlog
        past = tuple(self._past(versions[1:])) if backlog else ()
        self.records[name] = self._record(versions[0], job, past)

    def _restore_job(self, fact: JobVersions) -> None:
        versions = fact.versions
        if not versions:
            return
        if not self._applied(versions[0]):
            newest = versions[0].definition
            self._staged[fact.name] = (versions, None if newest is None else self._reader.read(newest))
        applied = tuple(version for version in versions if self._applied(version))
        if applied and applied[0].definition is not None:
            self._put_in_force(fact.name, applied, self._reader.read(applied[0].definition))
        else:
            self.garbage.add(fact.name)

    def _applied(self, version: Version) -> bool:
        position = self.position
        return (
            position is not None
            and version.change <= position.change
            and version.change not in position.abandoned
        )

    def _past(self, versions: tuple[Version, ...]) -> Iterable[JobRecord]:
        for version in versions:
            if version.definition is not None and self._applied(version):
                yield self._record(version, self._reader.read(version.definition), ())

    def _record(self, version: Version, job: Job, past: tuple[JobRecord, ...]) -> JobRecord:
        from_change = self.changes.get(version.change)
        effective_from = version.effective_from if version.effective_from is not None else from_change
        assert effective_from is not None, f"change {version.change} of job {job.name!r} has no instant"
        timed_from = version.timed_from if version.timed_from is not None else effective_from
        return JobRecord(
            job, version.change, version.revision, effective_from, timed_from, version.origin, past
        )


def fresh_position() -> Position:
    """Return the position of a ledger that was never written.

    Its cursor is at the very beginning: nothing is planned before the first change, and a clock that is
    wrong at the first start leaves no trace.
    """
    return Position(Cursor(0), revision="", change=0)
