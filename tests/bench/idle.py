"""Very many jobs and nothing due: what a minute of it costs, the client library included."""

from __future__ import annotations

import time

from bench import process, schedules
from bench.figure import Figure
from bench.harness import alone
from bench.world import World, applied

JOBS, TRIGGERS, SECONDS, SETTLE_SECONDS = 100_000, 2_000, 60, 10


def measure(world: World) -> list[Figure]:
    """Watch the processor time of an idle dispatcher and its spare child."""
    file = world.directory / "schedule.json"
    jobs, seconds = world.scaled(JOBS), world.scaled(SECONDS, 15)
    schedules.write(file, schedules.spread(jobs, TRIGGERS))
    with world.installation() as names, world.dispatcher(names, file) as dispatcher:
        applied(dispatcher, 120)
        time.sleep(SETTLE_SECONDS)
        world.tell(f"watching for {seconds} s")
        before, began = process.spent(dispatcher.pid), time.monotonic()
        time.sleep(seconds)
        used = process.spent(dispatcher.pid).since(before)
        share = 100 * used.total / (time.monotonic() - began)
        threads = {name: round(100 * spent / seconds, 2) for name, spent in used.by_name().items()}
        memory = process.memory(dispatcher.pid)
        dispatcher.terminate(30)
    world.tell(f"{share:.2f} %, by thread: {threads}")
    facts = {"percent by thread": threads, "memory MiB": memory}
    beside = f"{memory:,.0f} MiB held; {len(threads)} threads took any time"
    return [
        Figure("idle", f"{jobs} jobs, nothing due", share, "% of a core", 1.0, beside=beside, facts=facts)
    ]


if __name__ == "__main__":
    alone(measure)
