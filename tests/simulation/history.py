"""Histories: operations with seeds of their own, lived through, drained and judged; shrunk when they fail."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dispatcher.core.batch import Limits
from dispatcher.core.codec import decode
from dispatcher.core.command import Command, CommandType
from dispatcher.core.ledger import Position
from dispatcher.core.schedule import RemovalGuard
from simulation.jobs import NAMES, some_job
from simulation.replica import File
from simulation.world import POINTS, World

LIMITS = Limits(
    heartbeat_ms=7_000, behind_ms=2_000, first_look_ms=1_000, stale_hold_ms=3_000,
    guard=RemovalGuard(share=0.5, least=3),
)  # fmt: skip
KINDS = (
    "work", "work", "storm", "storm", "storm", "aim", "aim", "aim", "aim", "edit", "edit", "edit",
    "roll_back", "take", "take", "give_up", "outage", "clock", "release", "compact", "adopt", "tail",
)  # fmt: skip
COMMANDS: tuple[CommandType, ...] = ("adopt", "accept-clock")


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that happens, with the seed of everything that is chance in it."""

    kind: str
    seed: int


@dataclass(slots=True)
class Result:
    """What a history did and what is wrong with it."""

    faults: list[str]
    counts: Counter[str]
    crashes: Counter[str]
    trace: list[str]


def operations(seed: int) -> list[Operation]:
    """Return the operations of a history."""
    chance = random.Random(seed)
    first = [Operation("edit", chance.getrandbits(32)), Operation("work", chance.getrandbits(32))]
    return first + [
        Operation(chance.choice(KINDS), chance.getrandbits(32)) for _ in range(chance.randrange(3, 11))
    ]


def live(seed: int, todo: Sequence[Operation] | None = None, *, tell: bool = False) -> Result:
    """Live through a history and judge it; without `todo` all its operations."""
    history = History(seed)
    world = history.world
    if tell:
        world.trace = []
    for one in operations(seed) if todo is None else todo:
        world.chance = random.Random(one.seed)
        world.say(f"-- {one.kind}")
        getattr(history, one.kind)()
    faults = history.drain()
    return Result(faults, world.counts, world.crashes, world.trace or [])


def shrink(seed: int) -> list[Operation]:
    """Return as few operations of a failing history as still make it fail."""
    kept = operations(seed)
    size = len(kept) // 2
    while size:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if live(seed, fewer).faults:
                kept = fewer
            else:
                at += size
        size //= 2
    return kept


class History:
    """What can happen to a world."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed + 1)
        batch, piece = chance.choice([(1, 1), (3, 2), (5, 50), (100, 3)])
        self.world = World(replace(LIMITS, batch=batch, piece=piece), chance.choice((1, 2, 3, 3)))
        for machine in self.world.machines:
            machine.skew = chance.choice((0, 0, 0, 40, -700, 1_500))
        self.world.take(self.world.machines[0])

    # What can happen.

    def work(self) -> None:
        """Nothing bad happens for a while."""
        self.world.run(self.world.chance.randrange(500, 5_000))

    def storm(self) -> None:
        """Requests fail, are slow, or are held."""
        world = self.world
        chance = world.chance
        world.rates = {
            "commit": chance.choice((0.1, 0.4)), "abort": 0.5, "fence": 0.1, "ends": 0.1, "read": 0.1,
            "flush": 0.02, "facts": 0.02, "point": chance.choice((0.0, 0.01, 0.03)),
        }  # fmt: skip
        world.run(chance.randrange(500, 5_000))
        world.rates = {}

    def aim(self) -> None:
        """Something happens at one named point."""
        world = self.world
        chance = world.chance
        point = chance.choice(POINTS)
        world.aims[point] = (
            chance.choice((0, 0, 1, 2, 5)),
            chance.choice(("crash", "crash", "pause", "release")),
        )
        if chance.random() < 0.5:
            self.storm()
        else:
            world.run(chance.randrange(500, 4_000))

    def edit(self) -> None:
        """The file changes; each machine gets it in its own time, or not yet."""
        world = self.world
        chance = world.chance
        jobs = dict(world.files[-1].jobs)
        for name in chance.sample(NAMES, chance.choice((1, 2, 3, 6))):
            if chance.random() < 0.25:
                jobs.pop(name, None)
            else:
                jobs[name] = some_job(chance, name, jobs.get(name))
        self._spread(File(f"r{len(world.files)}", jobs))
        world.run(chance.choice((1, 300, 1_500)))

    def roll_back(self) -> None:
        """The file becomes again what it was before."""
        if len(self.world.files) > 2:
            self._spread(self.world.files[-2])
            self.world.run(1_000)

    def take(self) -> None:
        """A machine takes the shard, whoever has it."""
        self.world.take(self.world.chance.choice(self.world.machines))
        self.world.run(self.world.chance.choice((1, 500, 2_000)))

    def give_up(self) -> None:
        """A machine lets go of the shard; another takes it."""
        world = self.world
        for machine in world.machines:
            if machine.process is not None and machine.process.thread is not None:
                world.say(f"{machine.name} gives the shard up")
                world.do(machine.process, machine.process.give_up)
                break
        world.take(world.chance.choice(world.machines))
        world.run(1_000)

    def outage(self) -> None:
        """All are killed, and nobody runs for longer than every grace but one."""
        world = self.world
        self._kill_all()
        world.wait(world.chance.choice((3_000, 8_000, 70_000)))
        world.take(world.chance.choice(world.machines))
        world.run(1_500)

    def clock(self) -> None:
        """A machine's clock is set."""
        self.world.step_clock(self.world.chance.choice(self.world.machines))
        self.world.run(500)

    def release(self) -> None:
        """The network lets go of what it held."""
        self.world.release()

    def compact(self) -> None:
        """The ledger is compacted."""
        self.world.brokers.compact(self.world.ledger)
        self.world.count("compactions")

    def adopt(self) -> None:
        """Somebody wants the held file, or accepts the clock."""
        world = self.world
        kind: CommandType = world.chance.choice(COMMANDS)
        world.commands.append(Command(kind, f"c{len(world.commands)}"))
        world.run(500)

    def tail(self) -> None:
        """The replicas read the ledger as it is now, to be warm when they take the shard."""
        for machine in self.world.machines:
            if machine.process is not None and machine.process.thread is None:
                machine.process.follow()

    def _spread(self, file: File) -> None:
        world = self.world
        world.files.append(file)
        for machine in world.machines:
            lag = world.chance.choice((0, 0, 10, 800, 6_000))
            world.later(lag, lambda machine=machine: world.show(machine, file))  # type: ignore[misc] # bound now

    # The end.

    def drain(self) -> list[str]:
        """Let one healthy replica settle everything; return what is wrong with the history."""
        world = self.world
        world.say("-- drain")
        world.calm, world.rates, world.aims = True, {}, {}
        world.release()
        self._kill_all()
        world.wait(12_000)
        self._kill_all()
        machine = world.machines[-1]
        world.show(machine, world.files[-1])
        world.take(machine)
        world.commands.append(Command("accept-clock", "end"))
        world.run(3_500)
        world.run(2_100)
        return [*world.broken, *self._unsettled(), *self._unread()] or self._judged()

    def _kill_all(self) -> None:
        for machine in self.world.machines:
            if machine.process is not None:
                self.world.kill(machine.process)

    def _judged(self) -> list[str]:
        world = self.world
        latest = max(machine.latest for machine in world.machines)
        wall = world.machines[-1].wall
        return world.judge.faults(max(self._position().cursor.due, wall - 50), max(latest, wall) + 60_000)

    def _position(self) -> Position:
        found = [entry for entry in self.world.seen[self.world.ledger] if entry.key == b"cursor"]
        position = decode(found[-1].key or b"", found[-1].value)
        assert isinstance(position, Position)
        return position

    def _unsettled(self) -> list[str]:
        process = self.world.machines[-1].process
        if process is None or process.thread is None or not process.thread.taken:
            return ["the last replica could not take the shard"]
        if process.thread._failures or not process.thread._sure:
            return ["the last replica has found no rest"]
        return ["backlog is left"] if self._position().backlog else []

    def _unread(self) -> list[str]:
        """Return where a fresh read differs from the live one, where positions go back, what is open."""
        world = self.world
        found = ["a transaction is open"] if world.brokers.has_open() else []
        before: Position | None = None
        for partition in world.brokers.partitions.values():
            fresh = [entry for entry in partition.entries if entry is not None and entry.state == 1]
            live = world.seen.get(partition, [])
            if partition is not world.ledger and fresh != live:
                found.append(f"{partition.topic}-{partition.number}: two readers differ")
        for entry in world.seen.get(world.ledger, []):
            if entry.key != b"cursor":
                continue
            position = decode(entry.key, entry.value)
            assert isinstance(position, Position)
            if before is not None and (position.cursor < before.cursor or position.change < before.change):
                found.append(f"the ledger went back from {before} to {position}")
            before = position
        return found
