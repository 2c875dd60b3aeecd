"""Comparing the file with what is in force: the feed's side of the child process.

A spare child is always started ahead and waiting, so a reload pays neither for its start nor for its imports.
Each answers one question. One that crashes, is killed or hangs is a ScheduleUnreadable, never a wedge.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import dispatcher
from dispatcher.core.instant import Instant
from dispatcher.core.job import Job, JobReader, delay_of, digest_of
from dispatcher.core.schedule import ChangeSet, ShardBase
from dispatcher.errors import InvalidSchedule, ScheduleUnreadable
from dispatcher.feed import wire
from dispatcher.feed.wire import NO_SHAPE, Ask, Change, Done, Kind

DEFAULT_LIMIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """When a content of the file was first seen, and whether this process saw it replace another one."""

    seen: Instant
    witnessed: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it: the revision read, then either the problems or the change sets and the cost."""

    revision: str
    refused: InvalidSchedule | None
    changes: tuple[ChangeSet, ...] = ()
    done: Done | None = None


@dataclass(slots=True)
class _Difference:
    added: list[Job] = field(default_factory=list)
    changed: list[Job] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    likes: dict[int, Job] = field(default_factory=dict)


class Comparer:
    """Owns the child processes. One thread uses it; `kill` may be called from any.

    `limit` is the longest a comparison may take, in seconds.
    """

    def __init__(self, path: str, *, shards: int, cap: int, limit: float = DEFAULT_LIMIT_SECONDS) -> None:
        self._ask = Ask(path, cap, shards)
        self._limit = limit
        self._readers: dict[int, JobReader] = {}
        self._spare: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Have a spare child ready; one that died meanwhile is replaced. Raises ScheduleUnreadable."""
        with self._lock:
            if self._spare is not None and self._spare.poll() is None:
                return
            if self._killed:
                raise ScheduleUnreadable(f"{self._ask.path}: is not compared any more, the feed has ended")
            if self._spare is not None:
                _close(self._spare)
            self._spare = self._started()

    def compare(self, bases: Sequence[ShardBase], sighting: Sighting) -> Compared:
        """Return the change sets that lead from the bases to the file as it is now.

        There is one for each base whose revision is not the file's, also when nothing in it changes.
        Raises ScheduleUnreadable when the file or the child fails.
        """
        self._readers = {}  # what one comparison read, the jobs hold; a reader would keep it for ever
        self.prepare()
        child = self._spare
        if child is None or child.stdin is None or child.stdout is None:
            raise ScheduleUnreadable(f"{self._ask.path}: the process that compares it has no pipes")
        timer = threading.Timer(self._limit, child.kill)
        timer.daemon = True
        try:
            timer.start()
            self._send(child.stdin, bases)
            return self._received(child.stdout, bases, sighting)
        except (OSError, wire.Truncated):
            raise ScheduleUnreadable(self._end_of(child, timer)) from None
        except RuntimeError as error:  # of the timer: nobody could end the child
            raise ScheduleUnreadable(f"{self._ask.path}: cannot be compared just now: {error}") from error
        finally:
            timer.cancel()
            _close(child)
            with self._lock:
                self._spare = None

    def kill(self) -> None:
        """End the child at once, also in the middle of its work; no other one is started."""
        with self._lock:
            self._killed = True
            if self._spare is not None:
                self._spare.kill()

    def close(self) -> None:
        """End the child and wait for its end."""
        self.kill()
        if self._spare is not None:
            _close(self._spare)

    def _started(self) -> subprocess.Popen[bytes]:
        home = str(Path(dispatcher.__file__).parent.parent)
        seen = os.environ.get("PYTHONPATH")
        try:
            return subprocess.Popen(  # noqa: S603 - our own interpreter, our own module, no shell
                [sys.executable, "-P", "-m", "dispatcher.feed.child", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": f"{home}{os.pathsep}{seen}" if seen else home},
                process_group=0,
            )
        except OSError as error:
            raise ScheduleUnreadable(
                f"{self._ask.path}: the process that compares it cannot be started: {error.strerror or error}"
            ) from error

    def _send(self, stream: IO[bytes], bases: Sequence[ShardBase]) -> None:
        wire.write(stream, Kind.ASK, wire.pack_ask(self._ask))
        for base in bases:
            head = wire.pack_shard(base.shard)
            wire.write(stream, Kind.BASE, head)
            for body in wire.batches(head, _held(base)):
                wire.write(stream, Kind.HELD, body)
        wire.write(stream, Kind.GO)
        stream.flush()

    def _received(self, stream: IO[bytes], bases: Sequence[ShardBase], sighting: Sighting) -> Compared:
        found = {base.shard: _Difference() for base in bases}
        while True:
            kind, body = wire.read(stream)
            match kind:
                case Kind.CHANGES:
                    self._take(body, found)
                case Kind.REMOVED:
                    found[wire.unpack_shard(body)].removed.extend(wire.unpack_names(body))
                case Kind.DONE:
                    done = wire.unpack_done(body)
                    return Compared(
                        done.revision, None, _change_sets(bases, found, done.revision, sighting), done
                    )
                case Kind.PROBLEMS:
                    revision, problems = wire.unpack_problems(body)
                    return Compared(revision, InvalidSchedule(self._ask.path, problems))
                case _:
                    raise ScheduleUnreadable(self._failure(kind, body.decode(errors="replace")))

    def _take(self, body: bytes, found: dict[int, _Difference]) -> None:
        for change in wire.unpack_changes(body):
            into = found[change.shard]
            like = into.likes.get(change.shape)
            if like is None:
                job = self._reader(change.shard).read(change.definition, change.key_hash)
                if change.shape != NO_SHAPE:
                    into.likes[change.shape] = job
            else:
                job = _alike(like, change)
            (into.added if change.added else into.changed).append(job)

    def _reader(self, shard: int) -> JobReader:
        reader = self._readers.get(shard)
        if reader is None:
            reader = self._readers[shard] = JobReader()
        return reader

    def _failure(self, kind: Kind, text: str) -> str:
        if kind is Kind.UNREADABLE:
            return text
        last = text.strip().rpartition("\n")[2]
        return f"{self._ask.path}: the process that compares it failed: {last}"

    def _end_of(self, child: subprocess.Popen[bytes], timer: threading.Timer) -> str:
        if not timer.is_alive():
            return (
                f"{self._ask.path}: took longer than {self._limit:g} s to read and compare; make it smaller"
            )
        child.kill()
        code = child.wait()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        hint = "; was there too little memory?" if code == -9 else ""
        return f"{self._ask.path}: the process that compares it {how}{hint}"


def _alike(like: Job, change: Change) -> Job:
    """Return the job of a change that has the shape of a job read before."""
    trigger = like.trigger
    delay = delay_of(change.name, trigger.jitter_ms) if trigger.jitter_ms else 0
    return Job(change.name, change.definition, trigger, like.policy, like.route, change.key_hash, delay)


def _held(base: ShardBase) -> Iterator[bytes]:
    for job in base.jobs:
        yield wire.pack_held(job.name, digest_of(job.definition))


def _change_sets(
    bases: Sequence[ShardBase], found: dict[int, _Difference], revision: str, sighting: Sighting
) -> tuple[ChangeSet, ...]:
    removed_in_all = sum(len(difference.removed) for difference in found.values())
    in_force_in_all = sum(len(base.jobs) for base in bases)
    return tuple(
        ChangeSet(
            shard=base.shard,
            base=base.change,
            revision=revision,
            seen=sighting.seen,
            witnessed=sighting.witnessed,
            added=tuple(found[base.shard].added),
            changed=tuple(found[base.shard].changed),
            removed=tuple(found[base.shard].removed),
            removed_in_all=removed_in_all,
            in_force_in_all=in_force_in_all,
        )
        for base in bases
        if base.revision != revision
    )


def _close(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for stream in (child.stdin, child.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:  # what was still to be written has no reader any more
            continue
    child.wait()
