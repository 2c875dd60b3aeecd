"""Workers: runs a second against a bare loop, seats kept busy, waits, lanes under overload, memory."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from broker.history import millis
from broker.tools import committed
from broker.working import Worker
from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench import pool_plain, schedules
from bench.figure import Figure, quantile
from bench.harness import alone
from bench.pool_fires import fill, fires
from bench.world import World, applied
from dispatcher.core.job import JobReader, Lane, encode_definition
from dispatcher.core.message import TopicNames

NOOPS = 200_000
WAITS, SEATS, WAIT_S = 10_000, 500, 0.1
STEADY, STEADY_S = 100, 60
BACKLOG, CRITICAL = 100_000, 10
BUSY = 1_000
_PARTITIONS = 4
_PATIENCE = 300.0
_PRIORITY = {Lane.CRITICAL: 9, Lane.HIGH: 7, Lane.NORMAL: 5, Lane.LOW: 1}


class Run(NamedTuple):
    """One ended run, by its event: instants in milliseconds."""

    fire: str
    lane: str
    started: float
    ended: float
    told: float


def measure(world: World) -> list[Figure]:
    """Measure all of it, each on an installation of its own."""
    return [
        *_noops(world), _waits(world), _steady(world), _critical(world), *_shares(world), *_memory(world),
    ]  # fmt: skip


def _worker(world: World, names: TopicNames, *flags: str) -> Worker:
    return Worker(world.bootstrap, names.prefix, world.directory / f"{names.prefix}-w.log", *flags)


def _ends(world: World, names: TopicNames) -> list[Run]:
    found = []
    for partition in range(_PARTITIONS):
        for message in committed(world.bootstrap, names.events, partition, 120):
            head: dict[str, Any] = dict(message.headers() or [])
            if head["ce_type"] != b"run.succeeded":
                continue
            data = json.loads(message.value() or b"")
            lane = data["topic"].rpartition(".")[2]
            times = millis(data["startedAt"]), millis(data["endedAt"])
            found.append(Run(head["fire"].decode(), lane, *times, message.timestamp()[1]))
    return found


def _await_lag(world: World, names: TopicNames, worker: Worker, count: int) -> None:
    """Wait until the events topic holds so many records, markers counted too; its worker must live."""
    asking = Consumer({"bootstrap.servers": world.bootstrap, "group.id": "bench-look"})
    deadline = time.monotonic() + _PATIENCE
    try:
        while time.monotonic() < deadline:
            with suppress(KafkaException):  # a partition just made may have no leader yet
                ends = [
                    asking.get_watermark_offsets(TopicPartition(names.events, number), timeout=10)[1]
                    for number in range(_PARTITIONS)
                ]
                if sum(ends) >= count:
                    return
            assert worker.alive(), f"the worker has ended:\n{worker.text()[-2000:]}"
            time.sleep(0.2)
    finally:
        asking.close()
    raise AssertionError(f"{names.events} did not come to {count} records within {_PATIENCE:g} s")


def _run_all(world: World, names: TopicNames, count: int, *flags: str) -> list[Run]:
    """Have a worker run what is there; return its runs once all have ended."""
    with _worker(world, names, *flags) as worker:
        _await_lag(world, names, worker, count)
        deadline = time.monotonic() + _PATIENCE
        runs = _ends(world, names)
        while len(runs) < count and time.monotonic() < deadline:
            time.sleep(0.5)
            runs = _ends(world, names)
        worker.terminate(30)
    assert len(runs) == count, f"{len(runs)} of {count} runs ended"
    return runs


def _noops(world: World) -> Iterator[Figure]:
    count = world.scaled(NOOPS)
    ours: list[float] = []
    bare: list[float] = []
    read: list[float] = []
    for _ in range(world.repeat):
        with world.installation() as names:
            fill(world.bootstrap, names, fires(names, count))
            read.append(pool_plain.run(world.bootstrap, names, count, "read").rate)
            runs = _run_all(world, names, count)
            ours.append(count / (max(one.told for one in runs) - min(one.started for one in runs)) * 1000)
        with world.installation() as names:
            fill(world.bootstrap, names, fires(names, count))
            bare.append(pool_plain.run(world.bootstrap, names, count, "tell").rate)
        world.tell(f"noop {ours[-1]:,.0f}/s, bare loop {bare[-1]:,.0f}/s, reading alone {read[-1]:,.0f}/s")
    yield Figure(
        "pool", f"{count} no-op runs a second, against a bare loop that reads and tells the same",
        median(ours) / median(bare), "x", 0.5, at_least=True, samples=tuple(ours),
        facts={"bare": bare, "reading alone": read},
        beside=f"{median(ours):,.0f}/s against {median(bare):,.0f}/s; reading alone {median(read):,.0f}/s",
    )  # fmt: skip


def _waits(world: World) -> Figure:
    """Urgent runs, since an eighth of the seats is kept from all others."""
    count = world.scaled(WAITS)
    ideal = count * WAIT_S / SEATS
    with world.installation() as names:
        fill(
            world.bootstrap,
            names,
            fires(names, count, "rehearse", priority=9, payload={"waitSeconds": WAIT_S}),
        )
        runs = _run_all(world, names, count, "--seats-least", str(SEATS), "--seats-most", str(SEATS))
    took = (max(one.ended for one in runs) - min(one.started for one in runs)) / 1000
    return Figure(
        "pool", f"{count} runs of a {WAIT_S:g} s wait with {SEATS} seats, against the ideal",
        took / ideal, "x", 1.2, beside=f"{took:.2f} s against {ideal:g} s",
    )  # fmt: skip


def _steady(world: World) -> Figure:
    """A hundred fires a second, from the instant they are due to the start of their handler."""
    file = world.directory / "steady.json"
    jobs = [_steady_job(number) for number in range(STEADY)]
    late = _lateness(world, file, jobs, world.scaled(STEADY_S, 10))
    return Figure(
        "pool", f"{STEADY} fires a second: p99 from due to handler start",
        quantile(late, 0.99), "ms", 100, samples=(median(late), max(late)),
        beside=f"median {median(late):.0f} ms, worst {max(late):.0f} ms of {len(late)}",
    )  # fmt: skip


def _steady_job(number: int, **fields: Any) -> dict[str, Any]:
    job = schedules.job(number, every="1s", jitterSeconds=1)
    return {**job, "job": "rehearse", "payload": {}, **fields}


def _critical(world: World) -> Figure:
    """Critical fires while a backlog of low ones waits."""
    count = world.scaled(BACKLOG)
    file = world.directory / "critical.json"
    jobs = [_steady_job(number, priority=9) for number in range(CRITICAL)]
    low = {"payload": {"waitSeconds": 0.02}, "priority": 1}

    def backlog(names: TopicNames) -> None:
        fill(world.bootstrap, names, fires(names, count, "rehearse", **low))

    late = _lateness(world, file, jobs, world.scaled(30, 10), "--seats-most", "16", before=backlog)
    return Figure(
        "pool", f"critical under a backlog of {count} low: p99 from due to handler start",
        quantile(late, 0.99), "ms", 100, samples=(median(late), max(late)),
        beside=f"median {median(late):.0f} ms, worst {max(late):.0f} ms of {len(late)}",
    )  # fmt: skip


def _lateness(
    world: World, file: Path, jobs: list[dict[str, Any]], seconds: int, *flags: str,
    before: Callable[[TopicNames], None] = lambda _names: None,
) -> list[float]:  # fmt: skip
    """Return how long after they were due the runs of some jobs began, but for the first few seconds."""
    schedules.write(file, jobs)
    delays = {one["jobName"]: JobReader().read(encode_definition(one)).delay_ms for one in jobs}
    with world.installation() as names:
        with world.dispatcher(names, file) as dispatcher:
            applied(dispatcher, 60)
            before(names)
            worker = _worker(world, names, *flags)
            worker.start()
            worker.says("partitions.assigned", 60)
            time.sleep(10)
            since = time.time_ns() / 1e6
            time.sleep(seconds)
            until = time.time_ns() / 1e6
            time.sleep(2)
            dispatcher.terminate(30)
            worker.terminate(30)
        runs = _ends(world, names)
    late = []
    for one in runs:
        name, _, planned = one.fire.rpartition("@")
        if name in delays and one.lane != "low" and since <= (due := millis(planned) + delays[name]) <= until:
            late.append(one.started - due)
    return late


def _shares(world: World) -> Iterator[Figure]:
    """All lanes overloaded at once: which share of the seats' time each of them gets."""
    each = world.scaled(5_000)
    with world.installation() as names:
        for lane, priority in _PRIORITY.items():
            made = fires(
                names,
                each,
                "rehearse",
                payload={"waitSeconds": 0.02},
                priority=priority,
                labels={"lane": lane},
            )
            fill(world.bootstrap, names, made)
        with _worker(world, names, "--seats-least", "16", "--seats-most", "16") as worker:
            _await_lag(world, names, worker, each)
            worker.terminate(30)
        runs = sorted(_ends(world, names), key=lambda one: one.ended)
    window = _while_all_wait(runs, each)
    counts = Counter(one.lane for one in window)
    told = ", ".join(f"{lane} {counts[str(lane)] / len(window):.0%}" for lane in Lane)
    yield Figure(
        "pool", "all lanes overloaded: share of the runs that low gets (its weight: 1 of 15)",
        counts["low"] / len(window) * 15, "x", 0.5, at_least=True, beside=told,
    )  # fmt: skip


def _while_all_wait(runs: Sequence[Run], each: int) -> list[Run]:
    """Return the runs until the first lane had none left."""
    seen: Counter[str] = Counter()
    window = []
    for one in runs:
        window.append(one)
        seen[one.lane] += 1
        if seen[one.lane] == each:
            break
    return window


def _memory(world: World) -> Iterator[Figure]:
    with world.installation() as names:
        with _worker(world, names, "--seats-least", "1") as worker:
            worker.says("partitions.assigned", 60)
            time.sleep(3)
            idle = _resident(worker.pid)
            worker.terminate(30)
        fill(world.bootstrap, names, fires(names, BUSY, "rehearse", payload={"waitSeconds": 20}))
        seats = ("--seats-least", str(BUSY), "--seats-most", str(BUSY))
        with _worker(world, names, *seats) as worker:
            _await_lag(world, names, worker, BUSY)  # each is told of as begun
            busy = _resident(worker.pid)
            worker.kill()
    yield Figure("pool", "memory of an idle worker", idle, "MiB", 80)
    yield Figure("pool", f"memory of one with {BUSY} seats busy", busy, "MiB", 250)


def _resident(pid: int) -> float:
    text = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, text=True
    ).stdout
    return int(text) / 1024


if __name__ == "__main__":
    alone(measure)
