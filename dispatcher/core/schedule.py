"""A schedule and the way one becomes the next: change sets against what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.core.instant import Instant
from dispatcher.core.job import Job


@dataclass(frozen=True, slots=True)
class Schedule:
    """A validated set of jobs by name; `revision` is the SHA-256 of the file's bytes in hex."""

    revision: str
    jobs: Mapping[str, Job]


@dataclass(frozen=True, slots=True)
class ShardBase:
    """What is in force in one shard, to compare a file with.

    `change` is the number of the shard's last applied change; a change set computed against another
    number no longer fits and is asked for again.
    """

    shard: int
    change: int
    revision: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What turns the schedule in force in one shard into the file's.

    `seen` is when the file's new content was first seen. `witnessed` is true when this process saw the
    file change, false when it found the content at its start. `removed_in_all` of `in_force_in_all`
    jobs, counted over every shard compared, would go.
    """

    shard: int
    base: int
    revision: str
    seen: Instant
    witnessed: bool
    added: tuple[Job, ...]
    changed: tuple[Job, ...]
    removed: tuple[str, ...]
    removed_in_all: int
    in_force_in_all: int

    def __len__(self) -> int:
        return len(self.added) + len(self.changed) + len(self.removed)


def seen_by(change: ChangeSet, now: Instant) -> Instant:
    """Return when a change was seen, `now` at the latest: the clock may have been wrong then."""
    return min(change.seen, now)


@dataclass(frozen=True, slots=True)
class RemovalGuard:
    """When a file that drops many jobs at once is held: more than `share` of them, and at least `least`."""

    share: float = 0.5
    least: int = 5

    def holds(self, change: ChangeSet) -> bool:
        """Return whether the change set is to wait for somebody's word."""
        return (
            change.removed_in_all >= self.least
            and change.removed_in_all > self.share * change.in_force_in_all
        )
