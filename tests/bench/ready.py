"""From the start of a process to ready, with very many jobs in force: every shard taken, schedule and all.

The ledger is warm: the process before it was stopped in good order. A broker's delay of a group's first
rebalance is left out, as the brokers of the tests have none; by default it adds three seconds for an instance
that had no shard before.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from broker.process import Dispatcher, until

from bench import schedules
from bench.figure import Figure
from bench.harness import alone
from bench.process import spent
from bench.world import SHARDS, World, applied
from dispatcher.core.message import TopicNames

JOBS, TRIGGERS, FEW = 100_000, 2_000, 40
STARTS_APIECE = 3
REACH_SECONDS = 3.0


@dataclass(frozen=True)
class Start:
    """How long a start took, and the processor time it cost, which tells more on a busy machine."""

    seconds: float
    processor: float


def measure(world: World) -> list[Figure]:
    """Start it again and again, as the instance that had the shards and as another one."""
    jobs, starts = world.scaled(JOBS, FEW), max(2, STARTS_APIECE * world.repeat)
    few, many = _starts(world, FEW, starts), _starts(world, jobs, starts)
    figures = []
    for who in ("same", "other"):
        took, usual = ([one.seconds for one in side[who]] for side in (many, few))
        cost, usual_cost = ([one.processor for one in side[who]] for side in (many, few))
        figures.append(
            Figure(
                "ready", f"{jobs} jobs on a warm ledger, {who} instance: start to every shard taken",
                median(took), "s", REACH_SECONDS, samples=tuple(took),
                beside=f"{FEW} jobs: {median(usual):.2f} s; worst {max(took):.2f} s;"
                f" processor time {median(cost):.2f} s, of {FEW} jobs {median(usual_cost):.2f} s",
                facts={"few": usual, "processor": cost, "few_processor": usual_cost},
            )
        )  # fmt: skip
    return figures


def _starts(world: World, jobs: int, count: int) -> dict[str, list[Start]]:
    """Return each start, of the instance that was there before and of others."""
    file = world.directory / f"schedule-{jobs}.json"
    schedules.write(file, schedules.spread(jobs, TRIGGERS))
    found: dict[str, list[Start]] = {"same": [], "other": []}
    with world.installation() as names:
        with _instance(world, names, file, "i0") as first:
            applied(first, 180)
            first.terminate(30)
        who = 0
        for turn in range(2 * count):
            kind = "other" if turn % 2 else "same"
            who += kind == "other"
            found[kind].append(_start(_instance(world, names, file, f"i{who}")))
            last = found[kind][-1]
            world.tell(
                f"{jobs} jobs, {kind} instance: {last.seconds:.2f} s, processor {last.processor:.2f} s"
            )
    return found


def _start(daemon: Dispatcher) -> Start:
    """Start a dispatcher; return what it took until it had taken every shard."""
    behind, began = len(daemon.text()), time.time()
    with daemon:
        until(lambda: len(taken(daemon, behind)) == SHARDS, "every shard is taken", 60)
        processor = spent(daemon.pid).total
        daemon.terminate(30)
    return Start(max(taken(daemon, behind).values()) - began, processor)


def taken(daemon: Dispatcher, behind: int) -> dict[int, float]:
    """Return when each shard was taken since a place in the log."""
    found: dict[int, float] = {}
    for line in daemon.text()[behind:].splitlines():
        if '"shard.taken"' in line and line.endswith("}"):
            told = json.loads(line)
            found.setdefault(told["shard"], datetime.fromisoformat(told["timestamp"]).timestamp())
    return found


def _instance(world: World, names: TopicNames, file: Path, name: str) -> Dispatcher:
    log = world.directory / f"{names.prefix}-{name}.log"
    return Dispatcher(world.bootstrap, names.prefix, file, log, "--instance", name)


if __name__ == "__main__":
    alone(measure)
