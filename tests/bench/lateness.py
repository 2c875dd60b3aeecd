"""Steady fires each second: how long after it is due each is visible to a live reader."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from broker.history import millis

from bench import schedules
from bench.figure import Figure, quantile
from bench.harness import alone
from bench.reader import Reader, Row
from bench.world import World, applied, lanes
from dispatcher.core.job import delay_of

RATE, SECONDS, WARM_SECONDS = 1_000, 300, 10
SPREAD_MS = 1_000


def measure(world: World) -> list[Figure]:
    """Fire all jobs at the top of each second; then, for less long, spread over it."""
    together = _late(world, "together", world.scaled(SECONDS, 10))
    spread = _late(world, "spread", world.scaled(SECONDS // 5, 10), jitterSeconds=SPREAD_MS // 1000)
    beside = f"p99 {quantile(spread, 0.99):.0f} ms when spread over the second by jitter"
    figures = []
    for share, bound in ((0.5, 30.0), (0.99, 80.0)):
        what = f"p{share * 100:.0f} of {RATE} fires each second, due to visible"
        facts = {"fires": len(together), **_told(together), "spread": _told(spread)}
        figures.append(
            Figure("lateness", what, quantile(together, share), "ms", bound, beside=beside, facts=facts)
        )
    return figures


def _late(world: World, how: str, seconds: int, **fields: Any) -> list[float]:
    """Return how late each fire of so many seconds was visible, in milliseconds."""
    file = world.directory / "schedule.json"
    schedules.write(file, (schedules.job(number, every="1s", **fields) for number in range(RATE)))
    with world.judged() as names, world.dispatcher(names, file) as dispatcher:
        applied(dispatcher, 60)
        with Reader(world.bootstrap, lanes(names), world.directory / "seen") as reader:
            time.sleep(WARM_SECONDS)
            world.tell(f"{how}: watching for {seconds} s")
            began = time.time() * 1000
            time.sleep(seconds)
            ended = time.time() * 1000
            time.sleep(2)
            rows = reader.rows()
        dispatcher.terminate(30)
    late = [late for due, late in lateness(rows, fields) if began <= due < ended]
    assert abs(len(late) - RATE * seconds) <= 2 * RATE, f"{len(late)} fires in {seconds} s"
    world.tell(f"{how}: {_told(late)}")
    return late


def lateness(rows: list[Row], fields: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return, of each fire, when it was due and how late it was visible, in milliseconds."""
    jitter = fields.get("jitterSeconds", 0) * 1000
    times = {row.time: millis(row.time) for row in rows}
    found = []
    for row in rows:
        due = times[row.time] + delay_of(row.subject, jitter)
        found.append((float(due), row.at - due))
    return found


def _told(late: list[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: round(quantile(late, share), 1) for name, share in shares.items()}


if __name__ == "__main__":
    alone(measure)
