"""Very many jobs due at one instant: when the last is visible to a reader, against a plain loop's time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from statistics import median

from bench import schedules
from bench.figure import Figure
from bench.harness import alone
from bench.plain import Plain
from bench.reader import Reader
from bench.world import World, applied, lanes, wall_ms
from dispatcher.core.message import TopicNames

JOBS = 100_000
AHEAD_SECONDS = 25


def measure(world: World) -> list[Figure]:
    """Fire them, then send the same by a plain loop to the same kind of reader; several times in turn."""
    ours: list[float] = []
    theirs: list[float] = []
    acknowledged: list[float] = []
    for turn in range(world.repeat):
        with world.installation() as names, world.installation() as copy:
            ours.append(_burst(world, names))
            visible, flushed = _plain(world, names, copy)
        theirs.append(visible)
        acknowledged.append(flushed)
        world.tell(
            f"turn {turn + 1}: visible after {ours[-1]:.0f} ms; plain loop {visible:.0f} ms"
            f" (acknowledged after {flushed:.0f}) = {ours[-1] / visible:.2f}"
        )
    ratios = tuple(mine / plain for mine, plain in zip(ours, theirs, strict=True))
    return [
        Figure(
            "burst", f"{world.scaled(JOBS)} jobs due at once: last visible, against a plain loop",
            median(ratios), "x", 1.4,
            beside=f"{median(ours):,.0f} ms against {median(theirs):,.0f} ms to the same kind of reader,"
            f" {median(acknowledged):,.0f} ms until acknowledged (medians)",
            samples=ratios, facts={"ours ms": ours, "plain ms": theirs, "acknowledged ms": acknowledged},
        )
    ]  # fmt: skip


def _burst(world: World, names: TopicNames) -> float:
    """Return the milliseconds from due to the last one visible."""
    file = world.directory / "schedule.json"
    jobs = world.scaled(JOBS)
    due = int(time.time()) + AHEAD_SECONDS
    at = datetime.fromtimestamp(due, UTC).isoformat()
    schedules.write(file, (schedules.job(number, at=at) for number in range(jobs)))
    with (
        Reader(world.bootstrap, lanes(names), world.directory / "seen", jobs) as reader,
        world.dispatcher(names, file) as dispatcher,
    ):
        in_force = applied(dispatcher, AHEAD_SECONDS)
        assert in_force < due - 3, f"in force only {due - in_force:.1f} s before they are due"
        rows = reader.rows(due - time.time() + 60)
        dispatcher.terminate(30)
    assert len({row.subject for row in rows}) == jobs
    return max(row.at for row in rows) - due * 1000


def _plain(world: World, names: TopicNames, copy: TopicNames) -> tuple[float, float]:
    """Return the milliseconds until the last was visible, and until all were acknowledged."""
    jobs = world.scaled(JOBS)
    seen = world.directory / "seen"
    with (
        Plain(world.bootstrap, names, copy) as plain,
        Reader(world.bootstrap, lanes(copy), seen, jobs) as reader,
    ):
        assert plain.count == jobs, f"{plain.count} messages instead of {jobs}"
        one = plain.send()
        rows = reader.rows(60)
    assert wall_ms() > one.ended
    return max(row.at for row in rows) - one.began, one.ended - one.began


if __name__ == "__main__":
    alone(measure)
