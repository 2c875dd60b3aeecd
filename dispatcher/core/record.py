"""A job as it is in force in a shard: the job, since when, and the versions that missed fires still need."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.instant import Instant
from dispatcher.core.job import Job
from dispatcher.core.ledger import Version


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in force for fires planned strictly after `effective_from`.

    `timed_from` is the same for its trigger alone. `past` holds older versions, newest first, whose
    fires may still wait in the backlog: they go out as they were.
    """

    job: Job
    change: int
    revision: str
    effective_from: Instant
    timed_from: Instant
    origin: str = "file"
    past: tuple[JobRecord, ...] = ()

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    def missed_under(self, change: int, end: Instant) -> JobRecord | None:
        """Return the version whose fires an interval up to `end`, opened under a change, is to settle.

        None when the job's trigger is younger: then the interval has nothing of it.
        """
        if self.timed_from >= end:
            return None
        return next((one for one in (self, *self.past) if one.change <= change), None)

    def version(self) -> Version:
        """Return the ledger's form of this version."""
        return Version(
            self.change,
            self.revision,
            self.job.definition,
            self.job.trigger.digest,
            self.effective_from,
            self.timed_from,
            self.origin,
        )
