"""A cold start on a long ledger: reading it, restoring the states and planning, against reading it alone."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from bench import schedules
from bench.figure import Figure
from bench.harness import alone
from bench.world import SHARDS, World
from dispatcher.core.codec import encode
from dispatcher.core.job import Job, JobReader, encode_definition
from dispatcher.core.ledger import (
    Change,
    Cursor,
    Fact,
    JobVersions,
    Position,
    Revision,
    Timer,
    TimerGone,
    Version,
)
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.message import TopicNames
from dispatcher.core.partitioner import shard_of
from dispatcher.core.plan import Plan
from dispatcher.daemon import COLLECTOR, SWITCH_SECONDS
from dispatcher.kafka.config import Connection
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.produce.ledger import read_to_end

RECORDS, JOBS, TRIGGERS = 1_000_000, 100_000, 2_000
PIECE, EDITED, TIMERS, CURSORS = 5_000, 50, 60, 8
"""What transactions hold: pieces of the first load; then edits, timers set and fired, and cursors alone."""


def measure(world: World) -> list[Figure]:
    """Build the ledger, then read it in turns: alone, and as a start does."""
    records, jobs = world.scaled(RECORDS), world.scaled(JOBS, 100)
    with world.installation() as names:
        count, transactions = _build(world, names, records, jobs)
        world.tell(f"{count} records of {jobs} jobs in {transactions} transactions")
        alone_, shared, recovered = [], [], []
        gc.set_threshold(*COLLECTOR)
        sys.setswitchinterval(SWITCH_SECONDS)
        for _ in range(world.repeat):
            alone_.append(_timed(lambda: _consume(world, names, range(SHARDS))))
            shared.append(_timed(lambda: _in_threads(lambda shard: _consume(world, names, [shard]))))
            recovered.append(_timed(lambda: _recover(world, names, jobs)))
            world.tell(f"bare {alone_[-1]:.2f} s, in threads {shared[-1]:.2f} s, whole {recovered[-1]:.2f} s")
    bare, took = median(alone_), median(recovered)
    what = f"{jobs} jobs, a ledger of {count} records: read, restored, planned"
    return [
        Figure(
            "recovery", f"{what}, against a consume loop", took / bare, "x", 1.5, samples=tuple(recovered),
            beside=f"one consumer: {bare:.2f} s, four in threads: {median(shared):.2f} s",
        ),
        Figure("recovery", what, took, "s", beside=f"{transactions} transactions"),
    ]  # fmt: skip


def _timed(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _in_threads(work: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=work, args=(shard,)) for shard in range(SHARDS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _recover(world: World, names: TopicNames, jobs: int) -> None:
    """Do what a process does with all shards that it has no copy of, but for fencing."""
    reader = JobReader()
    found: list[int] = []

    def recover(shard: int) -> None:
        log = KafkaShardLog(Connection(world.bootstrap), names, shard)
        state = read_to_end(log, LedgerCopy(reader))
        Plan(state.cursor(), state.records.values())
        found.append(len(state.records))

    _in_threads(recover)
    assert sum(found) == jobs, f"{found} jobs were restored"


def _consume(world: World, names: TopicNames, shards: list[int] | range) -> None:
    """Read partitions to their ends and do nothing with what comes."""
    consumer = Consumer({
        "bootstrap.servers": world.bootstrap, "group.id": "unused", "enable.auto.commit": False,
        "auto.offset.reset": "error", "enable.partition.eof": True,
    })  # fmt: skip
    consumer.assign([TopicPartition(names.ledger, shard, 0) for shard in shards])
    ends = 0
    while ends < len(shards):
        for message in consumer.consume(500, 0.1):
            error = message.error()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ends += 1
    consumer.close()


class _Ledger:
    """One shard's part of the ledger to be: transactions as a shard writes them."""

    def __init__(self, jobs: list[Job], now: int) -> None:
        self._jobs = jobs
        self._now = now
        self._chance = random.Random(len(jobs))
        self._change = 1

    def transactions(self) -> Iterator[list[Fact]]:
        """Yield the load in pieces, then edits, timers and cursors for ever."""
        now, revision = self._now, f"{1:064x}"
        for begin in range(0, len(self._jobs), PIECE):
            piece = self._jobs[begin : begin + PIECE]
            yield [*(self._versions(job, 1, None) for job in piece), Position(Cursor(0), "", 0)]
        yield [Change(1, now), Revision(revision, now, "bench"), self._position(revision)]
        while True:
            yield from self._round(f"{self._change + 1:064x}")

    def _round(self, revision: str) -> Iterator[list[Fact]]:
        self._change += 1
        at = self._now + self._change
        edited = self._chance.sample(self._jobs, min(EDITED, len(self._jobs)))
        versions = [self._versions(job, self._change, at) for job in edited]
        yield [*versions, Revision(revision, at, "bench"), self._position(revision)]
        timers = [
            self._timer(job, at) for job in self._chance.sample(self._jobs, min(TIMERS, len(self._jobs)))
        ]
        yield [*timers, self._position(revision)]
        for _ in range(CURSORS):
            yield [self._position(revision)]
        yield [*(TimerGone(one.id) for one in timers), self._position(revision)]

    def _versions(self, job: Job, change: int, at: int | None) -> JobVersions:
        version = Version(change, f"{change:064x}", job.definition, job.trigger.digest, at, at and self._now)
        return JobVersions(job.name, (version,))

    def _timer(self, job: Job, at: int) -> Timer:
        headers = tuple(
            (f"ce_{name}", job.name.encode()) for name in ("id", "type", "source", "subject", "time")
        )
        key = job.name.encode()
        return Timer(f"{job.name}@{at}", job.name, at, at, 1, "topic", 0, key, job.definition, headers)

    def _position(self, revision: str) -> Position:
        return Position(Cursor(self._now + self._change, "job-0000001"), revision, self._change)


def _build(world: World, names: TopicNames, records: int, jobs: int) -> tuple[int, int]:
    """Write the ledger; return how many records in how many transactions."""
    reader, now = JobReader(), time.time_ns() // 1_000_000
    of_shard: list[list[Job]] = [[] for _ in range(SHARDS)]
    for entry in schedules.spread(jobs, TRIGGERS):
        of_shard[shard_of(entry["jobName"], SHARDS)].append(reader.read(encode_definition(entry)))
    written: list[tuple[int, int]] = []

    def write(shard: int) -> None:
        written.append(_write(world, names, shard, _Ledger(of_shard[shard], now), records // SHARDS))

    _in_threads(write)
    return sum(count for count, _ in written), sum(count for _, count in written)


def _write(world: World, names: TopicNames, shard: int, ledger: _Ledger, records: int) -> tuple[int, int]:
    producer = Producer({
        "bootstrap.servers": world.bootstrap, "transactional.id": f"{names.prefix}-build-{shard}",
        "compression.type": "lz4", "linger.ms": 0,
    })  # fmt: skip
    producer.init_transactions(60)
    put = partial(producer.produce, names.ledger, partition=shard)
    count = transactions = 0
    for facts in ledger.transactions():
        producer.begin_transaction()
        for fact in facts:
            key, value = encode(fact)
            put(key=key, value=value)
        producer.commit_transaction()
        count, transactions = count + len(facts), transactions + 1
        if count >= records:
            return count, transactions
    raise AssertionError("a ledger never ends by itself")


if __name__ == "__main__":
    alone(measure)
