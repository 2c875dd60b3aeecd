"""A reload of very many jobs with one changed: how soon it is in force, how late fires due meanwhile are."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import schedules
from bench.figure import Figure, quantile
from bench.harness import alone
from bench.lateness import lateness
from bench.reader import Reader, Row
from bench.world import SHARDS, World, applied, lanes

JOBS, TRIGGERS = 100_000, 2_000
BEATING, JITTER_SECONDS = 200, 1
RELOADS, APART_SECONDS = 5, 6
_APPLIED = "schedule.applied"


@dataclass(frozen=True)
class Reload:
    """One reload: when the file was closed and when the last shard's change was visible, in milliseconds."""

    closed: float
    in_force: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.in_force - self.closed) / 1000


def measure(world: World) -> list[Figure]:
    """Change one job again and again while some fire all the time."""
    file = world.directory / "schedule.json"
    jobs, turns = world.scaled(JOBS), max(2, RELOADS * world.repeat // 3)
    _write(file, jobs, 0)
    with world.judged() as names, world.dispatcher(names, file) as dispatcher:
        applied(dispatcher, 120)
        time.sleep(10)
        topics = [*lanes(names), names.events]
        with Reader(world.bootstrap, topics, world.directory / "seen") as reader:
            time.sleep(2)
            closed = []
            for turn in range(turns):
                closed.append(_write(file, jobs, turn + 1))
                time.sleep(APART_SECONDS)
            rows = reader.rows()
        dispatcher.terminate(30)
    return _judge(world, rows, closed)


def _judge(world: World, rows: list[Row], closed: list[float]) -> list[Figure]:
    reloads = [_reload(rows, at) for at in closed]
    late = lateness(
        [row for row in rows if row.time and row.kind == "dispatcher.fire"], {"jitterSeconds": JITTER_SECONDS}
    )
    worst = [_worst(late, reload) for reload in reloads]
    calm = [
        delay for due, delay in late if not any(one.closed <= due <= one.in_force + 500 for one in reloads)
    ]
    world.tell(
        f"in force after {[round(one.seconds, 2) for one in reloads]} s,"
        f" worst {[round(one) for one in worst]} ms"
    )
    jobs = world.scaled(JOBS)
    took = tuple(one.seconds for one in reloads)
    usual = f"{quantile(calm, 0.99):.0f} ms p99, {max(calm):.0f} ms worst between reloads"
    return [
        Figure(
            "reload", f"{jobs} jobs, one changed: closed to in force in all shards", median(took), "s", 2.0,
            beside=f"worst of {len(took)}: {max(took):.2f} s", samples=took,
        ),
        Figure(
            "reload", "largest delay of a fire due meanwhile", max(worst), "ms", 100.0,
            beside=usual, samples=tuple(worst), facts={"fires a second": BEATING},
        ),
    ]  # fmt: skip


def _reload(rows: list[Row], closed: float) -> Reload:
    seen = [row.at for row in rows if row.kind == _APPLIED and closed <= row.at]
    assert len(seen) >= SHARDS, f"{len(seen)} shards have the change in force"
    return Reload(closed, sorted(seen)[SHARDS - 1])


def _worst(late: list[tuple[float, float]], reload: Reload) -> float:
    """Return the largest delay of fires due from the file's closing to half a second after the change."""
    return max(delay for due, delay in late if reload.closed <= due <= reload.in_force + 500)


def _write(file: Path, jobs: int, version: int) -> float:
    """Put the file in place with one job changed; return when that was done, in milliseconds."""
    entries = list(schedules.spread(jobs, TRIGGERS))
    entries[jobs // 2]["payload"]["version"] = version
    for number in range(BEATING):
        entries[number].pop("cronTime")
        entries[number].update(every="1s", jitterSeconds=JITTER_SECONDS)
    made = file.with_suffix(".made")
    schedules.write(made, entries)
    os.sync()
    made.replace(file)
    return time.time_ns() / 1e6


if __name__ == "__main__":
    alone(measure)
