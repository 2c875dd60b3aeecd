"""A pool on a log in memory: deliveries are put in by hand, transactions fail when a test wants it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Self

from run_world import HEADERS

from dispatcher.clock import Reading
from dispatcher.core.job import Lane
from dispatcher.core.lanes import Shares
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.outcome import Cancelled, Outcome, Succeeded
from dispatcher.core.run import Delivery, RunReader
from dispatcher.core.scaling import ScalingLimits
from dispatcher.core.settling import Settler
from dispatcher.errors import DispatcherError, InvalidPayload, KafkaUnreachable
from dispatcher.ports import Place, WorkHooks
from dispatcher.service import Deadline
from dispatcher.work.desk import Desk, Times
from dispatcher.work.flow import Flow
from dispatcher.work.handling import Handler, Payload, Task
from dispatcher.work.intake import Intake
from dispatcher.work.pool import Habits, Pool, Staff
from dispatcher.work.scaler import Scaler
from dispatcher.work.waiting import WaitingRoom

TOPICS = TopicNames("d")
LANES = {TOPICS.lane(lane): lane for lane in Lane}
NOW = 1_800_000_000_000


class SteppedClock:
    """Real time that tests may move forward."""

    def __init__(self) -> None:
        self.ahead = 0

    def read(self) -> Reading:
        passed = time.monotonic_ns() // 1_000_000 + self.ahead
        return Reading(NOW + passed, passed)


class Doubt(KafkaUnreachable):
    """A transaction that is committed, but nobody learns of it before `recall`."""


class MemoryLog:
    """A `WorkLog` in memory; `commits` holds every transaction that was committed."""

    def __init__(self) -> None:
        self.hooks: WorkHooks | None = None
        self.commits: list[tuple[list[Outgoing], dict[Place, tuple[int, str]]]] = []
        self.fail: list[bool | DispatcherError] = []
        """What becomes of the next transactions, true for success; when there is none, success."""
        self.mute = 0
        """How often it cannot be found out what became of the last transaction."""
        self._doubted = False
        self.on_hold: set[Place] = set()
        self.closed = False
        self._incoming: SimpleQueue[Callable[[], list[Delivery]]] = SimpleQueue()
        self._positions: dict[Place, int] = {}

    def made(self, hooks: WorkHooks) -> MemoryLog:
        self.hooks = hooks
        return self

    def assign(self, *places: Place, start: int = 0, metadata: str = "") -> None:
        def do() -> list[Delivery]:
            assert self.hooks is not None
            self.hooks.assigned(dict.fromkeys(places, (start, metadata)))
            return []

        self._incoming.put(do)

    def revoke(self, *places: Place, lost: bool = False) -> None:
        def do() -> list[Delivery]:
            assert self.hooks is not None
            (self.hooks.lost if lost else self.hooks.revoked)(places)
            return []

        self._incoming.put(do)

    def deliver(self, *deliveries: Delivery) -> None:
        def do() -> list[Delivery]:
            for one in deliveries:
                self._positions[one.place] = max(one.offset + 1, self._positions.get(one.place, 0))
            return list(deliveries)

        self._incoming.put(do)

    def take(self, seconds: float) -> list[Delivery]:
        try:
            return self._incoming.get(timeout=max(0.001, seconds))()
        except Empty:
            return []

    def hold(self, places: Sequence[Place]) -> None:
        self.on_hold.update(places)

    def go_on(self, places: Sequence[Place]) -> None:
        self.on_hold.difference_update(places)

    def positions(self) -> Mapping[Place, tuple[int, int]]:
        return {place: (position, position) for place, position in self._positions.items()}

    def silence(self) -> float:
        return 0.0

    def commit(self, outgoing: Sequence[Outgoing], offsets: Mapping[Place, tuple[int, str]]) -> bool:
        told = self.fail.pop(0) if self.fail else True
        if told is True or isinstance(told, Doubt):
            self.commits.append((list(outgoing), dict(offsets)))
        if isinstance(told, DispatcherError):
            self._doubted = isinstance(told, Doubt)
            raise told
        return told

    def recall(self) -> bool:
        if self._doubted and self.mute:
            self.mute -= 1
            raise KafkaUnreachable("nobody answers")
        doubted, self._doubted = self._doubted, False
        return doubted

    def close(self) -> None:
        self.closed = True

    @property
    def events(self) -> list[tuple[str, str, int]]:
        """Type, fire and attempt of every committed event."""
        heads = [
            dict(one[4] or ()) for outgoing, _ in self.commits for one in outgoing if one[0] == TOPICS.events
        ]
        return [
            (head["ce_type"].decode(), head.get("fire", b"").decode(), int(head["attempt"])) for head in heads
        ]

    def kinds(self, name: str) -> list[str]:
        """The types of the events of one fire."""
        return [kind for kind, fire, _ in self.events if fire == name]

    def data(self, kind: str) -> list[dict[str, Any]]:
        """The values of all events of a type."""
        return [
            json.loads(one[1] or b"")
            for outgoing, _ in self.commits
            for one in outgoing
            if one[0] == TOPICS.events and dict(one[4] or ())["ce_type"] == kind.encode()
        ]

    def written(self, topic: str) -> list[Outgoing]:
        """What was committed to a topic."""
        return [one for outgoing, _ in self.commits for one in outgoing if one[0] == topic]

    def offset(self, place: Place) -> int | None:
        """The committed offset of a partition."""
        found = [offsets[place][0] for _, offsets in self.commits if place in offsets]
        return found[-1] if found else None


class AnyPayload(Payload):
    """Takes nothing."""


class Scripted:
    """A handler whose runs end when the test says so, or when they are told to."""

    instant = False
    payload: type[Payload] = AnyPayload

    def __init__(self, name: str = "scripted", *, obedient: bool = True) -> None:
        self.name = name
        self.begun: list[Task] = []
        self.obedient = obedient
        self._ends: dict[str, Outcome] = {}
        self._changed = threading.Condition()

    def end(self, fire: str, outcome: Outcome | None = None) -> None:
        with self._changed:
            self._ends[fire] = outcome or Succeeded()
            self._changed.notify_all()

    def run(self, task: Task) -> Outcome:
        def wake() -> None:
            with self._changed:
                self._changed.notify_all()

        task.cancel.then(wake)
        with self._changed:
            self.begun.append(task)
            self._changed.wait_for(
                lambda: task.fire in self._ends or (self.obedient and task.cancel.is_set()), timeout=30
            )
            return self._ends.pop(task.fire, Cancelled("told to"))

    def close(self) -> None:
        return


class Instant:
    """A handler that ends at once."""

    name = "noop"
    instant = True
    payload: type[Payload] = AnyPayload

    def run(self, task: Task) -> Outcome:
        return Succeeded(task.fire)

    def close(self) -> None:
        return


class Raising:
    """A handler that raises what must not be raised."""

    name = "raising"
    instant = False
    payload: type[Payload] = AnyPayload

    def run(self, task: Task) -> Outcome:
        raise SystemExit(f"{task.fire} wants to leave")

    def close(self) -> None:
        return


class Some:
    """Some handlers by name."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = {one.name: one for one in handlers}
        self.closed = False

    def find(self, name: str) -> Handler | None:
        return self._handlers.get(name)

    def why_not(self, name: str) -> str:
        return f"there is no handler {name!r}"

    def read(self, handler: Handler, payload: Any) -> Payload:
        if payload is not None:
            raise InvalidPayload(f"{handler.name} takes no payload")
        return handler.payload()

    def close(self) -> None:
        self.closed = True


class PoolWorld:
    """A pool at work, until the context ends."""

    def __init__(self, *, seats: int = 4, habits: Habits | None = None, times: Times | None = None) -> None:
        self.log = MemoryLog()
        self.clock = SteppedClock()
        self.scripted = Scripted()
        self.handlers = Some(self.scripted, Instant(), Raising())
        self.room = WaitingRoom(Shares(), seats)
        self.desk = Desk(
            RunReader(4), Intake(self.handlers), Settler(TOPICS, "w1", 4, 12), self.room,
            lanes=LANES, times=times or Times(),
        )  # fmt: skip
        self.errors: list[BaseException] = []
        scaler = Scaler(ScalingLimits(least=seats, most=seats), LANES)
        self.pool = Pool(
            self.log.made,
            Staff(
                self.desk, self.room, self.handlers, scaler, Flow(), self.clock,
                habits or Habits(flush=5, look=20, stop_seconds=4),
            ),
            failed=lambda _name, error: self.errors.append(error),
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.pool.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self.errors == []

    def stop(self, seconds: float = 20) -> None:
        self.pool.stop()
        assert self.pool.join(Deadline(seconds))


def fire(
    name: str, offset: int = 0, *, job: str = "scripted", lane: Lane = Lane.NORMAL, partition: int = 0,
    attempt: int = 1, sent: int = 0, headers: Mapping[str, bytes] | None = None, **entry: Any,
) -> Delivery:  # fmt: skip
    """A delivery of the fire `<name>@2026-11-20T02:00:00Z` at an offset."""
    told = {
        **HEADERS, "ce_id": f"{name}@2026-11-20T02:00:00Z".encode(), "ce_subject": name.encode(),
        "attempt": b"%d" % attempt, **(headers or {}),
    }  # fmt: skip
    value = json.dumps({"jobName": name, "job": job, **entry}).encode()
    return Delivery(TOPICS.lane(lane), partition, offset, sent, name.encode(), value, list(told.items()))


def id_of(name: str) -> str:
    """The id of such a fire."""
    return f"{name}@2026-11-20T02:00:00Z"


NORMAL: Place = (TOPICS.lane(Lane.NORMAL), 0)
