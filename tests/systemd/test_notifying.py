"""What real dispatchers and real workers tell systemd, on a real broker, from their start to their end."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from broker.cluster import Cluster
from broker.tools import installed

from systemd.supervisor import Message, Supervised

pytestmark = pytest.mark.broker
STOPPING = {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "30000000", "STATUS": "stopping"}
HANGING = Path(__file__).with_name("hanging.py")


def schedule(path: Path, **fields: Any) -> str:
    """Write a schedule; return the beginning of its revision."""
    job = {"jobName": "a", "every": "1s", "job": "noop", **fields}
    path.write_text(json.dumps({"jobs": [job]}), encoding="utf-8")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def run(bootstrap: str, prefix: str, path: Path, instance: str, shards: int) -> list[str]:
    return [
        *("run", "--bootstrap-servers", bootstrap, "--prefix", prefix, "--schedule", str(path)),
        *("--instance", instance, "--shards", str(shards)),
    ]


def work(bootstrap: str, prefix: str, instance: str) -> list[str]:
    return ["work", "--bootstrap-servers", bootstrap, "--prefix", prefix, "--instance", instance]


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def is_start(message: Message) -> bool:
    return "READY" not in message


def reloads(process: Supervised, path: Path) -> None:
    """A good file and then a bad one: each reload is told with its beginning and its end."""
    revision = schedule(path, every="2s")
    before = time.monotonic_ns() // 1000
    process.send(signal.SIGHUP)
    begin = process.next("RELOADING", 5)
    assert begin["RELOADING"] == "1"
    assert before < int(begin["MONOTONIC_USEC"]) < time.monotonic_ns() // 1000
    assert process.next("READY")["STATUS"] == f"at work on shards 0 of 1, schedule {revision}"

    path.write_text("{", encoding="utf-8")
    process.send(signal.SIGHUP)
    process.next("RELOADING", 5)
    refused = process.next("READY")["STATUS"]
    assert refused.startswith(f"reload refused: {path}:1:2: ")
    assert refused.endswith(f"; at work on shards 0 of 1, schedule {revision}")
    schedule(path)


def stops(process: Supervised, readies: int) -> None:
    process.send(signal.SIGTERM)
    assert process.next("STOPPING") == STOPPING
    assert process.wait() == 0
    assert process.said("READY") == ["1"] * readies


def hangs(process: Supervised, who: str) -> None:
    """A loop that hangs is told in words, and no sign of life is sent from then on."""
    process.send(signal.SIGUSR1)
    still = process.until(lambda message: "still" in message.get("STATUS", ""), "standstill")["STATUS"]
    assert still.startswith(f"stands still: {who} ")
    assert " has not moved for " in still
    threading.Event().wait(1.5)
    assert time.monotonic() - process.last("WATCHDOG") > 1.4
    assert '"process.still"' in process.log.read_text()


def test_dispatchers_tell_of_start_reload_stand_by_end_and_hanging(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    installed(kafka, prefix, shards=1)
    path = tmp_path / "schedule.json"
    revision = schedule(path)
    with Supervised(folder(tmp_path / "a"), *run(kafka, prefix, path, "a", 1)) as first:
        assert "EXTEND_TIMEOUT_USEC" in first.until(is_start, "message")
        ready = {"READY": "1", "STATUS": f"at work on shards 0 of 1, schedule {revision}"}
        assert first.next("READY") == ready
        assert first.said("STATUS")[0] in {"starting", f"waiting for Kafka at {kafka}"}
        later = ("shard", "1", *run(kafka, prefix, path, "b", 1))
        with Supervised(folder(tmp_path / "b"), *later, script=HANGING, watchdog=0.5) as second:
            for _ in range(3):
                assert first.next("WATCHDOG", 5) == {"WATCHDOG": "1"}
            reloads(first, path)
            assert second.next("READY") == {"READY": "1", "STATUS": "stands by"}
            stops(first, readies=3)
            second.until(lambda message: message.get("STATUS", "").startswith("at work"), "takeover")
            hangs(second, "shard 0")


def test_workers_tell_of_start_end_and_hanging(kafka: str, prefix: str, tmp_path: Path) -> None:
    installed(kafka, prefix)
    later = ("pool", "1", *work(kafka, prefix, "b"))
    with (
        Supervised(folder(tmp_path / "a"), *work(kafka, prefix, "a")) as first,
        Supervised(folder(tmp_path / "b"), *later, script=HANGING, watchdog=0.5) as second,
    ):
        assert first.next("READY")["STATUS"].endswith("seats busy, 0 runs wait")
        assert first.next("WATCHDOG", 5) == {"WATCHDOG": "1"}
        second.next("READY")
        stops(first, readies=1)
        hangs(second, "pool")


@pytest.mark.long
@pytest.mark.timeout(400)
def test_kafka_that_is_away_is_no_standstill(own_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Health tells of it; a watchdog that ended loops which wait for Kafka would mend nothing."""
    bootstrap = own_cluster.bootstrap
    installed(bootstrap, prefix)
    path = tmp_path / "schedule.json"
    schedule(path)
    both = (
        ("shard", "40", *run(bootstrap, prefix, path, "a", 4)),
        ("pool", "40", *work(bootstrap, prefix, "a")),
    )
    with (
        Supervised(folder(tmp_path / "run"), *both[0], script=HANGING) as dispatcher,
        Supervised(folder(tmp_path / "work"), *both[1], script=HANGING) as worker,
    ):
        for process in (dispatcher, worker):
            process.next("READY")
        for away, back in ((own_cluster.pause, own_cluster.resume), (own_cluster.kill, own_cluster.start)):
            away()
            threading.Event().wait(70)
            for process in (dispatcher, worker):
                assert time.monotonic() - process.last("WATCHDOG") < 2
                assert not any(text.startswith("stands still") for text in process.said("STATUS"))
                assert any("not well" in text for text in process.said("STATUS"))
            back()
            dispatcher.until(lambda message: message.get("STATUS", "").startswith("at work"), "recovery", 60)
