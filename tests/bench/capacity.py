"""What an installation takes as its jobs grow: memory, disk, and the time until its schedule is in force."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from broker.cluster import own_kafka
from broker.process import until

from bench import process, schedules
from bench.disk import on_disk
from bench.figure import Figure
from bench.harness import alone
from bench.ready import taken
from bench.world import SHARDS, World, applied
from dispatcher.core.message import TopicNames

SIZES, TRIGGERS = (1_000, 10_000, 100_000), 2_000
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Taken:
    """What so many jobs took: megabytes (MiB) and seconds."""

    jobs: int
    file: float
    memory: float
    ledger: float
    events: float
    in_force: float
    again: float


def measure(world: World) -> list[Figure]:
    """Put schedules of growing size in force, each on an empty broker, and start them once more."""
    return [_figure(_take(world, world.scaled(jobs, 40))) for jobs in SIZES]


def _figure(taken: Taken) -> Figure:
    told = (
        f"file {taken.file:.1f} MiB; on disk ledger {taken.ledger:.1f}, events {taken.events:.1f} MiB;"
        f" in force after {taken.in_force:.1f} s, started again after {taken.again:.1f} s"
    )
    return Figure(
        "capacity", f"{taken.jobs} jobs: memory of the dispatcher", taken.memory, "MiB", beside=told,
        facts=vars(taken),
    )  # fmt: skip


def _take(world: World, jobs: int) -> Taken:
    file = world.directory / f"schedule-{jobs}.json"
    schedules.write(file, schedules.spread(jobs, min(jobs, TRIGGERS)))
    with own_kafka() as cluster:
        here = replace(world, bootstrap=cluster.bootstrap)
        with here.installation() as names:
            in_force, memory, again = _live(here, names, file)
            ledger, events = (
                sum(on_disk(cluster.nodes[0].directory, f"{topic}-{shard}") for shard in range(SHARDS)) / _MIB
                for topic in (names.ledger, names.events)
            )
    world.tell(f"{jobs} jobs: {memory:.0f} MiB, in force after {in_force:.1f} s")
    return Taken(jobs, file.stat().st_size / _MIB, memory, ledger, events, in_force, again)


def _live(world: World, names: TopicNames, file: Path) -> tuple[float, float, float]:
    """Return the seconds until all is in force, the memory soon after, and the seconds of a restart."""
    with world.dispatcher(names, file) as dispatcher:
        began = time.monotonic()
        applied(dispatcher, 300)
        in_force = time.monotonic() - began
        time.sleep(10)
        memory = process.memory(dispatcher.pid)
        dispatcher.terminate(60)
        behind, began = len(dispatcher.text()), time.monotonic()
        dispatcher.start()
        until(lambda: len(taken(dispatcher, behind)) == SHARDS, "every shard is taken again", 120)
        again = time.monotonic() - began
        dispatcher.terminate(60)
    return in_force, memory, again


if __name__ == "__main__":
    alone(measure)
