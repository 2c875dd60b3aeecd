"""A million jobs: time to load, validate and plan, and the memory of the child and of the dispatcher."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from bench import process, schedules
from bench.figure import Figure
from bench.harness import alone
from bench.world import World, applied

JOBS, TRIGGERS = 1_000_000, 2_000
CAP = 512 * 1024 * 1024
_GIB = 1024.0


def measure(world: World) -> list[Figure]:
    """Load the file without Kafka, then with all there is."""
    file = world.directory / "schedule.json"
    jobs = world.scaled(JOBS)
    schedules.write(file, schedules.spread(jobs, TRIGGERS))
    size = file.stat().st_size / 1024 / 1024
    world.tell(f"{jobs} jobs, {size:.0f} MiB")
    done = json.loads(
        subprocess.run(
            [sys.executable, "-m", "bench.loading", str(file), str(CAP)], check=True, capture_output=True
        ).stdout
    )
    world.tell(f"without Kafka: {done}")
    took, held, most = _whole(world, file)
    world.tell(f"the dispatcher: {took:.1f} s, {held:.0f} MiB, {most:.0f} MiB at most")
    facts = {"MiB": round(size), "triggers": TRIGGERS, **done}
    return [
        Figure(
            "million", f"{jobs} jobs loaded, validated, planned", done["seconds"], "s", 20.0,
            beside=f"json.loads of the file alone: {done['parse']:.1f} s", facts=facts,
        ),
        Figure("million", "memory of the loading child, at most", done["child MiB"] / _GIB, "GiB", 2.5,
               beside=f"{size:.0f} MiB of file"),
        Figure("million", "memory of the dispatcher, loaded", held / _GIB, "GiB", 1.0,
               beside=f"{most / _GIB:.2f} GiB at its peak"),
        Figure("million", "file given to in force in all shards, on the broker", took, "s",
               beside="with every job's record and event committed"),
    ]  # fmt: skip


def _whole(world: World, file: Path) -> tuple[float, float, float]:
    """Return the seconds until the schedule is in force in all shards, the memory then and its peak."""
    with (
        world.installation() as names,
        world.dispatcher(names, file, "--max-file-bytes", str(CAP)) as dispatcher,
    ):
        began = time.monotonic()
        dispatcher.says("daemon.started", 60)
        applied(dispatcher, 600)
        took = time.monotonic() - began
        time.sleep(10)
        held, most = process.memory(dispatcher.pid), process.memory(dispatcher.pid, "VmHWM")
        dispatcher.terminate(60)
    return took, held, most


if __name__ == "__main__":
    alone(measure)
