"""What a schedule is going to fire, and what an edit changes in it: for people, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heapreplace, merge
from itertools import groupby

from dispatcher.core.instant import Instant
from dispatcher.core.job import Job

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A fire to come: `due` is `planned` plus the job's delay."""

    job: Job
    planned: Instant
    due: Instant


def upcoming(jobs: Iterable[Job], after: Instant) -> Iterator[Upcoming]:
    """Yield the fires of all jobs due later than an instant, in the order (due, job name), without end."""
    queue = []
    for number, job in enumerate(jobs):
        planned = job.trigger.next_after(after - job.delay_ms)
        if planned is not None:
            queue.append((planned + job.delay_ms, job.name, number, planned, job))
    heapify(queue)
    while queue:
        due, name, number, planned, job = queue[0]
        yield Upcoming(job, planned, due)
        following = job.trigger.next_after(planned)
        if following is None:
            queue[0] = queue[-1]
            queue.pop()
            heapify(queue)
        else:
            heapreplace(queue, (following + job.delay_ms, name, number, following, job))


@dataclass(frozen=True, slots=True)
class Moved:
    """Due instants of a fire that an edit changes: `old` is None when it is gained, `new` when it is lost."""

    old: Instant | None
    new: Instant | None


@dataclass(frozen=True, slots=True)
class FireChange:
    """What an edit does to the fires of a job; `first` is the earliest change, None when there is none."""

    gained: int = 0
    lost: int = 0
    moved: int = 0
    first: Moved | None = None

    def __bool__(self) -> bool:
        return self.first is not None

    def followed_by(self, later: FireChange) -> FireChange:
        """Return the sum of this change and of one that comes later."""
        return FireChange(
            self.gained + later.gained,
            self.lost + later.lost,
            self.moved + later.moved,
            self.first or later.first,
        )


def compare_fires(old: Job | None, new: Job | None, after: Instant, until: Instant) -> FireChange:
    """Return how the fires planned in (after, until] differ between two versions of a job; None: no job.

    Fires of the same planned instant are moved when their delay differs. Of the others, those of a UTC day
    that loses as many as it gains are moved; else some are lost, others gained. The work grows with their
    number.
    """
    if old is not None and new is not None and _times_of(old) == _times_of(new):
        return FireChange()
    total = FireChange()
    for _, day in groupby(_differences(old, new, after, until), key=lambda found: found[0] // _DAY_MS):
        total = total.followed_by(_of_day([change for _, change in day]))
    return total


def _of_day(changes: list[Moved]) -> FireChange:
    losses = [change.old for change in changes if change.new is None]
    gains = [change.new for change in changes if change.old is None]
    shifted = len(changes) - len(losses) - len(gains)
    if len(losses) != len(gains):
        return FireChange(len(gains), len(losses), shifted, changes[0])
    first = changes[0] if changes[0].old and changes[0].new else Moved(losses[0], gains[0])
    return FireChange(0, 0, shifted + len(gains), first)


def _times_of(job: Job) -> tuple[str, int]:
    return job.trigger.digest, job.delay_ms


def _differences(
    old: Job | None, new: Job | None, after: Instant, until: Instant
) -> Iterator[tuple[Instant, Moved]]:
    """Yield the planned instants at which the two versions differ, in order, with what is due of each."""
    fires = merge(_fires(old, "old", after, until), _fires(new, "new", after, until))
    for planned, sides in groupby(fires, key=lambda fire: fire[0]):
        due = {side: instant for _, side, instant in sides}
        change = Moved(due.get("old"), due.get("new"))
        if change.old != change.new:
            yield planned, change


def _fires(
    job: Job | None, side: str, after: Instant, until: Instant
) -> Iterator[tuple[Instant, str, Instant]]:
    """Yield planned instant, side and due instant of the fires planned in (after, until]."""
    if job is None:
        return
    planned = job.trigger.next_after(after)
    while planned is not None and planned <= until:
        yield planned, side, planned + job.delay_ms
        planned = job.trigger.next_after(planned)
