"""What a schedule is going to fire, and what an edit changes in it: for people, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heapreplace, merge
from itertools import groupby

from dispatcher.core.instant import Instant
from dispatcher.core.job import Job
from dispatcher.core.trigger import Trigger

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
    """One fire that an edit changes: `old` is None when it is gained, `new` when it is lost."""

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


def compare_fires(old: Job | None, new: Job | None, after: Instant, until: Instant) -> FireChange:
    """Return how the due instants in (after, until] differ between two versions of a job; None: no job.

    On each UTC day that loses as many fires as it gains the fires are moved; else some are lost, others
    gained. The work grows with the number of fires.
    """
    if old is not None and new is not None and _times_of(old) == _times_of(new):
        return FireChange()
    fires = merge(
        ((due, False) for due in _dues(old, after, until)),
        ((due, True) for due in _dues(new, after, until)),
    )
    gained = lost = moved = 0
    first: Moved | None = None
    for _, day in groupby(fires, key=lambda fire: fire[0] // _DAY_MS):
        losses, gains = _differences(day)
        if first is None and (losses or gains):
            first = _first(losses, gains)
        if len(losses) == len(gains):
            moved += len(losses)
        else:
            lost += len(losses)
            gained += len(gains)
    return FireChange(gained, lost, moved, first)


def _times_of(job: Job) -> tuple[str, int]:
    return job.trigger.digest, job.delay_ms


def _dues(job: Job | None, after: Instant, until: Instant) -> Iterator[Instant]:
    if job is None:
        return
    trigger: Trigger = job.trigger
    planned = trigger.next_after(after - job.delay_ms)
    while planned is not None and planned + job.delay_ms <= until:
        yield planned + job.delay_ms
        planned = trigger.next_after(planned)


def _differences(day: Iterable[tuple[Instant, bool]]) -> tuple[list[Instant], list[Instant]]:
    """Return the instants of a day that only the old version has, and those that only the new one has."""
    losses: list[Instant] = []
    gains: list[Instant] = []
    for due, sides in groupby(day, key=lambda fire: fire[0]):
        versions = {new for _, new in sides}
        if len(versions) == 1:
            (gains if versions.pop() else losses).append(due)
    return losses, gains


def _first(losses: list[Instant], gains: list[Instant]) -> Moved:
    if len(losses) == len(gains):
        return Moved(losses[0], gains[0])
    if not losses or (gains and gains[0] < losses[0]):
        return Moved(None, gains[0])
    return Moved(losses[0], None)
