"""The end of a history: one healthy replica settles everything, then all that was committed is judged."""

from __future__ import annotations

from dispatcher.core.codec import CURSOR_KEY
from dispatcher.core.command import Command
from dispatcher.core.compact_json import read_json
from dispatcher.core.instant import to_text
from dispatcher.core.ledger import Interval
from dispatcher.core.log_record import Record
from dispatcher.observe.checker import Checker
from dispatcher.observe.verdict import Verdict, Wrong
from simulation.asking import Audit, is_of_plan, pauses
from simulation.broker import COMMITTED, Entry, Partition
from simulation.replica import IDENTITY, TOPICS, Machine
from simulation.world import EVENTS, World

_SETTLING_MS = 12_000
"""After so long all that was on its way has come: transactions have timed out, files are everywhere."""
_SLACK_MS = 50
_PATIENCE_S = 20
"""How long the last replica may take to settle everything, or to get on with what it missed."""
_SLOWEST = 10
"""So many times as long it may take if it gets on: bursts one after the other leave little room."""


def drain(world: World) -> list[str]:
    """Let one healthy replica settle everything; return what is wrong with the history."""
    world.say("-- drain")
    world.calm, world.rates, world.aims = True, {}, {}
    world.refused.clear()
    world.release()
    world.kill_all()
    world.wait(_SETTLING_MS)
    world.kill_all()
    machine = world.machines[-1]
    world.show(machine, world.files[-1])
    world.take(machine)
    world.commands.append(Command("accept-clock", "end"))
    unsettled = _settle(world, machine)
    if machine.process is not None:
        world.do(machine.process, machine.process.give_up)
    told = map(_told, verdict(world).wrong)
    asked = () if unsettled else (*Audit(world).faults(), *pauses(world))
    return [*world.broken, *unsettled, *_unread(world), *_backward(world), *_torn(world), *told, *asked]


def _settle(world: World, machine: Machine) -> list[str]:
    """Give a replica time for as long as it gets on; return why it has not settled everything."""
    unsettled: list[str] = []
    left, missed = _PATIENCE_S, _backlog(machine)
    for _ in range(_SLOWEST * _PATIENCE_S):
        world.run(1_000)
        unsettled = _unsettled(machine)
        before, missed = missed, _backlog(machine)
        left = left - 1 if missed == before else _PATIENCE_S
        if not unsettled or not left:
            break
    return unsettled


def _backlog(machine: Machine) -> tuple[Interval, ...]:
    """Return what is still to be settled of what was missed."""
    thread = None if machine.process is None else machine.process.thread
    position = None if thread is None or thread._shard is None else thread._shard.state.position
    return () if position is None else position.backlog


def verdict(world: World) -> Verdict:
    """Return what the checker says of all that readers of committed records can see."""
    checker = Checker(TOPICS.prefix, 1, tzdata=IDENTITY.tzdata)
    fires: list[tuple[Record, int]] = []
    facts = {entry.key: (offset, entry) for offset, entry in _visible(world.ledger)}
    for offset, entry in facts.values():
        checker.ledger(_record(world.ledger, offset, entry))
    for partition in world.brokers.partitions.values():
        if partition is world.ledger:
            continue
        for offset, entry in _visible(partition):
            if not is_of_plan(entry.heads):
                continue
            record = _record(partition, offset, entry)
            if partition.topic == EVENTS:
                checker.event(record)
            else:
                fires.append((record, entry.seen))
    tally = checker.tally(-1, max(max(one.latest, one.wall) for one in world.machines) + 20_000)
    for record, seen in fires:
        tally.fire(record, seen)
    found = tally.verdict(checker.standings())
    world.counts["fires"] += found.committed
    world.counts["skips"] += found.skipped
    return found


def _record(partition: Partition, offset: int, entry: Entry) -> Record:
    return Record(
        partition.topic, partition.number, offset, entry.appended, entry.headers or [], entry.value, entry.key
    )


def _visible(partition: Partition) -> list[tuple[int, Entry]]:
    return [
        (offset, entry)
        for offset, entry in enumerate(partition.entries[: partition.stable])
        if entry is not None and entry.state == COMMITTED
    ]


def _told(wrong: Wrong) -> str:
    at = "" if wrong.planned is None else f"@{to_text(wrong.planned)}"
    return f"{wrong.kind}: {wrong.job}{at}: {wrong.why}"


def _unsettled(machine: Machine) -> list[str]:
    """Return why the last replica has not settled everything."""
    process = machine.process
    thread = None if process is None else process.thread
    if thread is None or thread._shard is None or not thread.taken:
        return ["stuck: the last replica could not take the shard"]
    if thread._failures or not thread._sure:
        return ["stuck: the last replica has found no rest"]
    shard = thread._shard
    assert shard.state.position is not None
    if shard.clock_hold is not None or shard.state.position.backlog:
        return [f"stuck: clock {shard.clock_hold}, backlog {shard.state.position.backlog}"]
    if shard.state.position.commands != len(machine.world.commands):
        return [
            f"stuck: of {len(machine.world.commands)} commands {shard.state.position.commands} are obeyed"
        ]
    file, held = machine.file, shard.changing.held
    in_force = {name: record.job.definition for name, record in shard.state.records.items()}
    if held is None and in_force != {name: job.definition for name, job in file.jobs.items()}:
        return [f"wrong schedule: in force is {sorted(in_force)}, the file holds {sorted(file.jobs)}"]
    due = shard.firing.next_due()
    if due is not None and due < machine.wall - _SLACK_MS:
        return [f"stuck: what was due at {to_text(due)} is not done"]
    return []


def _unread(world: World) -> list[str]:
    """Return where a fresh read differs from the live one, and what is open."""
    found = ["hangs: a transaction is open"] if world.brokers.has_open() else []
    for partition in world.brokers.partitions.values():
        if partition is world.ledger:
            continue
        if [entry for _, entry in _visible(partition)] != world.seen.get(partition, []):
            found.append(f"two readers differ: {partition.topic}-{partition.number}")
    return found


def _torn(world: World) -> list[str]:
    """Return whether a late request ended a transaction it was not meant for."""
    times = world.counts["late EndTxn ended another"]
    return [f"late: {times} requests ended transactions they were not meant for"] if times else []


def _backward(world: World) -> list[str]:
    """Return where the positions of the ledger go back."""
    found = []
    before: bytes | None = None
    reached: tuple[int, str] = (0, "")
    change = 0
    for entry in world.seen.get(world.ledger, []):
        if entry.key != CURSOR_KEY:
            continue
        assert entry.value is not None
        position = read_json(entry.value)
        place = position["due"], position["name"]
        if before is not None and (place < reached or position["change"] < change):
            found.append(f"the ledger went back: from {before!r} to {entry.value!r}")
        before, reached, change = entry.value, place, position["change"]
    return found
