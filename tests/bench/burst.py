"""Very many jobs due at one instant, not staged: when the last is visible, against a plain loop's time.

The same dispatcher fires several bursts, the same loop sends its messages several times; the first of each
is left out, because a client that has never written to a partition is slow for reasons of its own.
"""

from __future__ import annotations

import time
from statistics import median

from broker.history import millis

from bench import schedules
from bench.figure import Figure
from bench.harness import alone
from bench.plain import Pass, Plain
from bench.reader import Reader
from bench.world import World, applied, lanes
from dispatcher.core.message import TopicNames

JOBS = 100_000
EACH_SECONDS = 20
_PATIENCE = 120


def measure(world: World) -> list[Figure]:
    """Fire bursts, then send the last one by a plain loop to the same kind of reader."""
    with world.judged() as names, world.installation() as copy:
        ours = _bursts(world, names)
        world.tell(f"visible after {_listed(ours)} ms")
        passes, visible = _plain(world, names, copy)
        world.tell(f"plain loop {_listed(visible)} ms")
    first, flushed = visible.pop(0), [one.ended - one.began for one in passes[1:]]
    facts = {
        "ours first ms": ours.pop(0),
        "plain first ms": first,
        "plain ms": visible,
        "flushed ms": flushed,
    }
    return [
        Figure(
            "burst", f"{world.scaled(JOBS)} jobs due at once, not staged: last visible, against a plain loop",
            median(ours) / median(visible), "x", 1.4,
            beside=f"{median(ours):,.0f} ms against {median(visible):,.0f} ms to the same kind of reader,"
            f" {median(flushed):,.0f} ms until acknowledged (medians)",
            samples=tuple(ours), facts=facts,
        )
    ]  # fmt: skip


def _bursts(world: World, names: TopicNames) -> list[float]:
    """Return the milliseconds from due to the last one visible, of each burst."""
    file = world.directory / "schedule.json"
    jobs, count = world.scaled(JOBS), world.repeat + 1
    schedules.write(
        file, (schedules.job(number, cronTime=f"*/{EACH_SECONDS} * * * * *") for number in range(jobs))
    )
    _await_second(EACH_SECONDS // 2)  # far from the next burst: it is not to meet half a schedule
    with world.dispatcher(names, file, "--stage-ahead-seconds", "0") as dispatcher:
        applied(dispatcher, 60)
        _await_second(EACH_SECONDS // 2)
        reader = Reader(world.bootstrap, lanes(names), world.directory / "seen", jobs * count)
        with reader:
            rows = reader.rows(count * EACH_SECONDS + _PATIENCE)
        dispatcher.terminate(30)
    last: dict[str, float] = {}
    for row in rows:
        last[row.time] = max(last.get(row.time, 0), row.at)
    assert len(rows) == jobs * count == len({row[2:] for row in rows}), f"{len(rows)} fires seen"
    return [at - millis(due) for due, at in sorted(last.items())]


def _plain(world: World, names: TopicNames, copy: TopicNames) -> tuple[list[Pass], list[float]]:
    """Return the passes, and the milliseconds from the begin of each until the last was visible."""
    jobs, count = world.scaled(JOBS), world.repeat + 1
    period = EACH_SECONDS * 1000
    since = time.time() * 1000 // period * period
    with (
        Plain(world.bootstrap, names, copy, since) as plain,
        Reader(world.bootstrap, lanes(copy), world.directory / "seen", jobs * count) as reader,
    ):
        assert plain.count == jobs, f"{plain.count} messages instead of {jobs}"
        passes = []
        for _ in range(count):
            passes.append(plain.send())
            time.sleep(2)
        rows = reader.rows(_PATIENCE)
    visible = [max(row.at for row in rows[: jobs * (number + 1)]) for number in range(count)]
    return passes, [at - one.began for at, one in zip(visible, passes, strict=True)]


def _await_second(second: int) -> None:
    """Sleep until this many seconds after a burst is due."""
    time.sleep((second - time.time()) % EACH_SECONDS)


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


if __name__ == "__main__":
    alone(measure)
