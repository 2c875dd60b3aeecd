"""What is asked of jobs and fires in a history, and what must have become of it: each thing once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from dispatcher.core.asked import OF_JOBS
from dispatcher.core.codec import decode
from dispatcher.core.command import Command, CommandType, Parcel, retry_id
from dispatcher.core.instant import to_text
from dispatcher.core.ledger import Timer
from dispatcher.core.message import asked_id, fire_in, is_planned, job_of
from dispatcher.core.run_event import fire_of_timer
from simulation.broker import Entry
from simulation.jobs import NAMES
from simulation.replica import TOPICS

if TYPE_CHECKING:
    from simulation.world import World

KINDS: tuple[CommandType, ...] = (
    "adopt", "accept-clock", "drop-missed", "trigger", "trigger", "retry", "retry", "retry", "pause",
    "resume", "cancel", "cancel",
)  # fmt: skip
TOLD = ("run.triggered", "run.redriven", "run.cancelled", "run.skipped")

Run = tuple[str, int]
"""A fire and the attempt at it."""


def some_command(world: World) -> Command:
    """Return something that somebody may ask, or what somebody asked before: clients repeat themselves."""
    chance = world.chance
    asked = [one for one in world.commands if one.type in OF_JOBS]
    if asked and chance.random() < 0.2:
        return chance.choice(asked)
    kind, ident = chance.choice(KINDS), f"c{len(world.commands)}"
    match kind:
        case "drop-missed":
            return Command(kind, ident, until=world.now - chance.choice((0, 900, 4_000)))
        case "trigger" | "pause" | "resume":
            return Command(kind, ident, job=chance.choice(NAMES))
        case "cancel":
            return Command(kind, ident, fire=_some_fire(world, asked))
        case "retry" if world.sent:
            return _some_retry(world)
    return Command("adopt" if kind == "retry" else kind, ident)


def _some_fire(world: World, asked: list[Command]) -> str:
    """Return a fire that may be waiting: asked for, tried again, or left behind by the plan."""
    fires = [_run(one)[0] for one in asked if one.type in ("trigger", "retry")]
    fires += [timer.id for timer in _timers(world) if is_planned(timer)]
    return world.chance.choice(fires[-8:] or ["a!none"])


def _some_retry(world: World) -> Command:
    """Return what a worker writes whose run of a message failed, or somebody who has it tried once more."""
    chance = world.chance
    topic, entry = chance.choice(world.sent[-12:])
    headers = entry.headers or []
    fire = fire_in(headers)
    assert fire is not None
    attempt = int(dict(headers)["attempt"]) + chance.choice((1, 1, 2))
    return Command(
        "retry", retry_id(fire, attempt), job=job_of(fire), fire=fire, attempt=attempt,
        at=world.now + chance.choice((-500, 0, 300, 2_000)),
        parcel=Parcel(topic, entry.key, entry.value or b"", tuple(headers)),
        origin=chance.choice(("pool", "pool", "user")),
    )  # fmt: skip


def _run(command: Command) -> Run:
    """Return the run that a trigger or a retry asks for."""
    if command.type == "trigger":
        return asked_id(command.job or "", command.id), 1
    return command.fire or "", command.attempt or 0


def _timers(world: World) -> list[Timer]:
    """Return the timers that the ledger holds."""
    facts = {entry.key: entry.value for entry in world.seen.get(world.ledger, ()) if entry.key is not None}
    found = (decode(key, value) for key, value in facts.items() if value and key.startswith(b"timer/"))
    return [one for one in found if isinstance(one, Timer)]


def is_of_plan(heads: Mapping[str, bytes]) -> bool:
    """Return whether a record is about the plan alone: no run that was asked for or is tried again."""
    if heads["ce_type"] == b"dispatcher.fire":
        return heads["attempt"] == b"1" and b"!" not in heads["ce_id"]
    return "attempt" not in heads


class Audit:
    """What readers of committed records see of what was asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._answers: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._told: Counter[tuple[str, Run]] = Counter()
        self._sent: defaultdict[Run, list[tuple[str, Entry]]] = defaultdict(list)
        for partition, entries in world.seen.items():
            if partition.topic == TOPICS.events:
                for entry in entries:
                    self._event(entry.heads)
        for topic, entry in world.sent:
            if not is_of_plan(entry.heads):
                heads = entry.heads
                self._sent[heads["ce_id"].decode(), int(heads["attempt"])].append((topic, entry))
        wall = world.machines[-1].wall  # it has the shard at the end, with a clock that may be far behind
        self._waiting = {(fire_of_timer(one), one.attempt) for one in _timers(world) if one.due > wall}

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with it."""
        runs: defaultdict[Run, list[Command]] = defaultdict(list)
        occurrences: Counter[str] = Counter()
        for command in self._world.commands:
            if command.origin != "pool":
                occurrences[command.id] += 1
            if command.type in ("trigger", "retry"):
                runs[_run(command)].append(command)
        for ident, times in occurrences.items():
            if self._answers[ident] != times:
                yield f"answered: {ident} was asked {times} times and answered {self._answers[ident]}"
        for run, commands in runs.items():
            yield from self._of_run(run, commands)
        for run in self._sent.keys() - runs.keys():
            yield f"unexpected: nobody asked for {run}"

    def _event(self, heads: dict[str, bytes]) -> None:
        kind = heads["ce_type"].decode()
        if kind in ("command.obeyed", "command.refused"):
            ident = heads["ce_id"].decode().split("/", 2)[2]
            self._answers[ident] += 1
            self._refused[ident] += kind == "command.refused"
        elif kind in TOLD and "attempt" in heads:
            self._told[kind, (heads["fire"].decode(), int(heads["attempt"]))] += 1

    def _of_run(self, run: Run, commands: list[Command]) -> Iterator[str]:
        """Yield what is wrong with a run that was asked for once or more: it must have ended once."""
        accepted = 1
        if commands[0].type == "trigger":
            accepted = self._told["run.triggered", run]
            if accepted != (self._refused[commands[0].id] < len(commands)):
                yield f"lost or doubled: {run} was triggered {accepted} times"
        elif all(one.origin == "user" for one in commands) and self._told["run.redriven", run] != 1:
            yield f"lost or doubled: {run} was redriven {self._told['run.redriven', run]} times"
        sent = self._sent.get(run, [])
        ends = (len(sent), self._told["run.skipped", run], self._told["run.cancelled", run])
        if sum(ends) + (run in self._waiting) != accepted:
            yield f"lost or doubled: of {run}, {accepted} accepted, (sent, skipped, cancelled) are {ends}"
        for topic, entry in sent if commands[0].type == "retry" else ():
            yield from _altered(run, commands, topic, entry)


def _altered(run: Run, commands: list[Command], topic: str, entry: Entry) -> Iterator[str]:
    parcel = cast("Parcel", commands[0].parcel)
    headers = {**dict(parcel.headers), "attempt": str(run[1]).encode()}
    if (topic, entry.key, entry.value) != (parcel.topic, parcel.key, parcel.value):
        yield f"altered: {run} is another message now"
    if entry.heads != headers:
        yield f"altered: {run} has the headers {entry.headers}"
    at = min(one.at or 0 for one in commands)
    if entry.seen < at:
        yield f"early: {run} was seen at {to_text(entry.seen)}, it was asked for {to_text(at)}"


def pauses(world: World) -> Iterator[str]:
    """Yield what is wrong with pauses: no fire of the plan goes out within one, and no other is skipped so.

    What is paused follows from what was answered and from the changes told, transaction by transaction.
    """
    turns, skipped = _pauses_told(world)
    if not turns and not skipped:
        return
    paused: set[str] = set()
    before: dict[int, frozenset[str]] = {}
    for entry in world.seen.get(world.ledger, ()):
        if entry.txn not in before:
            before[entry.txn] = frozenset(paused)
            for name, begins in turns.get(entry.txn, ()):
                (paused.add if begins else paused.discard)(name)
    for _, entry in world.sent:
        name = entry.heads["ce_subject"].decode()
        if name in before.get(entry.txn, ()) and is_of_plan(entry.heads):
            yield f"unpaused: {entry.heads['ce_id']!r} went out"
    for number, name in skipped:
        if name not in before.get(number, (name,)):
            yield f"paused: {name} was skipped as paused, and was not"


def _pauses_told(world: World) -> tuple[dict[int, list[tuple[str, bool]]], list[tuple[int, str]]]:
    """Return which pauses began and ended in which transaction, and which jobs were skipped as paused."""
    turns: defaultdict[int, list[tuple[str, bool]]] = defaultdict(list)
    skipped: list[tuple[int, str]] = []
    for partition, entries in world.seen.items():
        for entry in entries if partition.topic == TOPICS.events else ():
            heads = entry.heads
            value = entry.value or b""
            match heads["ce_type"]:
                case b"command.obeyed" if b'"done":true' in value:
                    data = json.loads(value)
                    if data["command"] in ("pause", "resume"):
                        turns[entry.txn].append((data["job"], data["command"] == "pause"))
                case b"schedule.applied" if b'"removed":{"count":0' not in value:
                    data = json.loads(value)
                    names = data["removed"]["names"] if "removed" in data else ()
                    turns[entry.txn] += [(name, False) for name in names]
                case b"run.skipped" if b'"reason":"paused"' in value:
                    skipped.append((entry.txn, heads["ce_subject"].decode()))
    return turns, skipped
