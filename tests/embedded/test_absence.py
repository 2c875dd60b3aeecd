"""A daemon one of whose threads hangs: the others tell of the fires that are missing, and it does not."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.clock import Reading
from dispatcher.core import expected
from dispatcher.core.message import TopicNames
from dispatcher.daemon import Cluster, Daemon, Plant
from dispatcher.kafka.embedded import EmbeddedBroker, EmbeddedDirectory, SoleMembership
from dispatcher.produce.shard_thread import ShardThread

pytestmark = pytest.mark.embedded
SHARDS = 2
NO_LIMIT = 10**15
"""The mock stamps records with the beginning of time."""
PAUSE = threading.Event()


@contextmanager
def running(schedule: Path) -> Iterator[Daemon]:
    """Run a daemon in this process; what it sets of the interpreter is put back."""
    topics, before = TopicNames("demo"), (gc.get_threshold(), sys.getswitchinterval())
    with EmbeddedBroker() as broker:
        broker.prepare(topics)
        identity = broker.identity()
        cluster = Cluster(
            broker.connection(), topics, EmbeddedDirectory(broker),
            lambda: (identity.cluster, dict(identity.topics)), lambda hooks, _: SoleMembership(SHARDS, hooks),
        )  # fmt: skip
        daemon = Daemon(cluster, Plant(schedule, SHARDS, "demo", clock_limit_ms=NO_LIMIT))
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            yield daemon
        finally:
            daemon.stop()
            thread.join(20)
            gc.set_threshold(*before[0])
            sys.setswitchinterval(before[1])
    assert not thread.is_alive()


def within(condition: Callable[[], object], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        PAUSE.wait(0.02)


def test_fires_that_a_hanging_thread_owes_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, turn = threading.Event(), ShardThread._turn
    hangs: set[int] = set()

    def turn_or_hang(thread: ShardThread, reading: Reading) -> float | None:
        if thread.number in hangs:
            assert go_on.wait(60)
        return turn(thread, reading)

    monkeypatch.setattr(ShardThread, "_turn", turn_or_hang)
    monkeypatch.setattr(expected, "GRACE_MS", 3_000)
    schedule = tmp_path / "schedule.json"
    jobs = [{"jobName": f"j{number}", "every": "1s", "job": "noop"} for number in range(8)]
    schedule.write_text(json.dumps({"jobs": jobs}))
    with running(schedule) as daemon:

        def owed(shard: int) -> bool:
            return daemon.absence.seen[shard].overdue_since is not None

        within(lambda: all(daemon.absence.next_due(shard) for shard in range(SHARDS)))
        within(lambda: not owed(0) and not owed(1))
        try:
            hangs.add(0)
            within(lambda: owed(0))
            assert not owed(1), "the other shard fires on"
        finally:
            go_on.set()
        within(lambda: not owed(0))
