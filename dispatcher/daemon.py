"""The daemon: the one place where the stations are connected, started and stopped.

    file → feed → host → shard threads → Kafka, with membership, tail and commands beside them

Stopping has one deadline and goes with the flow: the feed first, then the shards finish their transactions,
then this process leaves the group.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

import structlog

from dispatcher.clock import Clock, SystemClock
from dispatcher.core.batch import Limits
from dispatcher.core.cron import engine_version
from dispatcher.core.diagnosis import unread_commands
from dispatcher.core.health import Health
from dispatcher.core.job import Job
from dispatcher.core.ledger import Identity
from dispatcher.core.message import TopicNames
from dispatcher.core.zone import tzdata_version
from dispatcher.errors import DispatcherError, LedgerBroken
from dispatcher.feed.feed import Feed
from dispatcher.feed.trust import Trust
from dispatcher.kafka.commands import CommandHooks, CommandReader
from dispatcher.kafka.config import Connection
from dispatcher.kafka.membership import Membership, OwnershipHooks
from dispatcher.kafka.offsets import PartitionEnds
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.tail import LedgerTail
from dispatcher.observe.absence import AbsenceWatch
from dispatcher.observe.tracing import Tracer
from dispatcher.ports import TopicDirectory
from dispatcher.produce.counting import Counting
from dispatcher.produce.health import GroupWord, judge, judge_ready
from dispatcher.produce.health_watch import HealthWatch
from dispatcher.produce.host import ShardHost
from dispatcher.produce.ownership import Ownership
from dispatcher.produce.wiring import Surroundings
from dispatcher.service import Deadline, Motion, Service
from dispatcher.standstill import standstills

COLLECTOR = (100_000, 50, 1_000)
"""A full collection walks every job and holds all threads meanwhile: it must be rare."""

SWITCH_SECONDS = 0.0005
"""How long a thread that computes keeps the interpreter from those with something due; 5 ms by default."""

SIGNAL_SECONDS = 1.0
"""A signal that another thread gets does not end the wait of the main one, which runs its handler later."""


class Word(Enum):
    """What a running daemon is told."""

    END = auto()
    RELOAD = auto()


class Member(Service, Protocol):
    """Takes part in sharing out the shards, and knows whether brokers answer it."""

    def silence(self) -> float:
        """Return for how many seconds none has."""
        ...

    @property
    def motion(self) -> Motion:
        """Whether its thread moves on."""
        ...


def next_word(words: SimpleQueue[Word]) -> Word:
    """Wait for a word, in slices in which handlers of signals can put one there."""
    while True:
        try:
            return words.get(timeout=SIGNAL_SECONDS)
        except Empty:
            continue


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Kafka side of a daemon: how to reach it, and how its topics and itself are known.

    `member` builds the membership; on a real cluster that is the consumer group.
    """

    connection: Connection
    topics: TopicNames
    directory: TopicDirectory
    identify: Callable[[], tuple[str, dict[str, str]]]
    member: Callable[[OwnershipHooks, Callable[[str, BaseException], None]], Member] | None = None


@dataclass(frozen=True, slots=True)
class Plant:
    """The numbers and names a daemon is built from; times in the units of their names."""

    schedule: Path
    shards: int
    instance: str
    trust: Trust = Trust.OFF
    file_cap: int = 64 * 1024 * 1024
    poll_seconds: float = 5.0
    clock_limit_ms: int = 3_600_000
    stop_seconds: float = 10.0
    session_ms: int = 6_000
    limits: Limits = field(default_factory=Limits)
    tracer: Tracer | None = None
    counted_jobs: tuple[str, ...] = ()


class Daemon:
    """A dispatcher of one process. `run` returns when it was stopped, or raises what ended it."""

    def __init__(self, cluster: Cluster, plant: Plant, clock: Clock | None = None) -> None:
        self._plant = plant
        self._cluster = cluster
        self.shards = plant.shards
        self.tracer = plant.tracer
        self._clock = clock or SystemClock()
        self._words: SimpleQueue[Word] = SimpleQueue()
        self._reloads, self._look = 0, (0, 0)
        """How many reloads were asked for; how many the feed was told of, and by which number it answers."""
        self._error: BaseException | None = None
        self._ending = False
        self._say = structlog.get_logger()
        connection, topics = cluster.connection, cluster.topics
        self._ends = PartitionEnds(connection)
        self.tail = LedgerTail(connection, topics, self._failed, caught_up=self._caught_up)
        self._commands = CommandReader(
            connection,
            topics,
            CommandHooks(self._deliver, self._lost, self._beyond, self._read),
            self._failed,
            self._ends,
        )
        self.host = ShardHost(
            self._surroundings(), copy=self.tail.hand_over, release=self._release, hopeless=self._hopeless
        )
        self._ownership = Ownership(self.host, failed=self._failed)
        hooks = OwnershipHooks(self._ownership.assigned, self._ownership.revoked, self._ownership.lost)
        self._membership = self._member(hooks)
        stands = self.tail.stands.position_of
        self.absence = AbsenceWatch(plant.shards, self._clock, stands, self._jobs_of, failed=self._failed)
        self._health_watch = HealthWatch(self.health, failed=self._failed)
        self.feed = Feed(
            str(plant.schedule),
            self.host,
            self._clock,
            shards=plant.shards,
            failed=self._failed,
            cap=plant.file_cap,
            trust=plant.trust,
            poll=plant.poll_seconds,
        )

    def run(self) -> None:
        """Work until `stop`. Raises the DispatcherError that made going on impossible."""
        gc.set_threshold(*COLLECTOR)
        sys.setswitchinterval(SWITCH_SECONDS)
        for shard in range(self._plant.shards):
            self.tail.follow(shard)
        started: list[Service] = []
        try:
            for service in self._services():
                service.start()
                started.append(service)
            self._say.info(
                "daemon.started", instance=self._plant.instance, schedule=str(self._plant.schedule)
            )
            while next_word(self._words) is Word.RELOAD:
                self._look = self._reloads, self.feed.recheck()
        finally:
            self._shut_down(started)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ask for the end. Never blocks, from any thread; the queue takes it even amid a signal."""
        self._words.put(Word.END)

    def reload(self) -> None:
        """Ask for a look at the schedule file now; the same holds as for `stop`."""
        self._reloads += 1
        self._words.put(Word.RELOAD)

    def reloaded(self) -> bool:
        """Return whether what the last `reload` found in the file is in force here, or refused."""
        asked, look = self._look
        if asked != self._reloads or self.feed.answered < look:
            return False
        if self.feed.error is not None:
            return True
        bases = self.host.bases()
        in_force = all(base.revision == self.feed.revision for base in bases)
        return in_force and len(bases) == len(self.host.owned())

    def motions(self) -> dict[str, Motion]:
        """Return by name whether the threads move on that fires depend on. Any thread may ask.

        The feed is not among them: one that hangs, as a file's system may, costs edits and no fire.
        """
        return {
            "ledger tail": self.tail.motion,
            "commands": self._commands.motion,
            "ownership": self._ownership.motion,
            "membership": self._membership.motion,
            **self.host.motions(),
        }

    def health(self) -> Health:
        """Return whether this replica may claim to be well, and why not. Any thread may ask; cheap."""
        silence_ms = self._membership.silence() * 1000
        judged = judge(self.host.standings(), silence_ms, self._clock.read().monotonic)
        still = standstills({**self.motions(), "absence watch": self.absence.motion})
        return Health((*judged.reasons, *still))

    def readiness(self) -> Health:
        """Return whether this replica does its part, owning shards or standing by; the same holds."""
        if self._ending:
            return Health(("this replica is stopping",))
        answered, assigned = self._ownership.standing()
        told = GroupWord(answered, assigned, self._membership.silence() * 1000)
        stands = map(self.tail.stands.position_of, range(self._plant.shards))
        in_force = any(one is not None and one.revision for one in stands)
        ready = judge_ready(self.host.standings(), told, in_force=in_force)
        return Health(tuple(dict.fromkeys((*ready.reasons, *self.health().reasons))))

    def _jobs_of(self, shard: int) -> tuple[int, tuple[Job, ...]] | None:
        base = self.host.base(shard)
        return self.tail.jobs_of(shard) if base is None else (base.change, base.jobs)

    def _services(self) -> tuple[Service, ...]:
        """Return everything that runs, in the order of starting."""
        watch = self._health_watch
        return (
            *(self.tail, self.absence, self._commands, self._ownership),
            *(self.feed, self._membership, watch),
        )

    def _surroundings(self) -> Surroundings:
        cluster, plant = self._cluster, self._plant
        return Surroundings(
            topics=cluster.topics,
            shards=plant.shards,
            instance=plant.instance,
            clock=self._clock,
            limits=plant.limits,
            clock_limit_ms=plant.clock_limit_ms,
            log=lambda shard: KafkaShardLog(cluster.connection, cluster.topics, shard, ends=self._ends),
            directory=cluster.directory,
            identity=self._identity,
            recompare=self._recompare,
            listen=self._commands.attach,
            failed=self._failed,
            fenced=self._fenced,
            counting=partial(Counting, plant.counted_jobs),
            committed=None if plant.tracer is None else plant.tracer.committed,
        )

    def _caught_up(self, shard: int) -> None:
        owner = self.tail.owner_of(shard)
        if owner is not None and owner.instance == self._plant.instance:
            self._ownership.ours_before(shard)

    def _fenced(self, shard: int) -> bool:
        return self._ownership.fenced(shard)

    def _recompare(self) -> None:
        self.feed.recheck()

    def _member(self, hooks: OwnershipHooks) -> Member:
        if self._cluster.member is not None:
            return self._cluster.member(hooks, self._failed)
        cluster = self._cluster
        return Membership(
            cluster.connection, cluster.topics, hooks, self._failed, session_ms=self._plant.session_ms
        )

    def _identity(self) -> Identity:
        cluster, topics = self._cluster.identify()
        return Identity(cluster, topics, self._plant.shards, tzdata_version(), engine_version())

    def _shut_down(self, started: list[Service]) -> None:
        """Stop with the flow: no more changes, then no more fires, then no more membership."""
        self._ending = True
        self._say.info("daemon.stopping")
        deadline = Deadline(self._plant.stop_seconds)
        order: list[Service] = [
            *(self._health_watch, self.feed, self._ownership, self._membership, self._commands),
            *(self.absence, self.tail),
        ]
        for service in order:
            if service in started:
                service.stop()
                if service in (self.feed, self._ownership):
                    service.join(deadline)
        late = [type(service).__name__ for service in order if not service.join(deadline)]
        if late:
            self._say.error("daemon.stuck", services=late, seconds=self._plant.stop_seconds)
        self._say.info("daemon.stopped")

    def _failed(self, thread: str, error: BaseException) -> None:
        """Learn that a thread ended by an error: the daemon ends with it; a supervisor starts it anew."""
        if self._error is None:
            self._error = error
        if not isinstance(error, DispatcherError):
            self._say.critical("thread.failed", thread=thread, exc_info=error)
        self._words.put(Word.END)

    def _hopeless(self, error: DispatcherError) -> None:
        self._error = self._error or error
        self._words.put(Word.END)

    def _release(self, shard: int) -> None:
        self._commands.detach(shard)
        self.tail.follow(shard)

    def _deliver(
        self, shard: int, next_offset: int, _key: object, value: bytes | None, _headers: object
    ) -> None:
        self.host.command(shard, next_offset, value)

    def _lost(self, shard: int, count: int) -> None:
        self.host.commands_lost(shard, count)

    def _read(self, shard: int) -> None:
        self.host.commands_read(shard)

    def _beyond(self, shard: int, offset: int, end: int) -> None:
        topic = self._cluster.topics.commands
        self._failed(
            "commands",
            LedgerBroken((unread_commands(topic, shard, offset, end),)),
        )
