"""Histories: operations with seeds of their own, lived through, drained and judged; shrunk when they fail."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dispatcher.core.batch import Limits
from dispatcher.core.command import Command
from dispatcher.core.schedule import RemovalGuard
from simulation.ending import drain
from simulation.jobs import NAMES
from simulation.quiet import Chance
from simulation.world import ACTIONS, POINTS, World

LIMITS = Limits(
    heartbeat_ms=7_000, behind_ms=2_000, first_look_ms=1_000, stale_hold_ms=1_500, stage_rate=20,
    guard=RemovalGuard(share=0.5, least=3),
)  # fmt: skip
KINDS = (
    "work", "work", "storm", "storm", "storm", "aim", "aim", "aim", "aim", "edit", "edit", "edit",
    "roll_back", "take", "take", "give_up", "outage", "clock", "release", "compact", "command", "command",
    "tail", "jump", "refuse",
)  # fmt: skip


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
        Operation(chance.choice(KINDS), chance.getrandbits(32)) for _ in range(chance.randrange(2, 9))
    ]


def live(seed: int, todo: Sequence[Operation] | None = None, *, tell: bool = False) -> Result:
    """Live through a history and judge it; without `todo` all its operations."""
    history = History(seed)
    Chance.source = random.Random(seed + 2)
    world = history.world
    if tell:
        world.trace = []
    for one in operations(seed) if todo is None else todo:
        world.chance = random.Random(one.seed)
        world.say(f"-- {one.kind}")
        getattr(history, one.kind)()
    result = Result(drain(world), world.counts, world.crashes, world.trace or [])
    world.end()
    return result


def shrink(seed: int) -> list[Operation]:
    """Return as few operations of a failing history as still make it fail."""
    kept = operations(seed)
    size = len(kept) // 2
    while size:
        at, before = 0, len(kept)
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if live(seed, fewer).faults:
                kept = fewer
            else:
                at += size
        size = size if size == 1 and len(kept) < before else size // 2
    return kept


class History:
    """What can happen to a world."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed + 1)
        batch, piece = chance.choice([(1, 1), (3, 2), (5, 50), (100, 3)])
        limits = replace(
            LIMITS, batch=batch, piece=piece, stage_ahead_ms=chance.choice((0, 700, 2_000)),
            stage_from=chance.choice((1, 2)), stage_most=chance.choice((2, 100)),
            catch_up_rate=chance.choice((0, 0, 300)), catch_up_most=chance.choice((0, 0, 3)),
        )  # fmt: skip
        self.world = World(limits, chance.choice((1, 2, 3, 3)))
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
        world.aims[point] = (chance.choice((0, 0, 1, 2, 5)), chance.choice(ACTIONS))
        if point == "between pieces":
            world.edit()
        if point == "revocation":
            self.give_up()
        if "abort" in point:
            world.aims[point] = (0, "crash")
        if "abort" in point or chance.random() < 0.5:
            self.storm()
        else:
            world.run(chance.randrange(500, 4_000))

    def edit(self) -> None:
        """The file changes; each machine gets it in its own time, or not yet."""
        world = self.world
        world.edit()
        if world.chance.random() < 0.3:
            world.run(world.chance.choice((1, 20, 100)))
            world.edit()
        world.run(world.chance.choice((1, 300, 1_500)))

    def roll_back(self) -> None:
        """The file becomes again what it was before."""
        if len(self.world.files) > 2:
            self.world.spread(self.world.files[-2])
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
        self.world.kill_all()
        world.wait(world.chance.choice((3_000, 8_000, 70_000)))
        world.take(world.chance.choice(world.machines))
        world.run(1_500)

    def clock(self) -> None:
        """A machine's clock is set."""
        self.world.step_clock(self.world.chance.choice(self.world.machines))
        self.world.run(500)

    def jump(self) -> None:
        """A machine's clock is set far off, or right again; somebody may accept it."""
        world = self.world
        world.jump(world.chance.choice(world.machines))
        world.run(world.chance.choice((300, 2_000)))
        if world.chance.random() < 0.7:
            world.commands.append(Command("accept-clock", f"c{len(world.commands)}"))
            world.run(300)

    def refuse(self) -> None:
        """Brokers refuse the messages of a job, or of none any longer."""
        world = self.world
        world.refused = {name.encode() for name in world.chance.sample(NAMES, world.chance.choice((0, 1, 2)))}
        world.run(world.chance.randrange(500, 4_000))

    def release(self) -> None:
        """The network lets go of what it held."""
        self.world.release()

    def compact(self) -> None:
        """The ledger is compacted."""
        self.world.brokers.compact(self.world.ledger)
        self.world.count("compactions")

    def command(self) -> None:
        """Somebody asks something of the shard, perhaps much at once."""
        for _ in range(self.world.chance.choice((1, 1, 2, 8))):
            self.world.command()
        self.world.run(500)

    def tail(self) -> None:
        """The replicas read the ledger as it is now, to be warm when they take the shard."""
        for machine in self.world.machines:
            if machine.process is not None and machine.process.thread is None:
                machine.process.follow()
