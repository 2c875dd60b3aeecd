"""The worker: the one place where the pool and its Kafka side are connected.

commands (cancel) ─┐
lanes → log → pool → seats → handlers; its figures go to whoever asks for them
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from dispatcher.clock import Clock, SystemClock
from dispatcher.core.command import BadCommandError, Command, decode_command
from dispatcher.core.health import Health
from dispatcher.core.instant import Instant
from dispatcher.core.job import Lane
from dispatcher.core.lanes import Shares
from dispatcher.core.message import TopicNames
from dispatcher.core.run import RunReader
from dispatcher.core.scaling import ScalingLimits
from dispatcher.core.settling import Settler
from dispatcher.errors import DispatcherError
from dispatcher.kafka.config import Connection
from dispatcher.kafka.live import FireReader
from dispatcher.observe.tracing import Tracer
from dispatcher.ports import WorkHooks, WorkLog
from dispatcher.service import Deadline, Loop, Looped, Motion, Service
from dispatcher.work.desk import Desk
from dispatcher.work.flow import Flow
from dispatcher.work.health import judge_worker, judge_worker_ready
from dispatcher.work.intake import Handlers, Intake
from dispatcher.work.pool import Habits, Pool, Staff
from dispatcher.work.scaler import Scaler
from dispatcher.work.telling import both, told_by
from dispatcher.work.waiting import WaitingRoom

CANCELS_SINCE_MS = 24 * 3_600_000
"""A worker that starts reads the commands of so long: what was cancelled before is not begun."""
_READ_SECONDS = 10.0
"""How long a worker's start waits until these are read, at the most."""
_SIGNAL_SECONDS = 1.0
_COLLECTOR = (50_000, 20, 100)
"""A collection walks all that waits to be written and holds every seat meanwhile: it must be rare."""


@dataclass(frozen=True, slots=True)
class Shop:
    """The numbers and names a worker is built from. `shards` and `dead_partitions` are its topics' counts."""

    instance: str
    shards: int
    dead_partitions: int
    scaling: ScalingLimits
    habits: Habits = field(default_factory=Habits)
    tracer: Tracer | None = None


class Cancels(Looped):
    """A service that reads the commands for fires that are to be cancelled."""

    def __init__(
        self,
        connection: Connection,
        topics: TopicNames,
        since: Instant,
        cancel: Callable[[str, Instant], None],
        *,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._connection, self._topics, self._since = connection, topics, since
        self._cancel = cancel
        self._reader: FireReader | None = None
        self._caught_up = threading.Event()
        self._loop = Loop("cancels", self._step, close=self._close, failed=failed)

    def start(self) -> None:
        """Begin to read; return once all that is there is read, or it takes too long."""
        self._loop.start()
        self._caught_up.wait(_READ_SECONDS)

    def _step(self) -> float:
        if self._reader is None:
            self._reader = FireReader(self._connection, [self._topics.commands], self._since)
        for seen in self._reader.take(0.5):
            try:
                command = decode_command(seen.value)
            except BadCommandError:
                continue  # the shard tells of it
            if command.type == "cancel" and command.fire is not None and _counts(command, seen.timestamp):
                self._cancel(command.fire, seen.timestamp)
        if self._reader.at_end:
            self._caught_up.set()
        return 0

    def _close(self) -> None:
        self._caught_up.set()
        if self._reader is not None:
            self._reader.close()


def _counts(command: Command, sent: Instant) -> bool:
    return command.expires is None or sent < command.expires


class Worker:
    """A worker process. `run` returns when it was stopped, or raises what ended it."""

    def __init__(
        self,
        connection: Connection,
        topics: TopicNames,
        shop: Shop,
        handlers: Handlers,
        log: Callable[[WorkHooks], WorkLog],
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock = clock or SystemClock()
        self._shop = shop
        self.tracer = shop.tracer
        self._ends: SimpleQueue[None] = SimpleQueue()
        self._error: BaseException | None = None
        self._say = structlog.get_logger()
        room = WaitingRoom(Shares(), shop.scaling.least)
        lanes, tracer = {topics.lane(lane): lane for lane in Lane}, shop.tracer
        desk = Desk(
            RunReader(shop.shards, None if tracer is None else tracer.hand_on),
            Intake(handlers),
            Settler(topics, shop.instance, shop.shards, shop.dead_partitions),
            room,
            lanes=lanes,
            witness=told_by(self._say) if tracer is None else both(told_by(self._say), tracer.ended),
        )
        staff = Staff(desk, room, handlers, Scaler(shop.scaling, lanes), Flow(), clock, shop.habits)
        self.pool = Pool(log, staff, failed=self._failed)
        self._cancels = Cancels(
            connection, topics, clock.read().now - CANCELS_SINCE_MS, self.pool.cancel, failed=self._failed
        )
        self._services: list[Service] = [self._cancels, self.pool]
        self._ending = False

    def run(self) -> None:
        """Work until `stop`. Raises the DispatcherError that made going on impossible."""
        gc.set_threshold(*_COLLECTOR)
        gc.freeze()  # what is there now stays
        started: list[Service] = []
        try:
            for service in self._services:
                service.start()
                started.append(service)
            self._say.info("worker.started", instance=self._shop.instance)
            while not self._told_to_end():
                pass
        finally:
            self._shut_down(started)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ask for the end. Never blocks, from any thread; the queue takes it even amid a signal."""
        self._ends.put(None)

    def health(self) -> Health:
        """Return whether this worker may claim to be well, and why not. Any thread may ask; cheap."""
        return judge_worker(self.pool.pulse, self._clock.read().monotonic)

    def readiness(self) -> Health:
        """Return whether this worker takes what is fired, and why not; the same holds."""
        if self._ending:
            return Health(("this worker is stopping",))
        return judge_worker_ready(self.pool.pulse, self._clock.read().monotonic)

    def motions(self) -> dict[str, Motion]:
        """Return by name whether the threads move on that runs depend on. Any thread may ask.

        Seats are not among them: a handler may take as long as its job lets it.
        """
        return {"pool": self.pool.motion, "cancels": self._cancels.motion}

    def _told_to_end(self) -> bool:
        """Wait for the word, in slices in which handlers of signals can put it there."""
        try:
            self._ends.get(timeout=_SIGNAL_SECONDS)
        except Empty:
            return False
        return True

    def _shut_down(self, started: list[Service]) -> None:
        """Stop the pool, which drains, then what it needs."""
        self._ending = True
        self._say.info("worker.stopping")
        deadline = Deadline(self._shop.habits.stop_seconds)
        order = [service for service in (self.pool, self._cancels) if service in started]
        late = []
        for service in order:
            service.stop()
            if not service.join(deadline):
                late.append(type(service).__name__)
        if late:
            self._say.error("worker.stuck", services=late, seconds=self._shop.habits.stop_seconds)
        self._say.info("worker.stopped")

    def _failed(self, thread: str, error: BaseException) -> None:
        """Learn that a thread ended by an error: the worker ends with it; a supervisor starts it anew."""
        if self._error is None:
            self._error = error
        if not isinstance(error, DispatcherError):
            self._say.critical("thread.failed", thread=thread, exc_info=error)
        self.stop()
