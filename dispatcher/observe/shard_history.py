"""What the events and the ledger of one shard tell: which version of which job was in force when."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from dispatcher.core.ledger import (
    Change,
    Fact,
    Identity,
    JobVersions,
    Position,
    Timer,
    TimerGone,
)
from dispatcher.observe.skips import Skips
from dispatcher.observe.verdict import Wrong
from dispatcher.observe.version import Version, read_version

EVER = 1 << 60


@dataclass(slots=True)
class Tenure:
    """A version of a job, in force for fires planned in (after, until]; `change` is None where unknown."""

    version: Version
    shard: int
    change: int | None
    after: int
    until: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a shard has settled its fires: its position record, and the ids of the timers it holds.

    `waiting` are the ids of the commands that it had not obeyed yet.
    """

    position: Position | None
    timers: Container[str] = ()
    waiting: Container[str] = ()

    def awaits(self, due: int, name: str, fire: str) -> bool:
        """Return whether a fire is still to be settled: by the cursor, the open backlog or a timer."""
        position = self.position
        if position is None or (due, name) > (position.cursor.due, position.cursor.name):
            return True
        for interval in position.backlog:
            if (interval.start.due, interval.start.name) < (due, name) and due < interval.end:
                drained = interval.drained
                if drained is None or (due, name) > (drained.due, drained.name):
                    return True
        return fire in self.timers


@dataclass(frozen=True, slots=True)
class Trigger:
    """A fire that a command asked for: when, of which shard, and the id of the command."""

    planned: int
    shard: int
    command: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The time zone data went from one release to another, for fires planned after an instant."""

    after: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """A shard began anew because its ledger was lost: all its jobs ended at `until`.

    What was due after `after` and planned up to `until` was given up, but for what was committed by then.
    """

    after: int
    until: int
    reason: str


class ShardHistory:
    """The history of one shard. `known_from` is the instant after which all that was planned is known."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.known_from = -1
        self.cut = False
        self.bursts: dict[int, int] = {}
        self.rules: list[Rules] = []
        self.recovered: dict[int, Recovered] = {}
        self.position: Position | None = None
        self.timers: set[str] = set()
        self.waiting: set[str] = set()
        self.distrusted = False
        self.tzdata: str | None = None
        self.told: dict[int, list[tuple[bytes, Version | None, Version | None]]] = {}
        self.applied: dict[int, tuple[int, int | None]] = {}
        self._changes: dict[int, int] = {}
        self._jobs: dict[str, JobVersions] = {}

    def fact(self, fact: Fact) -> None:
        """Take in a fact of the shard's ledger."""
        match fact:
            case Position():
                self.position = fact
            case Timer():
                self.timers.add(fact.id)
            case TimerGone():
                self.timers.discard(fact.id)
            case Change():
                self._changes[fact.number] = fact.effective_from
            case Identity():
                self.tzdata = fact.tzdata
            case JobVersions():
                self._jobs[fact.name] = fact

    def incomplete(self) -> Iterator[tuple[int, int, int]]:
        """Yield (change, jobs it touched, jobs told of) of every applied change that lacks events."""
        for change, (_, touched) in self.applied.items():
            told = len(self.told.get(change, ()))
            if touched is not None and touched != told:
                yield change, touched, told

    def tenures(self) -> dict[bytes, list[Tenure]]:
        """Return all tenures that are known, by job and in order."""
        found: dict[bytes, list[Tenure]] = {}
        for change in sorted({*self.applied, *self.recovered}):
            if change in self.recovered:
                _end(found, self.recovered[change].until)
                continue
            at = self.applied[change][0]
            for name, new, old in self.told.get(change, ()):
                self._turn(found.setdefault(name, []), new, old, change, at)
        for job, fact in self._jobs.items():
            if job.encode() not in found:
                found.update(self._of_ledger(fact))
        return found

    def other_rules(self, at: int, ours: str) -> bool:
        """Return whether a fire was planned by another release of the time zone data than ours."""
        release = self.tzdata or ours
        for rules in reversed(self.rules):
            release = rules.new if at > rules.after else rules.old
            if at > rules.after:
                break
        return release != ours

    def beyond(self, standing: Standing) -> bool:
        """Return whether the events tell of more than the ledger: then it was lost, or is an older copy."""
        known = 0 if standing.position is None else standing.position.change
        return max([*self.applied, *self.recovered], default=0) > known

    def doubtful(self, standing: Standing | None) -> bool:
        """Return whether the ledger cannot say what is still to come: it holds less than there was."""
        return self.distrusted or (standing is not None and self.beyond(standing))

    def given_up(self, due: int, planned: int) -> str | None:
        """Return why a fire that was not committed was given up, None when it was not."""
        for one in self.recovered.values():
            if due > one.after and planned <= one.until:
                return one.reason
        return None

    def _turn(
        self, tenures: list[Tenure], new: Version | None, old: Version | None, change: int, at: int
    ) -> None:
        if tenures:
            tenures[-1].until = min(tenures[-1].until, at)
        elif old is not None and self.cut:
            tenures.append(Tenure(old, self.number, None, self.known_from, at))
        if new is not None:
            tenures.append(Tenure(new, self.number, change, max(at, self.known_from), EVER))

    def _of_ledger(self, fact: JobVersions) -> Iterator[tuple[bytes, list[Tenure]]]:
        position = self.position
        for one in fact.versions:
            if position is None or one.change > position.change or one.change in position.abandoned:
                continue
            since = one.effective_from if one.effective_from is not None else self._changes[one.change]
            if one.definition is not None:
                version = read_version(one.definition)
                yield (
                    version.name,
                    [Tenure(version, self.number, one.change, max(since, self.known_from), EVER)],
                )
            return


def _end(found: dict[bytes, list[Tenure]], at: int) -> None:
    """End all tenures at an instant."""
    for tenures in found.values():
        for tenure in tenures[-1:]:
            tenure.until = min(tenure.until, at)


@dataclass(slots=True)
class History:
    """The history of an installation, as far as it was fed."""

    prefix: str
    tzdata: str
    shards: list[ShardHistory]
    skips: Skips
    faults: list[Wrong]
    triggered: dict[bytes, Trigger] = field(default_factory=dict)
    worked: bool = False
    """Whether a worker has ever told of a run."""
    told: bool = False
    """Whether there are events about runs, which a second reading is to count."""
