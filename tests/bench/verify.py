"""Ten million fires judged in memory: time, and memory for each fire. No broker is asked."""

from __future__ import annotations

import json
import subprocess
import sys

from bench.figure import Figure
from bench.harness import alone
from bench.world import World

JOBS, FIRES = 100_000, 100
_MIB = 1024 * 1024


def measure(world: World) -> list[Figure]:
    """Judge the history in a process of its own."""
    jobs = world.scaled(JOBS)
    total = jobs * FIRES
    done = json.loads(
        subprocess.run(
            [sys.executable, "-m", "bench.verifying", str(jobs), str(FIRES)], check=True, capture_output=True
        ).stdout
    )
    world.tell(f"{total} fires of {jobs} jobs: {done}")
    each = (done["peak MiB"] - done["history MiB"]) * _MIB / total
    return [
        Figure("verify", f"{total} fires of {jobs} jobs judged, peak memory", done["peak MiB"], "MiB",
               beside=f"{done['history MiB']:.0f} MiB of it once the jobs are known", facts=done),
        Figure("verify", "memory for each fire beyond that", each, "bytes",
               beside="slots of the jobs included"),
        Figure("verify", "fires judged in a second", total / done["seconds"], "/s",
               beside=f"making the records took {done['making']:.1f} s of its own"),
    ]  # fmt: skip


if __name__ == "__main__":
    alone(measure)
