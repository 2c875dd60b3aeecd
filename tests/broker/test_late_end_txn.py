"""An EndTxn that comes late must not end another transaction: on the wire, held back by a proxy.

The library repeats a lost EndTxn by itself and reports success. The first one, still on its way, then ends
the *next* transaction of the same producer: in the middle, which tears it. What a shard does about it is
compared with what everybody else does.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from broker.cluster import Cluster, missing, own_kafka
from broker.history import read_history
from broker.process import Dispatcher, ensure_topics, until
from broker.proxy import Proxy
from broker.tools import committed, create, values
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.kafka import config
from dispatcher.kafka.config import Config, Connection
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.transaction import Means
from dispatcher.ports import Committed

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

SUCCESS = 0
REFUSALS = (47, 90)
"""Kafka's INVALID_PRODUCER_EPOCH and PRODUCER_FENCED."""
STEPS = ("begin", "ledger", "commit")
"""When the late one comes in the next transaction: before any record, before the ledger's, before the end."""


class Stepping(Producer):
    """Calls a hook at the steps of a transaction, everything before it being with the broker."""

    def __init__(self, settings: Config, reached: Callable[[str], None]) -> None:
        super().__init__(settings)
        self._reached = reached

    def begin_transaction(self, *arguments: Any) -> None:
        super().begin_transaction(*arguments)
        self._reached("begin")

    def produce(self, topic: str, *arguments: Any) -> None:
        if topic.endswith(".ledger"):
            assert self.flush(10) == 0
            self._reached("ledger")
        super().produce(topic, *arguments)

    def commit_transaction(self, *arguments: Any) -> None:
        self._reached("commit")
        super().commit_transaction(*arguments)


class NaiveLog(KafkaShardLog):
    """What everybody does: a producer is kept for as long as the library reports no error."""

    def fence(self) -> None:
        if self._transactor is None:
            super().fence()

    def close(self) -> None:
        if self._transactor is not None and self._transactor._may_abort:
            self._transactor._producer.abort_transaction(20)
            self._transactor._may_abort = False


class Shard:
    """A shard's log behind the proxy; its transactions hold one fire and the cursor after it."""

    def __init__(self, kind: type[KafkaShardLog], proxy: Proxy, prefix: str) -> None:
        self.names = TopicNames(prefix)
        self.jobs = f"{prefix}.jobs.normal"
        self.id = f"{prefix}-shard-0"
        self._when: dict[str, list[Callable[[], None]]] = {}
        means = Means(producer=lambda settings: Stepping(settings, self._reached))
        self.log = kind(Connection(proxy.address), self.names, 0, means=means)

    def at(self, step: str, *acts: Callable[[], None]) -> None:
        """Do things once, in order, when the next transaction comes to a step."""
        self._when.setdefault(step, []).extend(acts)

    def die(self) -> None:
        """End as a killed process does: nothing is aborted."""
        self.log._transactor = None
        raise DiedError

    def fire(self, number: int) -> Committed:
        return self.log.commit(self.records(number))

    def records(self, number: int) -> list[Outgoing]:
        text = str(number).encode()
        return [(self.jobs, text, b"job", 0, []), (self.names.ledger, text, b"cursor", 0, None)]

    def _reached(self, step: str) -> None:
        for act in self._when.pop(step, []):
            act()


class DiedError(Exception):
    """The process is gone: nothing more of it reaches the broker."""


@pytest.fixture(scope="module")
def proxied() -> Iterator[tuple[Cluster, Proxy]]:
    if (lack := missing()) is not None:
        without_kafka(lack)
    with own_kafka(proxied=True) as cluster:
        node = cluster.nodes[0]
        with Proxy(node.proxy_port, node.proxied_port) as proxy:
            yield cluster, proxy


def without_kafka(lack: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no Kafka in CI: {lack}", pytrace=False)
    pytest.skip(f"no Kafka: {lack}")


@pytest.fixture
def bootstrap(proxied: tuple[Cluster, Proxy]) -> str:
    return proxied[0].bootstrap


@pytest.fixture
def proxy(proxied: tuple[Cluster, Proxy]) -> Proxy:
    return proxied[1]


@pytest.fixture(params=["cut off", "unanswered"])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the client learns at once that its connection is gone, or waits for its time-out, here 1 s."""
    usual = config.shard_producer
    monkeypatch.setattr(
        config, "shard_producer", lambda *given: {**usual(*given), "socket.timeout.ms": 1_000}
    )
    return bool(request.param == "cut off")


def shard_of(kind: type[KafkaShardLog], bootstrap: str, proxy: Proxy, prefix: str) -> Shard:
    """Return a shard that has sent its first fire."""
    shard = Shard(kind, proxy, prefix)
    create(bootstrap, shard.names.ledger)
    create(bootstrap, shard.jobs)
    shard.log.fence()
    assert shard.fire(1).suspect is None
    return shard


def commit_late_and_die(shard: Shard, proxy: Proxy, step: str, *, cut: bool) -> int:
    """Have the commit of fire 2 come late, at a step of fire 3, and the process die before fire 3 is whole.

    Return how the broker answered the late commit.
    """
    held = proxy.hold(shard.id, cut=cut)
    assert shard.fire(2).suspect is not None
    shard.log.fence()
    answers: list[int] = []
    shard.at(step, lambda: answers.append(held.release()))
    shard.at("commit" if step == "commit" else "ledger", shard.die)
    with pytest.raises(DiedError):
        shard.fire(3)
    return answers[0]


def abort_late(shard: Shard, proxy: Proxy, step: str, *, cut: bool) -> int:
    """Have the abort of a staged fire 2 come late, at a step of the transaction that sends it after all.

    Return how the broker answered the late abort.
    """
    held = proxy.hold(shard.id, commit=False, cut=cut)
    shard.log.stage(shard.records(2), at=0)
    shard.log.close()
    assert held.caught.is_set()
    shard.log.fence()
    answers: list[int] = []
    shard.at(step, lambda: answers.append(held.release()))
    shard.fire(2)
    return answers[0]


def after_a_restart(bootstrap: str, shard: Shard, last: int) -> Counter[int]:
    """Restart: send every fire up to the last that the ledger does not know of; return what readers see."""
    log = KafkaShardLog(Connection(bootstrap), shard.names, 0)
    log.fence()
    cursors = [int(one.value or b"") for one in log.read(0, log.ends().high)]
    for number in range(cursors[-1] + 1, last + 1):
        log.commit(shard.records(number))
    log.close()
    return Counter(int(value or b"") for value in values(committed(bootstrap, shard.jobs)))


@pytest.mark.parametrize("step", STEPS)
def test_a_late_commit_changes_nothing_once_its_producer_is_thrown_away(
    bootstrap: str, proxy: Proxy, prefix: str, step: str, *, cut: bool
) -> None:
    shard = shard_of(KafkaShardLog, bootstrap, proxy, prefix)
    assert commit_late_and_die(shard, proxy, step, cut=cut) in REFUSALS
    assert after_a_restart(bootstrap, shard, 3) == {1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("step", STEPS)
def test_a_late_abort_changes_nothing_once_its_producer_is_thrown_away(
    bootstrap: str, proxy: Proxy, prefix: str, step: str, *, cut: bool
) -> None:
    shard = shard_of(KafkaShardLog, bootstrap, proxy, prefix)
    assert abort_late(shard, proxy, step, cut=cut) in REFUSALS
    assert after_a_restart(bootstrap, shard, 2) == {1: 1, 2: 1}


def test_without_that_a_late_commit_doubles_a_fire(
    bootstrap: str, proxy: Proxy, prefix: str, *, cut: bool
) -> None:
    shard = shard_of(NaiveLog, bootstrap, proxy, prefix)
    assert commit_late_and_die(shard, proxy, "ledger", cut=cut) == SUCCESS
    assert after_a_restart(bootstrap, shard, 3) == {1: 1, 2: 1, 3: 2}


def test_without_that_a_late_abort_loses_a_fire(
    bootstrap: str, proxy: Proxy, prefix: str, *, cut: bool
) -> None:
    shard = shard_of(NaiveLog, bootstrap, proxy, prefix)
    assert abort_late(shard, proxy, "ledger", cut=cut) == SUCCESS
    assert after_a_restart(bootstrap, shard, 2) == {1: 1}


def test_a_commit_whose_answer_is_lost_counts_once_and_is_looked_at_again(
    bootstrap: str, proxy: Proxy, prefix: str
) -> None:
    shard = shard_of(KafkaShardLog, bootstrap, proxy, prefix)
    held = proxy.hold(shard.id).at_once()
    assert shard.fire(2).suspect is not None
    assert held.release() == SUCCESS
    shard.log.fence()
    shard.fire(3)
    assert after_a_restart(bootstrap, shard, 3) == {1: 1, 2: 1, 3: 1}


def test_a_dispatcher_whose_commits_come_late_loses_and_doubles_nothing(
    bootstrap: str, proxy: Proxy, prefix: str, tmp_path: Path
) -> None:
    ensure_topics(bootstrap, prefix, "--shards", "1")
    file = tmp_path / "schedule.json"
    jobs = [{"jobName": f"j{n}", "every": "1s", "job": "noop", "catchUp": "all"} for n in range(20)]
    file.write_text(json.dumps({"jobs": jobs}))
    with Dispatcher(proxy.address, prefix, file, tmp_path / "log", "--shards", "1") as daemon:
        daemon.says("schedule.applied")
        for fires, cut_off in ((0, True), (30, True), (20, False)):
            held = proxy.hold(f"{prefix}-shard-0", cut=cut_off)
            until(held.caught.is_set, "a commit to hold")
            enough = committed_fires(bootstrap, prefix) + fires
            until(lambda enough=enough: committed_fires(bootstrap, prefix) >= enough, "fires meanwhile")  # type: ignore[misc]  # bound
            assert held.release() in REFUSALS
        settled = committed_fires(bootstrap, prefix) + 40
        until(lambda: committed_fires(bootstrap, prefix) >= settled, "fires after all that")
        end = time.time_ns() // 1_000_000 - 2_000
        until(lambda: not read_history(bootstrap, prefix).judge(end).lost, "what was missed to be settled")
        assert daemon.terminate() == 0, daemon.text()[-3000:]
        assert daemon.text().count("commit.suspect") >= 2, daemon.text()[-3000:]
    verdict = read_history(bootstrap, prefix).judge(end)
    assert verdict.clean, verdict
    assert verdict.planned > 100


def committed_fires(bootstrap: str, prefix: str) -> int:
    return sum(read_history(bootstrap, prefix).fires.values())
