"""What a shard's ledger partition holds: facts, one key each.

Restoring must not depend on the order of different keys: compaction keeps only the last of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dispatcher.core.instant import Instant


class Cursor(NamedTuple):
    """A place in the total order of a shard's fires: everything up to (due, name) is settled.

    The empty name stands before every job, so `Cursor(t, "")` covers all that is due before t.
    """

    due: Instant
    name: str = ""


class Interval(NamedTuple):
    """One missed stretch of a shard and how far it is settled.

    It covers the fires after `start` that are due before `end`. Jobs are settled in the order of their
    names up to `named`; then what is within its grace in due order, up to `recent`; then, once
    `recent_done`, what `catchUp: all` sends, up to `drained`, `most` fires of a job at the most (0: all).
    `change` is the number of the schedule change under which it was missed. What is due before the first
    of `drops` is given up before anything else, and that is recorded for the names up to `dropped`.
    """

    start: Cursor
    end: Instant
    change: int
    named: str = ""
    names_done: bool = False
    drained: Cursor | None = None
    recent: Cursor | None = None
    recent_done: bool = False
    most: int = 0
    drops: tuple[Instant, ...] = ()
    dropped: str = ""


class Position(NamedTuple):
    """The cursor record: where a shard stands, written last in each of its transactions.

    `change` is the number of the last applied change, `effective_from` the instant it takes effect after,
    and `abandoned` the numbers below it that never were. `commands` is the next command offset,
    `first` the offset the ledger begins at: 0, unless it was begun anew behind records that were lost.
    """

    cursor: Cursor
    revision: str
    change: int
    abandoned: tuple[int, ...] = ()
    commands: int | None = None
    backlog: tuple[Interval, ...] = ()
    effective_from: Instant = 0
    first: int = 0


class Version(NamedTuple):
    """One version of a job: what it is (None: removed) and from when.

    It is in force once change `change` is applied, for fires planned strictly after `effective_from`
    (None: the instant of that change, in `Change`). `timed_from` is the same for the trigger alone,
    which an edit of the payload does not move.
    """

    change: int
    revision: str
    definition: bytes | None
    trigger: str
    effective_from: Instant | None
    timed_from: Instant | None
    origin: str = "file"


class JobVersions(NamedTuple):
    """A job record: the job's versions, newest first; no versions stand for a tombstone."""

    name: str
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was applied in pieces: the instant it takes effect after."""

    number: int
    effective_from: Instant


@dataclass(frozen=True, slots=True)
class ChangeGone:
    """A change applied in pieces whose instant no version needs any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Timer:
    """A one-shot fire outside the plan. It holds the whole message: later edits change nothing in it.

    Its id is that of its fire, with `#` and the attempt behind it when it is a retry: of each fire and
    attempt there is one at the most. Later than `grace_ms` it becomes a recorded skip; None means it always
    goes out.
    """

    id: str
    job: str
    planned: Instant
    due: Instant
    attempt: int
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    grace_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TimerGone:
    """A timer that has fired or was dropped."""

    id: str


@dataclass(frozen=True, slots=True)
class Paused:
    """A job whose planned fires are recorded as skipped, since when."""

    job: str
    since: Instant


@dataclass(frozen=True, slots=True)
class PausedGone:
    """A job that is paused no longer."""

    job: str


@dataclass(frozen=True, slots=True)
class Done:
    """Something asked for that must not be done twice: its id, and when it was done."""

    id: str
    at: Instant


@dataclass(frozen=True, slots=True)
class DoneGone:
    """Something asked for so long ago that nobody asks for it again."""

    id: str


@dataclass(frozen=True, slots=True)
class Revision:
    """A schedule revision that was in force here: since when, and which instance applied it."""

    revision: str
    applied: Instant
    instance: str


@dataclass(frozen=True, slots=True)
class RevisionGone:
    """A revision too old to be remembered."""

    revision: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What a ledger belongs to. Another cluster, topic or shard count means another ledger.

    `tzdata` and `engine` are the versions of the time zone rules and of the cron engine in use.
    """

    cluster: str
    topics: Mapping[str, str]
    shards: int
    tzdata: str
    engine: str


@dataclass(frozen=True, slots=True)
class Owner:
    """The instance that last took the shard, and when by its own clock."""

    instance: str
    taken: Instant


Fact = (
    Position
    | JobVersions
    | Change
    | ChangeGone
    | Timer
    | TimerGone
    | Paused
    | PausedGone
    | Done
    | DoneGone
    | Revision
    | RevisionGone
    | Identity
    | Owner
)
