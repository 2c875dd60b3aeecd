"""Replicas: a machine with its clock and file, and the process on it with the real shard thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dispatcher.clock import Reading
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.job import Job
from dispatcher.core.ledger import Identity
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.schedule import ChangeSet, ShardBase
from dispatcher.core.shard import Shard
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.config import Connection
from dispatcher.kafka.shard_log import USUAL, KafkaShardLog
from dispatcher.kafka.transaction import Means
from dispatcher.ports import Chunk, LedgerRecord, LogEnds, TopicFacts
from dispatcher.produce.shard_thread import Letter, ShardThread
from dispatcher.produce.wiring import Surroundings
from simulation.producer import MemoryProducer

if TYPE_CHECKING:
    from simulation.world import World

TOPICS = TopicNames("t")
IDENTITY = Identity("cluster", {"t.ledger": "id"}, 1, "2026f", "croniter 7")
CONNECTION = Connection("memory")
CLOCK_LIMIT_MS = 60_000
_LONG = 10**15


class Crash(BaseException):
    """A process dies here. Nobody may catch it but the world."""


class File:
    """One version of the schedule file."""

    def __init__(self, revision: str, jobs: dict[str, Job]) -> None:
        self.revision = revision
        self.jobs = jobs


class Machine:
    """A host: a clock that may be wrong, a file that may be stale, and at most one process."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.skew = 0
        self.latest = 0
        """The latest time its clock has shown."""
        self.file = world.files[0]
        self.process: Process | None = None

    @property
    def wall(self) -> int:
        """What the clock shows."""
        wall = self.world.now + self.skew
        self.latest = max(self.latest, wall)
        return wall


class Process:
    """One run of the daemon on a machine, with at most the one shard. It is the clock its shard reads."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.world = machine.world
        self.point = partial(self.world.point, self)
        """Be at a place where it can die or stand still."""
        self.thread: ShardThread | None = None
        self.dead = False
        self.busy = False
        self.wake = 0
        self.copy = LedgerCopy()
        self._file: File | None = None
        self._seen = 0
        self._witnessed = False
        self._asked = True
        self._comparing = False
        self._told: tuple[int, str] | None = None
        self._listening: int | None = None
        self._all_read = False
        self.see_file()

    # The shard.

    def take(self) -> None:
        """Have the shard, as if membership had said so."""
        copy, self.copy = self.copy, LedgerCopy()
        self.thread = ShardThread(0, self._around(), copy)
        self.wake = self.world.now
        self._told, self._asked, self._listening, self._all_read = None, True, None, False
        self.world.count("takeovers")

    def give_up(self) -> None:
        """Let go of the shard as a clean stop does."""
        thread, self.thread = self.thread, None
        if thread is not None:
            self.point("revocation")
            thread._close()

    def follow(self) -> None:
        """Read the ledger as it is now, as a tail does that keeps a replica warm."""
        ledger = self.world.ledger
        records = ledger.committed(self.copy.next, ledger.stable)
        self.copy.take([(one.key, one.value) for one in records], ledger.stable)
        self.copy.decode()

    def step(self) -> None:
        """Take one step of the shard's thread, and bring it what came for it."""
        thread = self.thread
        assert thread is not None
        if not thread.taken:
            self.point("assignment")
        self._bring(thread)
        wait = thread._step()
        self.wake = _LONG if wait is None else self.world.now + round(wait * 1000)
        if self._may_compare(thread) or self._unread:
            self.wake = min(self.wake, self.world.now + 1)
        if thread._yielded:
            self.world.count("yielded")
            self.give_up()
            return
        self.point(_stands(thread))

    def end(self) -> None:
        """Let go of everything: the history is over."""
        thread = self.thread
        if thread is not None:
            if thread._shard is not None:
                vars(thread._shard).clear()
            vars(thread).clear()
        vars(self).clear()

    def check(self) -> None:
        """End here if the process was killed while it stood still."""
        if self.dead:
            raise Crash

    def read(self) -> Reading:
        """Return the machine's clocks."""
        now, machine = self.world.now, self.machine
        wall = now + machine.skew
        machine.latest = max(machine.latest, wall)
        if self.busy:
            self.point("clock read")
        return Reading(wall, now + 1_000_000)

    # The file and the commands.

    def see_file(self) -> None:
        """Notice what the file holds now."""
        if self._file is not self.machine.file:
            self._witnessed = self._file is not None
            self._file, self._seen = self.machine.file, self.machine.wall
            self._told = None
            self.wake = min(self.wake, self.world.now)

    def _bring(self, thread: ShardThread) -> None:
        base = thread.base
        if base is not None and self._may_compare(thread):
            self._asked, self._told = False, (base.change, base.revision)
            assert self._file is not None
            self._compare(base, self._file)
        if self._unread:
            first = self._listening or 0
            for offset, command in enumerate(self.world.commands[first:], first + 1):
                thread.post(partial(Shard.take, command=command, next_offset=offset))
            self._listening = len(self.world.commands)
            self._all_read = True
            thread.post(Shard.commands_read)

    def _may_compare(self, thread: ShardThread) -> bool:
        return (self._asked or self._told is None) and thread.base is not None and not self._comparing

    @property
    def _unread(self) -> bool:
        """Whether there are commands the shard was not handed, or it was not told that there are none."""
        at = self._listening
        return at is not None and (at < len(self.world.commands) or not self._all_read)

    def _compare(self, base: ShardBase, file: File) -> None:
        """Compare the file with what is in force, which may take a while, and bring the difference."""
        letters: list[Letter] = [partial(Shard.looked, revision=file.revision)]
        if base.revision != file.revision and file.revision:
            change = change_to(base, file, self._seen, witnessed=self._witnessed)
            letters.insert(0, partial(Shard.offer, change=change))
        lag = self.world.compare_lag()
        if not lag:
            self._post(letters)
            return
        self._comparing = True
        self.world.later(lag, lambda: self._post(letters))

    def _post(self, letters: Sequence[Letter]) -> None:
        self._comparing = False
        for letter in letters:
            if self.thread is not None:
                self.thread.post(letter)
                self.wake = min(self.wake, self.world.now)

    def _around(self) -> Surroundings:
        return Surroundings(
            topics=TOPICS, shards=1, instance=self.machine.name, clock=self, limits=self.world.limits,
            clock_limit_ms=CLOCK_LIMIT_MS, log=lambda _: MemoryLog(self), directory=self,
            identity=lambda: IDENTITY, recompare=self._recompare, listen=self._listen, failed=_failed,
            fenced=lambda _: self.world.fights(),
        )  # fmt: skip

    def _recompare(self) -> None:
        self._asked = True

    def _listen(self, _shard: int, offset: int | None) -> None:
        self._listening = offset or 0

    # The directory of topics.

    def facts(self, _topic: str) -> TopicFacts:
        """Return what every topic is like."""
        self.point("topic asked")
        if self.world.fault("facts"):
            raise KafkaUnreachable("no broker tells of topics")
        return TopicFacts(2, 1_000_000)

    def forget(self) -> None:
        """There is nothing to forget."""


def _stands(thread: ShardThread) -> str:
    """Return at which point a replica stands between its steps."""
    if thread._staged is not None:
        return "staged"
    return (
        "between pieces" if thread._shard is not None and thread._shard.changing.staging else "between steps"
    )


def _failed(_name: str, error: BaseException) -> None:
    raise AssertionError("the loop of a simulated shard never runs") from error


class MemoryLog(KafkaShardLog):
    """The real transactional side of a shard; only its producers and its reading are in memory."""

    def __init__(self, process: Process) -> None:
        self._world = process.world
        self._process = process
        means = Means(producer=partial(MemoryProducer, process), seconds=self._world.seconds)  # type: ignore[arg-type] # stands for the library's
        super().__init__(CONNECTION, TOPICS, 0, USUAL, means)

    def stage(self, outgoing: Sequence[Outgoing], at: Instant, over: float = 0.0) -> None:
        super().stage(outgoing, at, over)
        self._world.count("staged")
        self._world.say(f"{self._process.machine.name} has staged what is due at {to_text(at)}")

    def ends(self) -> LogEnds:
        self._process.point("before ends")
        if self._world.fault("ends"):
            raise KafkaUnreachable("nobody tells the ends")
        return LogEnds(0, self._world.ledger.high)

    def read(self, start: int, until: int) -> Iterator[LedgerRecord]:
        world, ledger = self._world, self._world.ledger
        self._process.point("before replay")
        if ledger.stable < until:
            world.wait(1_000)
        if ledger.stable < until:
            raise KafkaUnreachable("a transaction is open in the ledger")
        failing = world.fault("read")
        for record in ledger.committed(start, until):
            self._process.point("during replay")
            yield record
            if failing:
                raise KafkaUnreachable("nobody sends the ledger on")
        self._process.point("after replay")

    def chunks(self, start: int, until: int) -> Iterator[Chunk]:
        records = self.read(start, until)
        if self._world.restless:
            for key, value, offset, _ in records:
                yield [(key, value)], offset + 1
        elif together := [(key, value) for key, value, _, _ in records]:
            yield together, until

    def stable_end(self) -> int:
        """Return the end as a reader of committed records is told it."""
        return self._world.ledger.stable


def change_to(base: ShardBase, file: File, seen: int, *, witnessed: bool) -> ChangeSet:
    """Return what the feed would bring."""
    old = {one.name: one for one in base.jobs}
    removed = tuple(name for name in old if name not in file.jobs)
    return ChangeSet(
        shard=0, base=base.change, revision=file.revision, seen=seen, witnessed=witnessed,
        added=tuple(one for name, one in file.jobs.items() if name not in old),
        changed=tuple(
            one for name, one in file.jobs.items() if name in old and old[name].definition != one.definition
        ),
        removed=removed, removed_in_all=len(removed), in_force_in_all=len(old),
    )  # fmt: skip
