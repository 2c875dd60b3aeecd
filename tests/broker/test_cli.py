"""The commands that speak with Kafka, against a real one."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from broker.tools import create, installed
from dispatcher.cli.root import root
from dispatcher.core.job import JobReader
from dispatcher.core.message import MessageMaker, Outgoing, TopicNames

pytestmark = pytest.mark.broker
PLANNED = 1_795_140_000_000  # 2026-11-20T02:00:00Z


def run(*words: str) -> Result:
    return CliRunner().invoke(root, words)


def at(bootstrap: str, prefix: str) -> tuple[str, ...]:
    return "--bootstrap-servers", bootstrap, "--prefix", prefix


def fires(prefix: str, *names: str) -> list[Outgoing]:
    make = MessageMaker(TopicNames(prefix), 0, lambda _: 12)
    reader = JobReader()
    entries = [{"jobName": name, "every": "1h", "job": "noop", "payload": {"n": 1}} for name in names]
    jobs = [reader.read(json.dumps(entry).encode()) for entry in entries]
    return [make.fire(job, PLANNED, "r1") for job in jobs]


def commit(bootstrap: str, prefix: str, *names: str, abort: bool = False) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{prefix}-test"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for topic, value, key, partition, headers in fires(prefix, *names):
        producer.produce(topic, value, key, partition, headers=[*(headers or [])])
    producer.flush(20)
    if abort:
        producer.abort_transaction(20)
    else:
        producer.commit_transaction(20)


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_missing_topics_are_told_with_the_command_that_creates_them(kafka: str, prefix: str) -> None:
    checked = run("topics", "check", *at(kafka, prefix))
    assert checked.exit_code == 4
    assert f"topic {prefix}.ledger is missing" in checked.stderr
    mend = checked.stderr.splitlines()[-1].removeprefix("mend with: dispatcher ")
    ensured = run(*shlex.split(mend))
    assert ensured.exit_code == 0, ensured.output
    assert f"created topic {prefix}.jobs.critical" in ensured.stdout
    assert run("topics", "check", *at(kafka, prefix)).exit_code == 0
    assert run("topics", "ensure", *at(kafka, prefix)).stdout == "nothing to do\n"


def test_what_cannot_be_mended_exits_with_4_and_stays_as_it_is(kafka: str, prefix: str) -> None:
    create(kafka, TopicNames(prefix).commands, 3)
    for command in ("ensure", "check"):
        result = run("topics", command, "--json", *at(kafka, prefix))
        assert result.exit_code == 4
        assert f"topic {prefix}.commands has 3 partitions" in result.stdout
        assert f"topic {prefix}.commands has 3 partitions" in result.stderr


def test_committed_fires_are_printed_whole_and_aborted_ones_never(kafka: str, prefix: str) -> None:
    installed(kafka, prefix)
    commit(kafka, prefix, "a", "b")
    commit(kafka, prefix, "ghost", abort=True)
    commit(kafka, prefix, "c")
    words = ("tail", "--from", "beginning", "--no-follow", *at(kafka, prefix))
    found = {line["job"]: line for line in lines(run(*words, "--json"))}
    assert set(found) == {"a", "b", "c"}
    assert found["a"]["fire"] == "a@2026-11-20T02:00:00Z"
    assert found["a"]["key"] == "a"
    assert found["a"]["value"]["payload"] == {"n": 1}
    assert found["a"]["headers"]["revision"] == "r1"
    text = run(*words).stdout.splitlines()
    assert sorted(line.split("  ")[1] for line in text) == [f"{n}@2026-11-20T02:00:00Z" for n in "abc"]


def test_a_tail_stops_after_as_many_as_were_wanted(kafka: str, prefix: str) -> None:
    installed(kafka, prefix)
    commit(kafka, prefix, "a", "b", "c")
    assert len(lines(run("tail", "--json", "--from", "beginning", "--count", "2", *at(kafka, prefix)))) == 2


def test_a_tail_without_topics_exits_with_4(kafka: str, prefix: str) -> None:
    result = run("tail", *at(kafka, prefix))
    assert result.exit_code == 4
    assert "topics ensure" in result.stderr
