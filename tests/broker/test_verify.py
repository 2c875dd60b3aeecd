"""`dispatcher verify` on a real broker: clean after honest work, and every planted fault is found."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from broker.process import Dispatcher, ensure_topics
from broker.tools import committed, create, eventually
from dispatcher.core.instant import from_text, to_text
from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames
from dispatcher.core.outcome import Failed, Succeeded
from dispatcher.core.run import Delivery, Retry, Run, RunReader
from dispatcher.core.settling import Settled, Settler

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]

SECONDS = 4
GHOST = 900
"""The number of a change that no dispatcher made."""


def delivery(message: Message) -> Delivery:
    headers: list[tuple[str, bytes | None]] = list(message.headers() or [])  # type: ignore[arg-type] # bytes
    place = (message.topic() or "", message.partition() or 0, message.offset() or 0)
    return Delivery(*place, message.timestamp()[1], message.key(), message.value(), headers)


class Installation:
    """Topics in which a dispatcher has fired for some seconds, and stopped."""

    def __init__(self, bootstrap: str, prefix: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.began = time.time_ns() // 1_000_000_000 * 1000
        self._directory = directory

    def work(self) -> None:
        """Let a dispatcher fire: jobs of every shard and kind of trigger, some into a topic of their own."""
        own = create(self.bootstrap, f"{self.prefix}-own", 3)
        jobs: list[dict[str, Any]] = [
            {"jobName": f"steady {number}", "every": "1s", "job": "noop"} for number in range(12)
        ]
        jobs += [
            {"jobName": "own", "every": "1s", "job": "noop", "topic": own},
            {"jobName": "spread", "every": "1s", "job": "noop", "jitterSeconds": 1, "priority": 9},
            {"jobName": "cron", "cronTime": "*/2 * * * * *", "timezone": "Asia/Kolkata", "job": "noop"},
            {"jobName": "nowhere", "every": "1s", "job": "noop", "topic": f"{self.prefix}-nowhere"},
        ]
        file = self._directory / "schedule.json"
        file.write_text(json.dumps({"jobs": jobs}))
        ensure_topics(self.bootstrap, self.prefix)
        with Dispatcher(self.bootstrap, self.prefix, file, self._directory / "log") as dispatcher:
            topic = f"{self.prefix}.jobs.normal"
            counts = 3 * SECONDS
            eventually(lambda: len(self.fires(topic)) > counts * SECONDS, 60)
            assert dispatcher.terminate() == 0

    def fires(self, topic: str) -> list[tuple[int, int, bytes]]:
        """Return (partition, offset, fire id) of the committed fires of a lane."""
        found = []
        for partition in range(12):
            for message in committed(self.bootstrap, topic, partition):
                headers = dict(message.headers() or [])
                found.append((partition, message.offset() or 0, bytes(headers["ce_id"])))  # type: ignore[arg-type] # bytes
        return found

    def verify(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        command = [sys.executable, "-m", "dispatcher", "verify", "--bootstrap-servers", self.bootstrap]
        return subprocess.run(
            [*command, "--prefix", self.prefix, *flags], capture_output=True, text=True, check=False
        )

    def facts(self, *flags: str) -> tuple[int, dict[str, Any]]:
        """Run the command with --json; return its exit code and what it says."""
        done = self.verify("--json", *flags)
        facts: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, facts

    def plant(
        self, topic: str, partition: int, headers: dict[str, bytes], value: bytes, timestamp: int
    ) -> int:
        """Write a record with a plain producer; return its offset."""
        offsets: list[int | None] = []
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(
            topic,
            value,
            partition=partition,
            headers=list(headers.items()),
            timestamp=timestamp,
            on_delivery=lambda _, message: offsets.append(message.offset()),
        )
        assert producer.flush(10) == 0
        assert offsets[0] is not None
        return offsets[0]

    def plant_job(self, name: str, planned: int, change: int) -> bytes:
        """Write events as if a job with one instant had been put in force before it."""
        definition = json.dumps(
            {"jobName": name, "at": to_text(planned), "job": "noop"}, separators=(",", ":")
        ).encode()
        head = b'{"v":1,"change":%d,"revision":"r","effectiveFrom":null' % change
        event = {"ce_type": b"job.added", "ce_subject": name.encode()}
        topic = f"{self.prefix}.events"
        self.plant(topic, 2, event, head + b',"definition":' + definition + b"}", planned - 1)
        data = {"change": change, "effectiveFrom": to_text(planned - 1000), "added": {"count": 1}}
        event = {"ce_type": b"schedule.applied"}
        self.plant(topic, 2, event, json.dumps(data).encode(), planned - 1)
        return definition

    def plant_fire(self, name: str, planned: int, value: bytes, timestamp: int) -> dict[str, Any]:
        """Write a fire with a plain producer; return its place as `verify` tells it."""
        topic = f"{self.prefix}.jobs.normal"
        headers = {
            "ce_type": b"dispatcher.fire",
            "ce_id": f"{name}@{to_text(planned)}".encode(),
            "attempt": b"1",
            "shard": b"2",
        }
        offset = self.plant(topic, 5, headers, value, timestamp)
        return {"topic": topic, "partition": 5, "offset": offset}

    def run_all(self) -> list[Run]:
        """End every fire of the lanes as a worker does whose runs all succeed; return the runs."""
        reader, settler = RunReader(4), Settler(TopicNames(self.prefix), "w", 4, 12)
        runs = []
        for lane in Lane:
            topic = TopicNames(self.prefix).lane(lane)
            for partition in range(12):
                for message in committed(self.bootstrap, topic, partition):
                    run = reader.read(delivery(message))
                    assert isinstance(run, Run)
                    runs.append(run)
        for run in runs:
            self.tell(settler.ended(run, Succeeded(), run.planned, run.planned + 1))
        return runs

    def tell(self, settled: Settled) -> None:
        """Write the events of an end, and nothing else of it."""
        for topic, value, _, shard, headers in settled.outgoing:
            if topic == f"{self.prefix}.events":
                self.plant(topic, shard, dict(headers or []), value or b"", time.time_ns() // 1_000_000)

    def forget(self, topic: str, partitions: int, share: float) -> None:
        """Have the broker drop the first part of every partition, as retention does."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        entry = ConfigEntry("retention.ms", "500", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result()
        ends = []
        for partition in range(partitions):
            last = committed(self.bootstrap, topic, partition)
            if last:
                offset = int(((last[-1].offset() or 0) + 1) * share)
                ends.append(TopicPartition(topic, partition, offset))
        for done in admin.delete_records(ends).values():
            done.result()


@pytest.fixture
def installation(kafka: str, prefix: str, tmp_path: Path) -> Installation:
    made = Installation(kafka, prefix, tmp_path)
    made.work()
    return made


def test_honest_work_is_clean_and_every_planted_fault_is_found(installation: Installation) -> None:
    code, facts = installation.facts()
    assert code == 0, facts
    assert facts["clean"]
    assert facts["committed"] > 12 * SECONDS
    assert facts["planned"] == facts["committed"] + facts["skipped"] + facts["pending"]
    assert facts["skipped"] >= SECONDS, "of the job whose topic is not there"
    assert facts["knownFrom"] == {}

    planned = installation.began + 2000
    installation.plant_job("ghost", planned, GHOST)
    hasty = installation.plant_job("hasty", planned, GHOST + 1)
    early = installation.plant_fire("hasty", planned, hasty, planned - 5000)
    unexpected = installation.plant_fire("stranger", planned, b"{}", planned)
    partition, offset, fire = installation.fires(f"{installation.prefix}.jobs.normal")[0]
    name, _, text = fire.decode().rpartition("@")
    first = next(
        message
        for message in committed(installation.bootstrap, f"{installation.prefix}.jobs.normal", partition)
        if message.offset() == offset
    )
    again = installation.plant_fire(name, from_text(text), first.value() or b"", planned + 60_000)

    code, facts = installation.facts()
    assert code == 1
    counts = {kind: found["count"] for kind, found in facts["wrong"].items() if found["count"]}
    assert counts == {"lost": 1, "doubled": 1, "early": 1, "unexpected": 1}
    listed = {kind: found["listed"][0] for kind, found in facts["wrong"].items() if found["listed"]}
    assert (listed["lost"]["job"], listed["lost"]["planned"]) == ("ghost", to_text(planned))
    assert (listed["lost"]["shard"], listed["lost"]["change"]) == (2, GHOST)
    assert listed["early"]["places"] == [early]
    assert listed["unexpected"]["places"] == [unexpected]
    first_place = {"topic": again["topic"], "partition": partition, "offset": offset}
    assert first_place in listed["doubled"]["places"]
    assert again in listed["doubled"]["places"]

    table = installation.verify()
    assert table.returncode == 1
    assert f"{early['topic']}[5]@{early['offset']}" in table.stdout
    assert "lost\tghost" in table.stdout
    assert "1 lost, 1 doubled, 1 early, 1 unexpected" in table.stderr

    code, facts = installation.facts("--from", to_text(planned + 1000))
    assert code == (4 if from_text(text) <= planned + 1000 else 1), "the ledger knows of no such change"
    assert facts["wrong"]["lost"]["count"] == 0
    assert facts["committed"] > 0


def test_runs_are_judged_once_workers_tell_of_them(installation: Installation) -> None:
    table = installation.verify()
    assert "no worker has told of any run: whether fires have ended is not judged" in table.stdout
    assert installation.facts()[1]["runs"] is None
    assert installation.facts("--ended")[0] == 1

    runs = installation.run_all()
    code, facts = installation.facts("--ended")
    assert code == 0, facts
    counts = {"ended": len(runs), "running": 0, "retried": 0, "redelivered": 0}
    assert facts["runs"] == counts
    assert facts["committed"] > len(runs), "those in the topic of a job's own are nobody's to judge"

    settler = Settler(TopicNames(installation.prefix), "w", 4, 12)
    twice = runs[0]
    failed = runs[1]._replace(spec=replace(runs[1].spec, retry=Retry(attempts=2)))
    installation.tell(settler.ended(twice, Succeeded(), twice.planned, twice.planned + 2))
    installation.tell(settler.ended(failed, Failed("no"), failed.planned, failed.planned + 2))
    asked = f"{runs[2].job}!by-hand"
    headers = {
        "ce_type": b"run.triggered",
        "ce_source": f"/{installation.prefix}/shards/{runs[2].shard}".encode(),
        "ce_time": to_text(installation.began).encode(),
        "ce_subject": runs[2].job.encode(),
        "fire": asked.encode(),
        "attempt": b"1",
    }
    topic, now = f"{installation.prefix}.events", time.time_ns() // 1_000_000
    installation.plant(topic, runs[2].shard, headers, b'{"v":1,"command":"by-hand"}', now)

    code, facts = installation.facts()
    assert code == 1
    assert {kind: found["count"] for kind, found in facts["wrong"].items() if found["count"]} == {
        "lost": 2,
        "overended": 1,
    }
    lost = {(one["job"], one["attempt"]) for one in facts["wrong"]["lost"]["listed"]}
    assert lost == {(failed.fire, 2), (asked, 1)}
    assert facts["wrong"]["overended"]["listed"][0]["job"] == twice.job

    waiting = json.dumps({"v": 1, "type": "retry", "id": f"retry/{failed.fire}/2"}).encode()
    installation.plant(f"{installation.prefix}.commands", failed.shard, {}, waiting, now)
    facts = installation.facts()[1]
    assert [one["job"] for one in facts["wrong"]["lost"]["listed"]] == [asked], (
        "a command may still be obeyed"
    )


def test_a_ledger_that_is_an_older_copy_is_not_believed(installation: Installation) -> None:
    job = installation.run_all()[0].job
    later = time.time_ns() // 1_000_000_000 * 1000 + 3_600_000
    headers = {
        "ce_type": b"dispatcher.fire",
        "ce_id": f"{job}@{to_text(later)}".encode(),
        "ce_time": to_text(later).encode(),
        "attempt": b"1",
        "shard": b"2",
    }
    installation.plant(f"{installation.prefix}.jobs.normal", 5, headers, b"{}", later)
    done = installation.verify()
    assert done.returncode == 4
    assert "it was restored from an older copy" in done.stderr
    assert f"mend with: dispatcher recover --bootstrap-servers {installation.bootstrap}" in done.stderr
    assert "pending" in done.stdout, "what can be told is told"


def test_what_retention_took_is_never_called_fine(installation: Installation) -> None:
    until = ("--to", to_text(time.time_ns() // 1_000_000))
    whole = installation.facts(*until)[1]
    installation.forget(f"{installation.prefix}.jobs.normal", 12, 0.5)
    eventually(lambda: installation.facts(*until)[1]["unknown"] > 0)
    code, facts = installation.facts(*until)
    assert (code, facts["wrong"]["lost"]["count"]) == (0, 0), facts
    assert facts["planned"] == whole["planned"]
    assert facts["committed"] + facts["unknown"] == whole["committed"]

    installation.forget(f"{installation.prefix}.events", 4, 1.0)
    done = installation.verify(*until)
    assert done.returncode == 1
    assert "the history of shard 3 reaches back to" in done.stdout
    assert "nothing could be judged" in done.stderr


def test_topics_that_are_not_there_are_told_with_what_creates_them(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    done = Installation(kafka, prefix, tmp_path).verify()
    assert done.returncode == 4
    assert f"topic {prefix}.events is missing" in done.stderr
    assert f"mend with: dispatcher topics ensure --bootstrap-servers {kafka} --prefix {prefix}" in done.stderr


def test_a_window_that_is_none_is_wrong_usage(kafka: str, prefix: str, tmp_path: Path) -> None:
    window = ("--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z")
    done = Installation(kafka, prefix, tmp_path).verify(*window)
    assert done.returncode == 2
    assert "is not before" in done.stderr
