"""Bursts that are staged: committed on their second, read as fast as can be, and in nobody's way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count, islice
from statistics import median

from broker.history import millis

from bench import schedules
from bench.figure import Figure, quantile
from bench.harness import alone
from bench.landing import Landing, Seen, Watching
from bench.reader import Reader
from bench.world import SHARDS, World, applied, lanes
from dispatcher.core.job import JobReader, encode_definition
from dispatcher.core.partitioner import murmur2

JOBS = 100_000
IN_A_ROW = 4
EACH_SECONDS = 20
OTHERS = 200
_PATIENCE = 120
_AROUND_MS = 2_000
_UNSTAGED = ("--stage-ahead-seconds", "0")


def measure(world: World) -> list[Figure]:
    """Land single bursts, four in a row, and some beside the fires of another shard."""
    alone_ = _landed(world, f"*/{EACH_SECONDS} * * * * *", world.repeat + 1)
    row = _landed(world, "20-23 * * * * *", IN_A_ROW)
    staged, unstaged = _others(world), _others(world, *_UNSTAGED)
    return [*_single(world, alone_), _in_a_row(world, row), _beside(staged, unstaged)]


def _landed(world: World, cron: str, bursts: int) -> Seen:
    """Return how so many bursts of a cron expression landed."""
    file, jobs = world.directory / "schedule.json", world.scaled(JOBS)
    schedules.write(file, (schedules.job(number, cronTime=cron) for number in range(jobs)))
    _await_second(25, 60)
    with world.judged() as names, world.dispatcher(names, file) as dispatcher:
        applied(dispatcher, 60)
        _await_second(30, 60)
        with Watching(world.bootstrap, jobs * bursts, lanes(names)) as watching:
            seen = watching.seen(bursts * EACH_SECONDS + _PATIENCE)
        dispatcher.terminate(30)
    assert all(one.count == jobs for one in seen.landings.values()), seen
    for due, one in seen.landings.items():
        world.tell(f"{due}: moved {one.moved - millis(due):.0f}, passed {one.passed - millis(due):.0f},"
                   f" first {one.first - millis(due):.0f}, last {one.last - millis(due):.0f} ms")  # fmt: skip
    return seen


def _single(world: World, seen: Seen) -> Iterator[Figure]:
    landings = _later(seen)
    early = min(min(one.moved, one.first) - due for due, one in landings)
    passed = [one.passed - due for due, one in landings]
    last = [one.last - due for due, one in landings]
    jobs = world.scaled(JOBS)
    yield Figure(
        "staged", f"{jobs} jobs due at once: committed end of every partition past them after due",
        max(passed), "ms", 100, samples=tuple(passed),
        beside=f"the earliest of anything seen: {early:+.1f} ms after due",
    )  # fmt: skip
    yield Figure(
        "staged", "first sign of a burst to a reader, before due if negative",
        early, "ms", 0, at_least=True,
    )  # fmt: skip
    yield Figure(
        "staged", "a reader has them all, against reading them when they are all there",
        median(last) / median(seen.again), "x", 1.3, samples=tuple(last), facts={"again ms": seen.again},
        beside=f"{median(last):,.0f} ms after due against {median(seen.again):,.0f} ms (medians)",
    )  # fmt: skip


def _in_a_row(world: World, seen: Seen) -> Figure:
    """Tell of bursts second after second: the broker's rate decides how late the later ones are."""
    passed = [one.passed - due for due, one in _ordered(seen)]
    early = min(min(one.moved, one.first) - due for due, one in _ordered(seen)[:1])
    listed = ", ".join(f"{each:.0f}" for each in passed)
    return Figure(
        "staged", f"{IN_A_ROW} such seconds in a row: the first of them past every committed end",
        passed[0], "ms", 100, samples=tuple(passed),
        beside=f"one after the other {listed} ms after due; first sign {early:+.1f} ms"
        f" of {world.scaled(JOBS)} jobs each",
    )  # fmt: skip


def _others(world: World, *flags: str) -> list[float]:
    """Return how late the fires of one shard were seen around bursts of the three others.

    It has a reader of its own: one that reads the bursts as well is late by them, not the fires. Another
    process reads those.
    """
    file = world.directory / "schedule.json"
    others = [schedules.job(number, every="1s", jitterSeconds=1) for number in islice(_numbers(0), OTHERS)]
    many = islice(_numbers(1, 2, 3), world.scaled(JOBS))
    delays = {one["jobName"]: JobReader().read(encode_definition(one)).delay_ms for one in others}
    burst = (schedules.job(number, cronTime=f"*/{EACH_SECONDS} * * * * *") for number in many)
    schedules.write(file, (*others, *burst))
    _await_second(EACH_SECONDS // 2, EACH_SECONDS)
    with world.judged() as names, world.dispatcher(names, file, *flags) as dispatcher:
        applied(dispatcher, 60)
        _await_second(EACH_SECONDS // 2, EACH_SECONDS)
        seen = [world.directory / name for name in ("seen", "seen-bursts")]
        with (
            Reader(world.bootstrap, lanes(names), seen[0], shards=f"0/{SHARDS}") as reader,
            Reader(world.bootstrap, lanes(names), seen[1], shards=f"1,2,3/{SHARDS}"),
        ):
            time.sleep((world.repeat + 1) * EACH_SECONDS)
            rows = reader.rows()
        dispatcher.terminate(30)
    late = [
        row.at - due
        for row in rows
        if row.subject in delays and _is_around(due := millis(row.time) + delays[row.subject])
    ]
    world.tell(f"{len(late)} fires of the other shard: p99 {quantile(late, 0.99):.0f} ms {' '.join(flags)}")
    return late


def _beside(staged: list[float], unstaged: list[float]) -> Figure:
    ours, theirs = quantile(staged, 0.99), quantile(unstaged, 0.99)
    return Figure(
        "staged", "fires of another shard within 2 s of a burst: p99 late, against the same not staged",
        ours / theirs, "x", 1.1, samples=(ours, theirs),
        beside=f"{ours:.0f} ms against {theirs:.0f}; at worst {max(staged):.0f} against {max(unstaged):.0f}",
    )  # fmt: skip


def _numbers(*shards: int) -> Iterator[int]:
    """Yield the numbers of jobs that belong to some shards."""
    for number in count():
        if murmur2(f"job-{number:07}".encode()) % SHARDS in shards:
            yield number


def _is_around(due: float) -> bool:
    """Return whether an instant lies within two seconds of a burst's."""
    period = EACH_SECONDS * 1000
    return min(due % period, period - due % period) <= _AROUND_MS


def _ordered(seen: Seen) -> list[tuple[float, Landing]]:
    return [(millis(due), one) for due, one in sorted(seen.landings.items())]


def _later(seen: Seen) -> list[tuple[float, Landing]]:
    """Return the landings but the first: a client that never wrote to a partition is slow at first."""
    return _ordered(seen)[1:]


def _await_second(second: int, of: int) -> None:
    """Sleep until so many seconds after each `of` seconds."""
    time.sleep((second - time.time()) % of)


if __name__ == "__main__":
    alone(measure)
