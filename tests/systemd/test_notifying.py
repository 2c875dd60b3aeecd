"""What a real dispatcher and a real worker tell systemd, on a real broker, from their start to their end."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
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


def run(bootstrap: str, prefix: str, path: Path, instance: str = "test", shards: int = 4) -> list[str]:
    return [
        *("run", "--bootstrap-servers", bootstrap, "--prefix", prefix, "--schedule", str(path)),
        *("--instance", instance, "--shards", str(shards)),
    ]


def work(bootstrap: str, prefix: str) -> list[str]:
    return ["work", "--bootstrap-servers", bootstrap, "--prefix", prefix, "--instance", "test"]


def is_start(message: Message) -> bool:
    return "READY" not in message


def test_a_dispatcher_tells_of_its_start_its_reloads_and_its_end(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    installed(kafka, prefix)
    path = tmp_path / "schedule.json"
    revision = schedule(path)
    with Supervised(tmp_path, *run(kafka, prefix, path)) as process:
        assert "EXTEND_TIMEOUT_USEC" in process.until(is_start, "message")
        ready = process.next("READY")
        assert ready == {
            "READY": "1", "STATUS": f"at work on shards 0, 1, 2, 3 of 4, schedule {revision}"
        }  # fmt: skip
        assert process.said("STATUS")[:1] == [f"waiting for Kafka at {kafka}"]
        for _ in range(3):
            assert process.next("WATCHDOG", 5) == {"WATCHDOG": "1"}

        revision = schedule(path, every="2s")
        before = time.monotonic_ns() // 1000
        process.send(signal.SIGHUP)
        begin = process.next("RELOADING", 5)
        assert begin["RELOADING"] == "1"
        assert before < int(begin["MONOTONIC_USEC"]) < time.monotonic_ns() // 1000
        assert process.next("READY")["STATUS"].endswith(f"schedule {revision}")

        path.write_text("{", encoding="utf-8")
        process.send(signal.SIGHUP)
        process.next("RELOADING", 5)
        refused = process.next("READY")["STATUS"]
        assert refused.startswith(f"reload refused: {path}:1:2: ")
        assert refused.endswith(f"at work on shards 0, 1, 2, 3 of 4, schedule {revision}")

        process.send(signal.SIGTERM)
        assert process.next("STOPPING") == STOPPING
        assert process.wait() == 0
        assert process.said("READY") == ["1", "1", "1"]


def test_a_replica_that_stands_by_is_ready_and_says_so(kafka: str, prefix: str, tmp_path: Path) -> None:
    installed(kafka, prefix, shards=1)
    path = tmp_path / "schedule.json"
    schedule(path)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    with Supervised(folders[0], *run(kafka, prefix, path, "a", 1)) as first:
        assert first.next("READY")["STATUS"].startswith("at work on shards 0 of 1")
        with Supervised(folders[1], *run(kafka, prefix, path, "b", 1)) as second:
            assert second.next("READY") == {"READY": "1", "STATUS": "stands by"}


def test_a_start_that_fails_says_why(kafka: str, prefix: str, tmp_path: Path) -> None:
    installed(kafka, prefix)
    path = tmp_path / "schedule.json"
    schedule(path, priority=99)
    with Supervised(tmp_path, *run(kafka, prefix, path)) as process:
        end = process.next("STOPPING")
        assert process.wait() == 3
        assert end["STATUS"].startswith(f"failed: {path}:1:")
        assert process.said("READY") == []


def test_a_worker_tells_of_its_start_and_its_end(kafka: str, prefix: str, tmp_path: Path) -> None:
    installed(kafka, prefix)
    with Supervised(tmp_path, *work(kafka, prefix)) as process:
        assert process.next("READY")["STATUS"].endswith("seats busy, 0 runs wait")
        process.next("WATCHDOG", 5)
        process.send(signal.SIGTERM)
        assert process.next("STOPPING") == STOPPING
        assert process.wait() == 0
        assert process.said("READY") == ["1"]


@pytest.mark.parametrize(("what", "who"), [("shard", "shard "), ("pool", "pool ")])
def test_a_loop_that_hangs_gets_no_sign_of_life_sent(
    kafka: str, prefix: str, tmp_path: Path, what: str, who: str
) -> None:
    installed(kafka, prefix)
    path = tmp_path / "schedule.json"
    schedule(path)
    command = run(kafka, prefix, path) if what == "shard" else work(kafka, prefix)
    with Supervised(tmp_path, what, *command, script=HANGING, watchdog=0.5) as process:
        process.next("READY")
        process.next("WATCHDOG")
        process.send(signal.SIGUSR1)
        still = process.until(lambda message: "still" in message.get("STATUS", ""), "standstill")["STATUS"]
        assert still.startswith(f"stands still: {who}")
        assert " has not moved for " in still
        threading.Event().wait(1.5)
        assert time.monotonic() - process.last("WATCHDOG") > 1.4
        assert '"process.still"' in process.log.read_text()
