"""How soon another replica goes on: from the signal to the first fire that the successor commits.

Fires are due every few milliseconds, so that what is measured is the take-over and no wait for the next one.
The broker has its default settings where they matter to groups; the recipe of the tests is quicker than that.
Each process writes a debug log with the time of each committed transaction, by the same machine's clock.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from broker.cluster import own_kafka
from broker.process import Dispatcher, until

from bench.figure import Figure
from bench.harness import alone
from bench.world import World

BROKER = {"group.initial.rebalance.delay.ms": "3000", "group.min.session.timeout.ms": "1000"}
"""The default of the first; the second is below its default of 6000 only for the sake of short sessions."""
ROUNDS = 15
SHARDS = 4
_JOBS = 400


@contextmanager
def broker() -> Iterator[str]:
    """Run a broker with the default delay of a group's first rebalance."""
    with own_kafka(settings=BROKER) as cluster:
        yield cluster.bootstrap


def measure(world: World) -> list[Figure]:
    """Measure hand-overs, take-overs and restarts."""
    rounds = world.scaled(ROUNDS, 2)
    brief = ("--session-seconds", "1.5")
    return [
        *_figures("SIGTERM", _rounds(world, rounds, Dispatcher.terminate), 1.0, 1.5),
        *_figures("kill -9, session 6 s", _rounds(world, rounds, Dispatcher.kill), 6.5, 7.5),
        *_figures("kill -9, session 1.5 s", _rounds(world, rounds, Dispatcher.kill, *brief), 2.5, 2.5),
        *_restart_figures(_restarts(world, rounds)),
    ]


def _figures(what: str, found: list[tuple[float, float]], median: float, worst: float | None) -> list[Figure]:
    """Return median and maximum; beside them the same until every shard that moved had fired."""
    first, last = (sorted(one) for one in zip(*found, strict=True))
    middle = len(first) // 2
    beside = f"all shards: median {last[middle]:.2f} s, max {last[-1]:.2f} s"
    samples = tuple(round(each, 3) for each in first)
    return [
        Figure("takeover", f"{what}: median", first[middle], "s", median, beside=beside, samples=samples),
        Figure("takeover", f"{what}: max", first[-1], "s", worst),
    ]


def _restart_figures(found: list[tuple[float, float, float]]) -> list[Figure]:
    """Return those from the start of the process, and from when it says that it runs."""
    whole = [(first, last) for _, first, last in found]
    within = [(first - up, last - up) for up, first, last in found]
    up = sorted(up for up, _, _ in found)[len(found) // 2]
    what = "restart after kill -9, alone"
    return [
        *_figures(f"{what}, from the start of the process ({up:.2f} s until it runs)", whole, 1.5, None),
        *_figures(f"{what}, from when it runs", within, 1.5, 1.5),
    ]


def _rounds(
    world: World, count: int, end: Callable[[Dispatcher], object], *flags: str
) -> list[tuple[float, float]]:
    """Let two replicas share the shards, end one, and time the other; again with a new one each time."""
    found = []
    with world.judged() as names:
        file = _schedule(world.directory / f"{names.prefix}.json")
        makes = iter(range(count + 1))

        def another() -> Dispatcher:
            name = f"r{next(makes)}"
            log = world.directory / f"{names.prefix}-{name}.log"
            words = ("--instance", name, "--log-level", "debug", *flags)
            return Dispatcher(world.bootstrap, names.prefix, file, log, *words)

        old = another()
        with old:
            _owns(old, SHARDS)
            for turn in range(count):
                new = another()
                new.start()
                _owns(new, SHARDS // 2)
                _owns(old, SHARDS // 2)
                time.sleep(2 + random.random())
                moved = _owned(old)
                at = time.time()
                end(old)
                found.append(_first_fires(new, at, moved))
                world.tell(f"{turn + 1} of {count}: {found[-1][0]:.2f} s, all shards {found[-1][1]:.2f} s")
                _owns(new, SHARDS)
                old = new
            old.terminate()
    return found


def _restarts(world: World, count: int) -> list[tuple[float, float, float]]:
    """Kill the only replica and start it again at once.

    Return, in seconds from its start, when it ran, and when the first and the last shard had fired.
    """
    found = []
    with world.judged() as names:
        file = _schedule(world.directory / f"{names.prefix}.json")
        daemon = world.dispatcher(names, file, "--log-level", "debug")
        with daemon:
            for turn in range(count + 1):
                if turn:
                    at = time.time()
                    daemon.start()
                    first, last = _first_fires(daemon, at, set(range(SHARDS)))
                    found.append((_ran(daemon, at) - at, first, last))
                    world.tell(f"{turn} of {count}: {found[-1][0]:.2f}, {first:.2f}, all shards {last:.2f} s")
                _owns(daemon, SHARDS)
                time.sleep(1 + random.random())
                daemon.kill()
    return found


def _schedule(path: Path) -> Path:
    """Write a schedule whose fires are spread evenly over every second."""
    jobs = [
        {"jobName": f"j{number}", "every": "1s", "job": "noop", "catchUp": "all", "jitterSeconds": 1}
        for number in range(_JOBS)
    ]
    path.write_text(json.dumps({"jobs": jobs}), "utf-8")
    return path


def _told(dispatcher: Dispatcher) -> Iterator[tuple[float, dict[str, object]]]:
    for line in dispatcher.text().splitlines():
        if line.startswith("{") and line.endswith("}"):
            entry = json.loads(line)
            yield datetime.fromisoformat(str(entry["timestamp"])).timestamp(), entry


def _owned(dispatcher: Dispatcher, since: float = 0) -> set[int]:
    """Return the shards a replica took and has not given up since, by its log from an instant on."""
    owned: set[int] = set()
    for at, entry in _told(dispatcher):
        if at < since:
            continue
        if entry["event"] == "shard.taken":
            owned.add(int(str(entry["shard"])))
        elif entry["event"] in {"shards.revoked", "shards.lost", "shards.yielded"}:
            gone = entry["shards"]
            assert isinstance(gone, list)
            owned -= set(gone)
    return owned


def _ran(dispatcher: Dispatcher, since: float) -> float:
    return next(at for at, entry in _told(dispatcher) if at >= since and entry["event"] == "daemon.started")


def _owns(dispatcher: Dispatcher, count: int) -> None:
    until(lambda: len(_owned(dispatcher)) == count, f"{count} shards of {dispatcher.log.name}", 60)


def _first_fires(dispatcher: Dispatcher, since: float, shards: set[int]) -> tuple[float, float]:
    """Return the seconds until the first, and the last, of some shards has committed a fire."""

    def fired() -> dict[int, float]:
        found: dict[int, float] = {}
        for at, entry in _told(dispatcher):
            if at >= since and entry["event"] == "batch.committed" and entry["fires"]:
                found.setdefault(int(str(entry["shard"])), at - since)
        return {shard: seconds for shard, seconds in found.items() if shard in shards}

    until(lambda: fired().keys() == shards, f"fires of {sorted(shards)} by {dispatcher.log.name}", 60)
    found = fired().values()
    return min(found), max(found)


if __name__ == "__main__":
    alone(measure, broker)
