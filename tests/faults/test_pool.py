"""Group F, workers: handlers slower than a poll may be, and ten thousand jobs whose dependency is down."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import pytest
from broker.history import millis
from broker.process import until
from broker.test_daemon_faults import job, now
from broker.test_work import NIGHTLY, Shop
from torture.reading import Live

from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames
from dispatcher.core.scaling import ScalingLimits
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.work_log import KafkaWorkLog, WorkPlan
from dispatcher.work.registry import Means, registry
from dispatcher.worker import Shop as Numbers
from dispatcher.worker import Worker

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
SECONDS = 60.0
POLL_MS = 1_600


@pytest.fixture
def shop(kafka: str, prefix: str, tmp_path: Path) -> Shop:
    shop = Shop(kafka, prefix, tmp_path)
    shop.install()
    return shop


@contextmanager
def worker_within(shop: Shop) -> Iterator[Worker]:
    """Run a worker in this process, so that the test may set how long its polls may be apart."""
    topics, connection = TopicNames(shop.prefix), Connection(shop.bootstrap)
    plan = WorkPlan(tuple(map(topics.lane, Lane)), "within", session_ms=1_500)
    limits = ScalingLimits(least=4, most=4, drain_ms=30_000)
    worker = Worker(
        connection, topics, Numbers("within", shop.shards, 12, limits), registry(Means(prefix=shop.prefix)),
        partial(KafkaWorkLog, connection, topics, plan),
    )  # fmt: skip
    ends: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001 - told by the test
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(30)
        assert not thread.is_alive()
        assert not ends


def test_f43_a_handler_slower_than_polls_may_be_apart_is_not_run_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "WORK_POLL_MS", POLL_MS)
    shop.schedule(
        {**NIGHTLY, "jobName": "slow", "job": "rehearse", "payload": {"waitSeconds": 2.5 * POLL_MS / 1000}}
    )
    with shop.daemon() as daemon, worker_within(shop):
        daemon.says("schedule.applied", SECONDS)
        fire = shop.triggered("slow", "a")
        until(lambda: bool(shop.ended(fire)), "its end", SECONDS)
        assert shop.ends()[fire] == [("run.started", 1), ("run.succeeded", 1)]
        assert daemon.terminate() == 0
    assert not any(data.get("redelivered") for _, data in shop.events())


HEALTHY = tuple(f"healthy-{number}" for number in range(10))
ATTEMPTS = 6


def stormy(count: int, at: int) -> Iterator[dict[str, object]]:
    """Return jobs that all fail, each time, beside some that do not."""
    backoff = {"type": "exponential", "delayMs": 400, "maxDelayMs": 1_600}
    for number in range(count):
        yield {
            "jobName": f"down-{number}", "at": iso(at), "job": "rehearse",
            "payload": {"failBelowAttempt": 100}, "retry": {"attempts": ATTEMPTS, "backoff": backoff},
        }  # fmt: skip
    for name in HEALTHY:
        yield job(name, job="rehearse", catchUp="all")


def iso(instant: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant // 1000))


def storm(shop: Shop, count: int, lead: int) -> None:
    """Have so many jobs fail at one instant, and watch what is sent and run until each has been given up."""
    shop.schedule(*stormy(0, 0))
    live = Live(shop.bootstrap, [shop.prefix])
    dead: Counter[str] = Counter()
    try:
        with shop.daemon() as daemon, shop.worker("w", "--seats-least", "8", "--seats-most", "8") as worker:
            daemon.says("schedule.applied", SECONDS)
            worker.says("partitions.assigned", SECONDS)
            at = now() // 1000 * 1000 + lead
            shop.schedule(*stormy(count, at))
            until(lambda: dead_of(live, shop) >= count, "each to be given up", SECONDS + count / 50)
            ended = now()
            assert daemon.terminate() == 0
            until(lambda: not shop.open_fires(), "every fire to end", SECONDS)
            assert worker.terminate() == 0
        seen = live.seen(shop.prefix)
    finally:
        live.stop()
    sent: Counter[str] = Counter()
    by_second: Counter[int] = Counter()
    delays = []
    for record, arrived in seen:
        head = {name: value.decode() for name, value in record.headers}
        if ".jobs." in record.topic and head["ce_subject"].startswith("down-"):
            sent[head["ce_id"]] += 1
            by_second[arrived // 1000] += int(head["attempt"]) > 1
        if head.get("ce_type") == "run.dead":
            dead[head["fire"]] += 1
        if head.get("ce_type") == "run.succeeded" and head["ce_subject"] in HEALTHY:
            planned = millis(head["fire"].rpartition("@")[2])
            if at <= planned < ended:
                delays.append(arrived - planned)
    assert set(sent.values()) == {ATTEMPTS}, Counter(sent.values())
    assert len(dead) == count
    assert set(dead.values()) == {1}
    told = f"retries by second {dict(sorted(by_second.items()))}"
    told += f"; healthy: median {median(delays)} ms, worst {max(delays)} ms"
    print(told)
    assert max(by_second.values()) <= 1.5 * count, f"more than one retry of most fires in a second: {told}"
    assert len(by_second) >= 4, f"they are not spread: {told}"
    assert median(delays) < 1_000, told


def dead_of(live: Live, shop: Shop) -> int:
    """Return how many fires were given up so far."""
    return sum(
        record.topic.endswith(".events") and dict(record.headers).get("ce_type") == b"run.dead"
        for record, _ in live.seen(shop.prefix)
    )


@pytest.mark.long
def test_f50_a_storm_of_retries_is_spread_and_holds_nobody_up(shop: Shop) -> None:
    storm(shop, 300, 4_000)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_f50_ten_thousand_jobs_that_fail_are_spread_and_hold_nobody_up(shop: Shop) -> None:
    storm(shop, 10_000, 20_000)
