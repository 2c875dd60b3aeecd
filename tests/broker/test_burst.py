"""Bursts on a real Kafka: seen by nobody before their instant, by everybody soon after it, and once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.process import Dispatcher
from broker.tools import committed, create, eventually, installed, values
from dispatcher.core.instant import from_text
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.errors import TransactionFailed
from dispatcher.kafka.config import Connection
from dispatcher.kafka.live import FireReader, Seen
from dispatcher.kafka.shard_log import KafkaShardLog

pytestmark = pytest.mark.broker

JOBS = 5_000
"""Over four shards: more than the thousand each that make a burst."""
PERIOD_MS = 8_000


@pytest.fixture
def topics(kafka: str, prefix: str) -> TopicNames:
    names = TopicNames(prefix)
    create(kafka, names.ledger, 2, cleanup_policy="compact", message_timestamp_type="LogAppendTime")
    create(kafka, names.events, 2)
    create(kafka, "jobs." + prefix, 2)
    return names


def records(topics: TopicNames, *fires: bytes, shard: int = 0) -> list[Outgoing]:
    """Return the records of a transaction: fires, an event, and the cursor."""
    return [
        *(("jobs." + topics.prefix, one, b"k", shard, None) for one in fires),
        (topics.events, b"event", b"k", shard, None),
        (topics.ledger, b"cursor", b"cursor", shard, None),
    ]


# The log.


def test_what_is_staged_is_seen_by_nobody_until_it_is_sealed(kafka: str, topics: TopicNames) -> None:
    log = KafkaShardLog(Connection(kafka), topics, 0)
    log.fence()
    at = time.time_ns() // 1_000_000 + 1_500
    log.stage(records(topics, b"1", b"2"), at)
    jobs = "jobs." + topics.prefix
    assert committed(kafka, jobs) == committed(kafka, topics.ledger) == []
    sealed = log.seal()
    assert values(committed(kafka, jobs)) == [b"1", b"2"]
    [cursor] = committed(kafka, topics.ledger)
    assert (sealed.offset, sealed.appended) == (cursor.offset(), cursor.timestamp()[1])
    log.close()


def test_only_its_messages_carry_the_time_stamp_of_the_instant(kafka: str, topics: TopicNames) -> None:
    log = KafkaShardLog(Connection(kafka), topics, 0)
    log.fence()
    at = time.time_ns() // 1_000_000 + 1_500
    log.stage(records(topics, b"1"), at)
    log.seal()
    log.commit(records(topics, b"2"))
    log.close()
    first, second = committed(kafka, "jobs." + topics.prefix)
    assert first.timestamp()[1] == at
    assert abs(second.timestamp()[1] - at) > 1
    for topic in (topics.events, topics.ledger):
        assert all(one.timestamp()[1] != at for one in committed(kafka, topic))


def test_what_is_given_up_is_gone_and_the_log_goes_on(kafka: str, topics: TopicNames) -> None:
    log = KafkaShardLog(Connection(kafka), topics, 0)
    log.fence()
    log.stage(records(topics, b"given up"), 1)
    log.close()
    with pytest.raises(TransactionFailed, match="there is no producer"):
        log.seal()
    log.fence()
    ends = log.ends()
    assert list(log.read(0, ends.high)) == []
    log.commit(records(topics, b"sent"))
    log.close()
    assert values(committed(kafka, "jobs." + topics.prefix)) == [b"sent"]


def test_a_successor_makes_what_is_staged_void(kafka: str, topics: TopicNames) -> None:
    dead, log = (KafkaShardLog(Connection(kafka), topics, 0) for _ in range(2))
    dead.fence()
    dead.stage(records(topics, b"void"), 1)
    log.fence()
    log.commit(records(topics, b"sent"))
    with pytest.raises(TransactionFailed):
        dead.seal()
    log.close()
    assert values(committed(kafka, "jobs." + topics.prefix)) == [b"sent"]


def test_other_shards_are_read_while_one_waits(kafka: str, topics: TopicNames) -> None:
    waiting, other = (KafkaShardLog(Connection(kafka), topics, shard) for shard in range(2))
    waiting.fence()
    other.fence()
    waiting.stage(records(topics, b"waits"), 1)
    other.commit(records(topics, b"passes", shard=1))
    assert values(committed(kafka, "jobs." + topics.prefix, 1)) == [b"passes"]
    assert committed(kafka, "jobs." + topics.prefix, 0) == []
    waiting.close()
    other.close()


# The daemon.


class Live:
    """A reader of committed fires that notes when it got each, by the same clock."""

    def __init__(self, kafka: str, names: TopicNames) -> None:
        self.seen: list[tuple[int, Seen]] = []
        self._reader = FireReader(Connection(kafka), [f"{names.prefix}.jobs.normal"])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        eventually(lambda: not self._reader.take(0.1) and self._reader.at_end)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._reader.close()

    def planned(self) -> Counter[int]:
        """Return how many fires of each planned instant were seen so far."""
        return Counter(from_text(text(one, "ce_time")) for _, one in list(self.seen))

    def _read(self) -> None:
        while not self._ended.is_set():
            found = self._reader.take(0.05)
            at = time.time_ns() // 1_000_000
            self.seen += [(at, one) for one in found]


def text(one: Seen, name: str) -> str:
    return dict(one.headers)[name].decode()


@contextmanager
def live(kafka: str, names: TopicNames) -> Iterator[Live]:
    reader = Live(kafka, names)
    try:
        yield reader
    finally:
        reader.close()


def schedule(path: Path) -> Path:
    jobs = [{"jobName": f"job-{n}", "every": f"{PERIOD_MS // 1000}s", "job": "noop"} for n in range(JOBS)]
    path.write_text(json.dumps({"defaults": {"catchUp": "all"}, "jobs": jobs}), encoding="utf-8")
    return path


def of_shards(dispatcher: Dispatcher, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in dispatcher.text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def test_a_burst_is_seen_whole_and_never_before_its_instant(kafka: str, prefix: str, tmp_path: Path) -> None:
    names = installed(kafka, prefix)
    flags = ("--log-level", "debug")
    with Dispatcher(kafka, prefix, schedule(tmp_path / "s.json"), tmp_path / "log", *flags) as dispatcher:
        eventually(lambda: len(of_shards(dispatcher, "schedule.applied")) == 4, 60)
        with live(kafka, names) as reader:
            eventually(lambda: sum(1 for count in reader.planned().values() if count == JOBS) >= 3, 90)
        staged = {one["due"] for one in of_shards(dispatcher, "burst.staged")}
        assert dispatcher.terminate() == 0
    whole = [planned for planned, count in reader.planned().items() if count == JOBS]
    assert {from_text(due) for due in staged} & set(whole), "nothing was staged"
    early = [(at, one) for at, one in reader.seen if at < from_text(text(one, "ce_time"))]
    assert early == []


def test_a_kill_while_a_burst_waits_loses_and_doubles_nothing(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    names = installed(kafka, prefix)
    path = schedule(tmp_path / "s.json")
    dispatcher = Dispatcher(kafka, prefix, path, tmp_path / "log", "--log-level", "debug")
    with dispatcher, live(kafka, names) as reader:
        eventually(lambda: len(of_shards(dispatcher, "schedule.applied")) == 4, 60)
        due = killed_while_staged(dispatcher)
        assert reader.planned()[due] == 0
        dispatcher.start()
        eventually(lambda: reader.planned()[due + PERIOD_MS] >= JOBS, 90)
        dispatcher.terminate()
    ids = Counter(text(one, "ce_id") for _, one in reader.seen)
    assert max(ids.values()) == 1
    assert reader.planned()[due] == JOBS


def killed_while_staged(dispatcher: Dispatcher) -> int:
    """Kill a dispatcher while a burst waits, if need be in a later life; return the burst's instant."""
    for _ in range(6):
        dispatcher.says("burst.staged", 60, after=len(dispatcher.text()))
        dispatcher.kill()
        due = from_text(of_shards(dispatcher, "burst.staged")[-1]["due"])
        if time.time_ns() // 1_000_000 < due:
            return due
        dispatcher.start()
    raise AssertionError("every kill came after the instant")
