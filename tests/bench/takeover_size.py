"""A SIGTERM takeover with few and with very many jobs: from the signal to the first fire of the successor."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from broker.process import Dispatcher, until

from bench import schedules
from bench.figure import Figure
from bench.harness import alone
from bench.world import SHARDS, World, applied
from dispatcher.core.message import TopicNames

JOBS, TRIGGERS = 100_000, 2_000
BEATING, JITTER_SECONDS = 40, 1
"""Jobs that fire every second, each at an instant of its own: a shard fires ten times a second."""
TURNS_APIECE = 2
WARM_SECONDS = 8.0


@dataclass(frozen=True)
class Takeover:
    """Seconds from the signal until the last of the shards was taken, and until it had fired again."""

    taken: float
    fired: float


def measure(world: World) -> list[Figure]:
    """Let two replicas hand their shards to one another, with few jobs and with many in turns."""
    turns = max(2, TURNS_APIECE * world.repeat)
    few = _takeovers(world, BEATING, turns)
    jobs = world.scaled(JOBS, BEATING)
    many = _takeovers(world, jobs, turns)
    usual, large = (median(one.fired for one in some) for some in (few, many))
    what = f"SIGTERM to the first fire of every shard, {jobs} jobs against {BEATING}"
    beside = f"{BEATING} jobs: {usual:.2f} s, {jobs} jobs: {large:.2f} s"
    taken = f"{BEATING} jobs: {median(one.taken for one in few):.2f} s"
    return [
        Figure(
            "takeover-size", what, large / usual, "x", 1.5, beside=beside,
            samples=tuple(one.fired for one in many), facts={"few": [one.fired for one in few]},
        ),
        Figure(
            "takeover-size", f"SIGTERM to every shard taken, {jobs} jobs", median(one.taken for one in many),
            "s", beside=taken,
        ),
    ]  # fmt: skip


def _takeovers(world: World, jobs: int, turns: int) -> list[Takeover]:
    """Stop one of two replicas again and again; it comes back as the other's standby."""
    file = world.directory / f"schedule-{jobs}.json"
    entries = list(schedules.spread(jobs, TRIGGERS))
    for entry in entries[:BEATING]:
        entry.pop("cronTime")
        entry.update(every="1s", jitterSeconds=JITTER_SECONDS)
    schedules.write(file, entries)
    found = []
    with world.judged() as names:
        here, there = (_replica(world, names, file, name) for name in ("a", "b"))
        with contextlib.ExitStack() as running:
            running.enter_context(here)
            applied(here, 120)
            running.enter_context(there)
            for _ in range(turns):
                time.sleep(WARM_SECONDS)  # the standby reads along, the shards are shared out
                found.append(_takeover(here, there))
                world.tell(f"{jobs} jobs: {found[-1]}")
                here.start()
                here, there = there, here
    return found


def _replica(world: World, names: TopicNames, file: Path, name: str) -> Dispatcher:
    log = world.directory / f"{names.prefix}-{name}.log"
    flags = ("--instance", name, "--log-level", "debug")
    return Dispatcher(world.bootstrap, names.prefix, file, log, *flags)


def _takeover(leaving: Dispatcher, staying: Dispatcher) -> Takeover:
    owned = {one["shard"] for one in _lines(leaving, 0) if one["event"] == "shard.taken"}
    behind, began = len(staying.text()), time.time()
    leaving.terminate()
    taken: dict[int, float] = {}
    fired: dict[int, float] = {}

    def complete() -> bool:
        for line in _lines(staying, behind):
            shard, at = line.get("shard", -1), datetime.fromisoformat(line["timestamp"]).timestamp()
            if line["event"] == "shard.taken":
                taken.setdefault(shard, at)
            elif shard in taken and line["event"] == "batch.committed" and line["fires"]:
                fired.setdefault(shard, at)
        return bool(fired) and fired.keys() == taken.keys() and len(_owned(staying)) == SHARDS

    until(complete, f"the shards of the other, {owned}, fire again", 60)
    return Takeover(max(taken.values()) - began, max(fired.values()) - began)


def _owned(replica: Dispatcher) -> set[int]:
    """Return the shards a replica has, as its log tells."""
    owned: set[int] = set()
    for line in _lines(replica, 0):
        if line["event"] == "daemon.started":
            owned = set()
        elif line["event"] == "shard.taken":
            owned.add(line["shard"])
        elif line["event"] == "shards.revoked":
            owned -= set(line["shards"])
    return owned


def _lines(replica: Dispatcher, behind: int) -> list[dict[str, Any]]:
    text = replica.text()[behind:]
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]


if __name__ == "__main__":
    alone(measure)
