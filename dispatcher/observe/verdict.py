"""What became of every planned fire: the counts, and a list of what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_LISTED = 100

KINDS = ("lost", "doubled", "early", "unexpected", "miscounted", "overended", "unended")


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong.

    `planned` is the fire's instant in milliseconds, `shard` and `change` say where and under which change
    it was planned; None where that is not known. `places` are the records concerned, `why` is prose.
    """

    kind: str
    job: str
    planned: int | None
    shard: int | None
    change: int | None
    why: str
    attempt: int = 1
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the fires planned in a stretch of time.

    `planned = committed + skipped + pending + unknown + lost`: each planned fire is in one of them, and a
    doubled one in `committed` if it was, else in `skipped`. `pending` are not settled yet, `unknown` may have
    been committed to a part of a topic that is no longer kept, or their ledger was lost, or is an older copy.
    `early` and `untimed` count records: sent before they were due, or with no telling when. `unexpected` are
    fires nobody planned, `miscounted` records of history that do not add up. `unjudged` are records of fires
    planned before history reaches.

    Fires that commands asked for count as planned. `lost`, `doubled` and `unexpected` count attempts beyond
    the first, too, of fires that are committed. `judged_runs` tells whether workers have told of any run:
    then each committed fire has `ended` or is `running`, but for those in topics of jobs' own.
    `overended` have more than one end, and one more for each redrive; `unended` are those that run though all
    should have ended, if that is asked. `retried` are attempts beyond the first that were committed,
    `redelivered` runs that a worker had begun before and not ended.
    `wrong` lists at most 100 of each kind; the counts are exact.
    """

    planned: int = 0
    committed: int = 0
    skipped: int = 0
    pending: int = 0
    unknown: int = 0
    unjudged: int = 0
    untimed: int = 0
    lost: int = 0
    doubled: int = 0
    early: int = 0
    unexpected: int = 0
    miscounted: int = 0
    judged_runs: bool = False
    ended: int = 0
    running: int = 0
    retried: int = 0
    redelivered: int = 0
    overended: int = 0
    unended: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    wrong: tuple[Wrong, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any(getattr(self, kind) for kind in KINDS)

    @property
    def judged(self) -> bool:
        """Whether there was anything to judge, if there was anything at all."""
        told = self.committed + self.skipped + self.pending + self.lost
        return bool(told) or not (self.unknown or self.unjudged)


class Findings:
    """Counts what is wrong and lists at most 100 of each kind."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self._listed: dict[str, list[Wrong]] = {kind: [] for kind in KINDS}

    def wants(self, kind: str) -> bool:
        """Count one of a kind; return whether it is still to be listed."""
        self.counts[kind] += 1
        return len(self._listed[kind]) < MOST_LISTED

    def add(self, wrong: Wrong) -> None:
        """List one that is wanted."""
        self._listed[wrong.kind].append(wrong)

    def listed(self, kind: str) -> list[Wrong]:
        """Return what is listed of a kind."""
        return self._listed[kind]
