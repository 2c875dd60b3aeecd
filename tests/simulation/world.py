"""A world for replicas: brokers, one virtual time, and what may happen at every step.

Nothing runs in threads. Whoever is at work calls `point` at every place where a process can die or wait;
there the world may kill it, or let the others go on while it stands still, and only then return.
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count

from dispatcher.core.batch import Limits
from dispatcher.core.command import Command
from dispatcher.core.instant import to_text
from dispatcher.core.job import Job
from simulation.asking import some_command
from simulation.broker import Brokers, Entry, Partition
from simulation.jobs import NAMES, START, some_job
from simulation.replica import TOPICS, Crash, File, Machine, Process

POINTS = (
    "assignment", "between steps", "between pieces", "staged", "revocation", "clock read", "topic asked",
    "before fence", "after fence", "before ends", "before replay", "during replay", "after replay",
    "before begin", "after begin", "fires produced", "ledger produced", "flushed",
    "before EndTxn", "EndTxn done", "EndTxn acked", "before abort", "aborted",
)  # fmt: skip
"""Every place where a process can die or stand still."""
INSIDE = ("after begin", "fires produced", "ledger produced", "flushed")
"""Points within a transaction, where a late request does harm."""
ACTIONS = (
    "crash",
    "crash",
    "crash",
    "crash",
    "pause",
    "pause",
    "pause",
    "release",
    "delay",
    "clock",
    "edit",
    "command",
)
COMMITS = ("slow", "held", "held", "unheard", "silent", "refusal", "refusal")
ABORTS = ("slow", "held", "held", "held", "unheard", "silent")
_DEEPEST = 2
EVENTS = TOPICS.events


class World:
    """All that there is. `chance` decides everything; `calm` means that nothing bad happens."""

    def __init__(self, limits: Limits, machines: int) -> None:
        self.chance = random.Random(0)
        self.limits = limits
        self.topics = TOPICS
        self.now = START
        self.calm = False
        self.rates: dict[str, float] = {}
        """How often what fails, by what it is."""
        self.aims: dict[str, tuple[int, str]] = {}
        """At which point, after how many passes, what happens."""
        self.jobs: dict[str, Job] = {}
        self.files = [File("", {})]
        self.commands: list[Command] = []
        self.counts: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()
        self.broken: list[str] = []
        """What ended a process that nobody killed."""
        self.trace: list[str] | None = None
        self.refused: set[bytes] = set()
        """The jobs whose messages brokers refuse."""
        self.brokers = Brokers(self._now, self.later, self._read, self.count)
        self.ledger = self.brokers.partition(TOPICS.ledger, 0)
        self.seen: dict[Partition, list[Entry]] = {}
        self.sent: list[tuple[str, Entry]] = []
        """The messages that readers of job topics have seen."""
        self._later: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = count()
        self._depth = 0
        self.processes: list[Process] = []
        """Every process there ever was."""
        self.machines = [Machine(name, self) for name in "abc"[:machines]]
        for machine in self.machines:
            self.restart(machine)

    # Time.

    def _now(self) -> int:
        return self.now

    def seconds(self) -> float:
        """Return a clock that never goes back."""
        return self.now / 1000

    def later(self, milliseconds: int, act: Callable[[], None]) -> None:
        """Do something after so many milliseconds."""
        heappush(self._later, (self.now + milliseconds, next(self._serial), act))

    def wait(self, milliseconds: float) -> None:
        """Let time pass, with what it brings."""
        until = self.now + round(milliseconds)
        later = self._later
        while later and later[0][0] <= until:
            at, _, act = heappop(later)
            self.now = max(self.now, at)
            act()
        self.now = max(self.now, until)

    def run(self, milliseconds: int) -> None:
        """Let the replicas work for so long."""
        until = self.now + milliseconds
        while self.now < until:
            process = self._next()
            if process is not None and process.wake <= self.now:
                self.do(process, process.step)
                if not self.calm and self.chance.random() < 0.3:
                    self.wait(self.chance.choice((1, 3, 40)))
                continue
            wake = until if process is None else min(until, process.wake)
            if self._later and self._later[0][0] < wake:
                wake = max(self.now, self._later[0][0])
            self.wait(wake - self.now)

    def _next(self) -> Process | None:
        """Return the process that is to work next, None while none has the shard or all stand still."""
        first = None
        for machine in self.machines:
            one = machine.process
            if one is None or one.thread is None or one.busy:
                continue
            if first is None or one.wake < first.wake:
                first = one
        return first

    def _processes(self) -> list[Process]:
        return [machine.process for machine in self.machines if machine.process is not None]

    def do(self, process: Process, act: Callable[[], None]) -> None:
        """Have a process do something; it may die of it."""
        process.busy = True
        try:
            act()
        except Crash:
            pass
        except Exception as error:  # noqa: BLE001 - whatever ends a process is to be told
            self.broken.append(f"ended by {error!r} on {process.machine.name}\n{traceback.format_exc()}")
            self.say(f"{process.machine.name} ended by {error!r}")
            self.kill(process)
        finally:
            process.busy = False

    # What happens to replicas.

    def restart(self, machine: Machine) -> None:
        """Start a process where there is none."""
        if machine.process is None:
            machine.process = Process(machine)
            self.processes.append(machine.process)

    def kill(self, process: Process) -> None:
        """Kill a process; it ends when it next gets to run."""
        process.dead = True
        if process.machine.process is process:
            process.machine.process = None

    def kill_all(self) -> None:
        """Kill every process there is."""
        for process in self._processes():
            self.kill(process)

    def take(self, machine: Machine) -> None:
        """Have a machine's process take the shard."""
        self.restart(machine)
        process = machine.process
        if process is not None and process.thread is None:
            self.say(f"{machine.name} takes the shard")
            process.take()

    def show(self, machine: Machine, file: File) -> None:
        """Have a machine's disk hold a version of the file."""
        machine.file = file
        if machine.process is not None:
            machine.process.see_file()

    def point(self, process: Process, name: str) -> None:
        """Be at a place where a process can die or stand still."""
        if process.dead:
            raise Crash
        if self.calm:
            return
        if self.brokers.held and name in INSIDE and self.chance.random() < 0.35:
            self.release()
        aim = self.aims.get(name) if self.aims else None
        if aim is not None:
            if aim[0]:
                self.aims[name] = (aim[0] - 1, aim[1])
                return
            del self.aims[name]
            self._act(aim[1], name, process)
        elif self.rates and self.chance.random() < self.rates.get("point", 0.0):
            self._act(self.chance.choice(ACTIONS), name, process)
        if process.dead:
            raise Crash

    @property
    def restless(self) -> bool:
        """Whether anything may go wrong just now."""
        return not self.calm and bool(self.aims or self.rates or self.brokers.held)

    def fault(self, kind: str) -> str | None:
        """Return what goes wrong with a request of a kind, if anything does."""
        if self.calm or not self.rates:
            return None
        rate = self.rates.get(kind)
        if rate is None or self.chance.random() >= rate:
            return None
        if kind == "commit":
            return self.chance.choice(COMMITS)
        return self.chance.choice(ABORTS) if kind == "abort" else kind

    def marker_lag(self) -> int:
        """Return after how many milliseconds readers know of a transaction's end."""
        if self.calm or not self.rates or self.chance.random() < 0.8:
            return 0
        return self.chance.choice((1, 20, 300, 900))

    def fights(self) -> bool:
        """Return whether a replica that was fenced takes the shard back."""
        return self.calm or self.chance.random() < 0.7

    def compare_lag(self) -> int:
        """Return how long it takes to compare the file with what is in force."""
        return 0 if self.chance.random() < 0.5 else self.chance.choice((5, 60, 700))

    def release(self) -> None:
        """Let every request that the network holds arrive."""
        held, self.brokers.held[:] = self.brokers.held[:], []
        for one in held:
            self.say(f"a held EndTxn ({'commit' if one.commit else 'abort'}, epoch {one.epoch}) arrives")
            self.brokers.release(one)

    def _act(self, action: str, name: str, process: Process) -> None:
        self.say(f"{process.machine.name} {name}: {action}")
        match action:
            case "crash":
                self.crashes[name] += 1
                self.kill(process)
                self._find_successor(process.machine)
                raise Crash
            case "pause":
                self._pause(process)
            case "release":
                self.release()
            case "delay":
                self.wait(self.chance.choice((1, 50, 250, 900, 11_000)))
            case "clock":
                self.step_clock(process.machine)
            case "edit":
                self.edit()
            case "command":
                self.command()

    def _pause(self, process: Process) -> None:
        """Let a process stand still while the others go on, with another as the owner."""
        if self._depth >= _DEEPEST:
            return
        self.count("pauses")
        self._depth += 1
        others = [machine for machine in self.machines if machine is not process.machine]
        if others and self.chance.random() < 0.8:
            self.take(self.chance.choice(others))
        self.run(self.chance.choice((5, 300, 2_000, 12_000)))
        self._depth -= 1
        self.say(f"{process.machine.name} goes on")

    def _find_successor(self, machine: Machine) -> None:
        successor = self.chance.choice([machine, *self.machines])
        self.later(self.chance.choice((1, 300, 3_000)), lambda: self.take(successor))

    def edit(self) -> None:
        """Change the file; each machine gets it in its own time."""
        chance = self.chance
        jobs = dict(self.files[-1].jobs)
        for name in chance.sample(NAMES, chance.choice((1, 2, 3, 6))):
            if chance.random() < 0.25:
                jobs.pop(name, None)
            else:
                jobs[name] = some_job(chance, name, jobs.get(name))
        self.spread(File(f"r{len(self.files)}", jobs))

    def spread(self, file: File) -> None:
        """Have every machine get a version of the file, each in its own time."""
        self.files.append(file)
        for machine in self.machines:
            lag = self.chance.choice((0, 0, 10, 800, 6_000))
            self.later(lag, partial(self.show, machine, file))

    def jump(self, machine: Machine) -> None:
        """Set a machine's clock by more than anybody would believe."""
        machine.skew += self.chance.choice((-90_000, 90_000, -machine.skew))
        self.count("clock jumps")

    def command(self) -> None:
        """Have somebody ask something of the shard."""
        command = some_command(self)
        self.commands.append(command)
        self.say(f"somebody asks: {command.type} {command.id} {command.job or command.fire or ''}")
        for process in self._processes():
            process.wake = min(process.wake, self.now)

    def step_clock(self, machine: Machine) -> None:
        """Set a machine's wall clock."""
        machine.skew += self.chance.choice((-5_000, -300, -1, 1, 300, 2_500, 5_000))
        self.count("clock steps")

    def end(self) -> None:
        """Let go of what was recorded, and of who did it: it is in circles, which cost time to find."""
        for process in self.processes:
            process.end()
        vars(self.brokers).clear()
        vars(self).clear()

    # What is told.

    def count(self, what: str) -> None:
        """Count something that happened."""
        self.counts[what] += 1

    def say(self, what: str) -> None:
        """Tell the trace."""
        if self.trace is not None:
            self.trace.append(f"{to_text(self.now)[14:]:>10}  {'  ' * self._depth}{what}")

    def _read(self, partition: Partition, entries: list[Entry]) -> None:
        """Be the live reader of committed records."""
        self.seen.setdefault(partition, []).extend(entries)
        if partition is self.ledger:
            return
        seen = max([max(one.wall, one.latest) for one in self.machines])
        for entry in entries:
            entry.seen = seen
            if partition.topic == EVENTS:
                assert entry.headers is not None
                self.count(entry.headers[1][1].decode())
            else:
                self.sent.append((partition.topic, entry))
            if self.trace is not None:
                heads = entry.heads
                self.say(f"       seen: {heads['ce_id'].decode()} of {entry.by.machine.name}")
