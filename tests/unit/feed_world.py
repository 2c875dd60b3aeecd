"""A feed on a real file with a sink that puts in force whatever it is brought."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from dispatcher.clock import SystemClock
from dispatcher.core.schedule import ChangeSet, ShardBase
from dispatcher.errors import DispatcherError
from dispatcher.feed.feed import Feed
from dispatcher.service import Deadline

SHARDS = 2
WAIT = 15.0


def schedule(*names: str, pad: str = "") -> str:
    """The text of a file with jobs of these names."""
    jobs = [{"jobName": name, "every": "1s", "job": "x"} for name in names]
    return json.dumps({"jobs": jobs}, indent=1) + pad


def revision_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


class Sink:
    """Puts in force what it is brought, unless told to hold it; remembers everything."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.changes: list[ChangeSet] = []
        self.refusals: list[tuple[str, str]] = []
        self.looks: list[tuple[int, ...]] = []
        self.looked_at = ""
        self.hold = False
        self._bases = {shard: ShardBase(shard, 0, "", ()) for shard in range(SHARDS)}
        self.ready = set(range(SHARDS))

    def bases(self) -> tuple[ShardBase, ...]:
        return tuple(self._bases[shard] for shard in sorted(self.ready))

    def apply(self, change: ChangeSet) -> None:
        with self.changed:
            self.changes.append(change)
            if not self.hold:
                base = self._bases[change.shard]
                jobs = {job.name: job for job in base.jobs if job.name not in change.removed}
                jobs |= {job.name: job for job in (*change.added, *change.changed)}
                self._bases[change.shard] = ShardBase(
                    change.shard, base.change + 1, change.revision, tuple(jobs.values())
                )
            self.changed.notify_all()

    def looked(self, shards: tuple[int, ...], revision: str) -> None:
        with self.changed:
            self.looks.append(shards)
            self.looked_at = revision
            self.changed.notify_all()

    def refused(self, revision: str, error: DispatcherError) -> None:
        with self.changed:
            self.refusals.append((revision, str(error)))
            self.changed.notify_all()

    def in_force(self, text: str) -> bool:
        """Whether every shard has the revision of this text."""
        return {base.revision for base in self.bases()} == {revision_of(text)}

    @property
    def names(self) -> set[str]:
        return {job.name for base in self.bases() for job in base.jobs}

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for a condition on what this sink knows."""
        with self.changed:
            assert self.changed.wait_for(true, WAIT), f"changes {len(self.changes)}, refusals {self.refusals}"

    def quiet(self, seconds: float) -> None:
        """Make sure that nothing comes for a while."""
        with self.changed:
            before = (len(self.changes), len(self.refusals))
            self.changed.wait_for(lambda: (len(self.changes), len(self.refusals)) != before, seconds)
            assert (len(self.changes), len(self.refusals)) == before, (self.changes, self.refusals)


@contextmanager
def feeding(path: Path, sink: Sink, **options: float) -> Iterator[Feed]:
    """Run a feed; whatever ends its thread fails the test."""
    ends: list[BaseException] = []
    poll = options.get("poll", 60.0)
    limit = options.get("limit", 60.0)
    feed = Feed(
        str(path),
        sink,
        SystemClock(),
        shards=SHARDS,
        failed=lambda _name, error: ends.append(error),
        cap=1_000_000,
        poll=poll,
        limit=limit,
    )
    feed.start()
    try:
        yield feed
    finally:
        began = time.monotonic()
        feed.stop()
        assert feed.join(Deadline(10))
        assert time.monotonic() - began < 5
        assert not ends
