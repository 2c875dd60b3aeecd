"""The state of one shard: what its ledger says, in memory. It changes only by applying facts.

The same `apply` serves a restore, where facts come from the ledger, remembering, where they come from a
transaction that has just committed, and a standby that reads what another one commits. So memory can never
be anything but what the ledger holds, whichever way it came to be.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count, islice, takewhile

from dispatcher.core.instant import Instant
from dispatcher.core.job import Job, JobReader
from dispatcher.core.ledger import (
    Change,
    ChangeGone,
    Cursor,
    Done,
    DoneGone,
    Fact,
    Identity,
    JobVersions,
    Owner,
    Paused,
    PausedGone,
    Position,
    Revision,
    RevisionGone,
    Timer,
    TimerGone,
    Version,
)
from dispatcher.core.record import JobRecord

NO_JOBS: Mapping[str, Job] = {}
_DONE_KEPT_MS = 6 * 3_600_000
_DONE_KEPT = 100_000
"""So many at the most: each costs memory here, and a record in the ledger."""


class ShardState:
    """What a shard's ledger partition says. One owner: the thread that reads it or works by it."""

    def __init__(self, reader: JobReader | None = None) -> None:
        self.position: Position | None = None
        self.records: dict[str, JobRecord] = {}
        self.timers: dict[str, Timer] = {}
        self.paused: dict[str, Instant] = {}
        """The jobs whose planned fires are skipped, and since when."""
        self.done: dict[str, Instant] = {}
        """What must not be done twice, and when it was done."""
        self._done_by_age: list[tuple[Instant, str]] = []
        self.revisions: dict[str, Revision] = {}
        self.changes: dict[int, Instant] = {}
        self.identity: Identity | None = None
        self.owner: Owner | None = None
        self.garbage: set[str] = set()
        """Names whose ledger record says what is in force no longer or never was: see `tidied`."""
        self._open: dict[str, tuple[tuple[Version, ...], Job | None]] = {}
        """Versions that may yet come into force, and the job of the newest of them."""
        self._with_past: set[str] = set()
        self._unused: list[int] | None = None
        self._reader = reader or JobReader()

    def restore(self, facts: Iterable[Fact]) -> None:
        """Take in the facts of a ledger read to its end, in whatever order they come."""
        jobs: list[JobVersions] = []
        position = None
        for fact in facts:
            if isinstance(fact, JobVersions):
                jobs.append(fact)
            elif isinstance(fact, Position):
                position = fact
            else:
                self.apply(fact)
        if position is not None:
            self.apply(position)
        for one in jobs:
            self.apply(one)

    def read_on(self, facts: Iterable[Fact]) -> None:
        """Take in, in order, the facts behind those known: the ledger was read further.

        Compaction may have taken superseded ones. What is read up to the ledger's end says what a restore
        from all of it would; what is read less far may lack what a later fact brings.
        """
        for fact in facts:
            self.apply(fact)

    def apply(self, fact: Fact, jobs: Mapping[str, Job] = NO_JOBS) -> None:
        """Take in one committed fact. `jobs` spares the reading of definitions already read."""
        match fact:
            case Position():
                self._move(fact)
            case JobVersions():
                self._replace(fact, jobs.get(fact.name))
            case Timer() | Change() | Revision() | Paused() | Done():
                self._keep(fact)
            case TimerGone() | RevisionGone() | ChangeGone() | PausedGone() | DoneGone():
                self._forget(fact)
            case Identity():
                self.identity = fact
            case Owner():
                self.owner = fact

    # What it says.

    def cursor(self) -> Cursor:
        """Return the shard's cursor. There must be a position."""
        assert self.position is not None
        return self.position.cursor

    def next_change(self) -> int:
        """Return a change number never used before: events of an abandoned change keep theirs for ever."""
        used = self.position.change if self.position is not None else 0
        return max(used, *self.abandoned(), 0) + 1

    def abandoned(self) -> tuple[int, ...]:
        """Return the numbers of changes that were begun in pieces and never applied.

        Those that no record of the ledger holds any more are left out, but for one that is the highest
        number ever used.
        """
        change, known = 0, set[int]()
        if self.position is not None:
            change, known = self.position.change, set(self.position.abandoned)
        if not self.garbage and not self._open:
            known = {one for one in known if one > change and one == max(known)}
        begun = {one.change for versions, _ in self._open.values() for one in versions if self._may_come(one)}
        return tuple(sorted(known | begun))

    def unused_changes(self) -> list[int]:
        """Return the numbers of changes applied in pieces whose instant no job's version needs any more."""
        if self._unused is None:
            used = {record.change for record in self.records.values()}
            used |= {past.change for name in self._with_past for past in self.records[name].past}
            used |= {one.change for versions, _ in self._open.values() for one in versions}
            self._unused = sorted(self.changes.keys() - used)
        return self._unused

    def tidied(self, name: str) -> JobVersions:
        """Return the ledger record that says of a job what is in force and nothing else."""
        record = self.records.get(name)
        if record is None:
            return JobVersions(name, ())
        return JobVersions(name, (record.version(), *(one.version() for one in record.past)))

    def is_empty(self) -> bool:
        """Return whether nothing was taken in, or nothing is left of it."""
        parts = (self.records, self._open, self.garbage, self.timers, self.revisions, self.changes)
        words = (self.paused, self.done, self.position, self.identity, self.owner)
        return not any(parts) and not any(words)

    def long_done(self, now: Instant, most: int) -> list[str]:
        """Return ids, at most so many, of what was done so long ago, or before so much, that it may go."""
        over = min(most, len(self.done) - _DONE_KEPT)
        oldest = islice(self._done_by_age, most)
        old = takewhile(lambda one: one[0][0] <= now - _DONE_KEPT_MS or one[1] < over, zip(oldest, count()))
        return [ident for (_, ident), _ in old]

    def without_instant(self) -> list[str]:
        """Return the names of jobs whose version in force lacks its instant: the ledger lost a record."""
        return [
            name
            for name, (versions, _) in self._open.items()
            if not any(self._may_come(one) for one in versions)
        ]

    # How it moves.

    def _move(self, position: Position) -> None:
        before, self.position = self.position, position
        if before is not None and before.change == position.change and before.abandoned == position.abandoned:
            if self._with_past and before.backlog != position.backlog:
                self._forget_past()
            return
        self._unused = None
        opened, self._open = self._open, {}
        for name, (versions, job) in opened.items():
            self._weigh(name, versions, job)
        self._forget_past()

    def _keep(self, fact: Timer | Change | Revision | Paused | Done) -> None:
        match fact:
            case Timer():
                self.timers[fact.id] = fact
            case Change():
                self.changes[fact.number] = fact.effective_from
            case Revision():
                self.revisions[fact.revision] = fact
            case Paused():
                self.paused[fact.job] = fact.since
            case Done():
                self._forget_done(fact.id)
                self.done[fact.id] = fact.at
                insort(self._done_by_age, (fact.at, fact.id))

    def _forget_done(self, ident: str) -> None:
        at = self.done.pop(ident, None)
        if at is not None:
            del self._done_by_age[bisect_left(self._done_by_age, (at, ident))]

    def _forget(self, fact: TimerGone | RevisionGone | ChangeGone | PausedGone | DoneGone) -> None:
        match fact:
            case PausedGone():
                self.paused.pop(fact.job, None)
            case DoneGone():
                self._forget_done(fact.id)
            case TimerGone():
                self.timers.pop(fact.id, None)
            case RevisionGone():
                self.revisions.pop(fact.revision, None)
            case ChangeGone():
                self.changes.pop(fact.number, None)
                self._unused = None

    def _replace(self, fact: JobVersions, job: Job | None) -> None:
        """Let a job's ledger record take the place of the one before."""
        self.garbage.discard(fact.name)
        self._open.pop(fact.name, None)
        if fact.versions:
            self._weigh(fact.name, fact.versions, job)
        else:
            self._drop(fact.name)

    def _weigh(self, name: str, versions: tuple[Version, ...], job: Job | None) -> None:
        """Put the newest version in force that is applied; keep those that may come; `job` is the first's."""
        place = self._in_force(versions)
        if place != 0 and any(map(self._may_come, versions)):
            self._open[name] = (versions, job or self._read(name, versions[0]))
        elif place != 0 or versions[0].definition is None:
            self.garbage.add(name)
        if place is None:
            if name in self.garbage:
                self._drop(name)
            return
        version = versions[place]
        if version.definition is None:
            self._drop(name)
            return
        record = self._record(version, (job if place == 0 else None) or self._read(name, version))
        past = self._past(name, versions[place + 1 :]) if self._owes(version) else ()
        if record is None or None in past:
            self._open[name] = (versions, job)  # its instant was compacted away: a newer record of it follows
            return
        self._put(name, record, tuple(one for one in past if one is not None))

    def _in_force(self, versions: tuple[Version, ...]) -> int | None:
        """Return which version is in force, or None."""
        if self._applied(versions[0]):
            return 0
        return next((number for number, one in enumerate(versions) if self._applied(one)), None)

    def _put(self, name: str, record: JobRecord, past: tuple[JobRecord, ...]) -> None:
        if past:
            self._with_past.add(name)
            record = replace(record, past=past)
        else:
            self._with_past.discard(name)
        self.records[name] = record

    def _drop(self, name: str) -> None:
        self.records.pop(name, None)
        self._with_past.discard(name)

    def _forget_past(self) -> None:
        """Drop the older versions that no backlog needs any more; what is missed later never needs them."""
        for name in list(self._with_past):
            record = self.records[name]
            if not self._owes(record):
                self._put(name, replace(record, past=()), ())

    def _owes(self, version: Version | JobRecord) -> bool:
        """Return whether some backlog was missed under an older version."""
        position = self.position
        if position is None or not position.backlog:
            return False
        return any(one.change < version.change for one in position.backlog)

    def _applied(self, version: Version) -> bool:
        position = self.position
        return (
            position is not None
            and version.change <= position.change
            and version.change not in position.abandoned
        )

    def _may_come(self, version: Version) -> bool:
        position = self.position
        return position is None or (
            version.change > position.change and version.change not in position.abandoned
        )

    def _past(self, name: str, versions: tuple[Version, ...]) -> tuple[JobRecord | None, ...]:
        return tuple(
            self._record(one, job)
            for one in versions
            if self._applied(one) and (job := self._read(name, one)) is not None
        )

    def _read(self, name: str, version: Version) -> Job | None:
        """Return the job of a version, None of a removal."""
        if version.definition is None:
            return None
        known = self.records.get(name)
        if known is not None and known.job.definition == version.definition:
            return known.job
        return self._reader.outline(name, version.definition, version.trigger)

    def _record(self, version: Version, job: Job | None) -> JobRecord | None:
        """Return a version as it is in force, None while its instant is not known."""
        effective_from = version.effective_from
        if effective_from is None:
            effective_from = self.changes.get(version.change)
        if effective_from is None or job is None:
            return None
        timed_from = version.timed_from if version.timed_from is not None else effective_from
        revision = self._reader.share(version.revision)
        return JobRecord(job, version.change, revision, effective_from, timed_from, version.origin)


def fresh_position() -> Position:
    """Return the position of a ledger that was never written.

    Its cursor is at the very beginning: nothing is planned before the first change, and a clock that is
    wrong at the first start leaves no trace.
    """
    return Position(Cursor(0), revision="", change=0)
