"""The shard's log against a real Apache Kafka: fencing, isolation, refusals, crashes, slow commits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from broker.cluster import Cluster
from broker.tools import committed, create, eventually, installed, values
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.shard_figures import Epoch
from dispatcher.errors import Fenced, KafkaUnreachable, LedgerUnfit, TransactionFailed, Unsendable
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.transaction import Fault, Patience

pytestmark = pytest.mark.broker
SHARD = 2


@pytest.fixture
def topics(kafka: str, prefix: str) -> TopicNames:
    names = TopicNames(prefix)
    create(kafka, names.ledger, 4, cleanup_policy="compact", message_timestamp_type="LogAppendTime")
    create(kafka, "jobs." + prefix, 4, max_message_bytes="200000")
    return names


@pytest.fixture
def log(kafka: str, topics: TopicNames) -> Iterator[KafkaShardLog]:
    log = KafkaShardLog(Connection(kafka), topics, SHARD)
    yield log
    log.close()


def cursor(topics: TopicNames, value: bytes = b"1") -> Outgoing:
    return (topics.ledger, value, b"cursor", SHARD, None)


def fire(topics: TopicNames, value: bytes, partition: int = 2) -> Outgoing:
    return ("jobs." + topics.prefix, value, b"job", partition, [("ce_id", b"job@1")])


def seen(kafka: str, topics: TopicNames, partition: int = 2) -> list[bytes | None]:
    return values(committed(kafka, "jobs." + topics.prefix, partition))


def test_a_commit_tells_the_offset_and_append_time_that_a_reader_sees(
    kafka: str, topics: TopicNames, log: KafkaShardLog
) -> None:
    log.fence()
    first = log.commit([fire(topics, b"a"), fire(topics, b"b"), cursor(topics, b"1")])
    second = log.commit([cursor(topics, b"2")])
    ends = log.ends()
    records = list(log.read(ends.low, ends.high))
    assert [(each.value, each.key) for each in records] == [(b"1", b"cursor"), (b"2", b"cursor")]
    assert [(each.offset, each.appended) for each in records] == [
        (first.offset, first.appended),
        (second.offset, second.appended),
    ]
    assert abs(first.appended - time.time() * 1000) < 60_000
    assert ends.high == second.offset + 2, "the commit marker lies last"
    sent = committed(kafka, "jobs." + topics.prefix, 2)
    assert [(each.value(), each.key(), each.headers()) for each in sent] == [
        (b"a", b"job", [("ce_id", b"job@1")]),
        (b"b", b"job", [("ce_id", b"job@1")]),
    ]


def test_chunks_hold_the_keys_and_values_of_a_read_up_to_its_end_and_no_further(
    topics: TopicNames, log: KafkaShardLog
) -> None:
    log.fence()
    offsets = [log.commit([cursor(topics, b"%d" % number)]).offset for number in range(3)]
    ends = log.ends()
    for until in (ends.high, offsets[2], offsets[1], offsets[1] + 1):
        chunks = list(log.chunks(ends.low, until))
        found = [record for records, _ in chunks for record in records]
        assert found == [(one.key, one.value) for one in log.read(ends.low, until)]
        assert len(found) == sum(offset < until for offset in offsets)
        assert chunks[-1][1] <= until


def test_the_epoch_is_told_and_each_fence_brings_the_next(log: KafkaShardLog) -> None:
    assert log.epoch() is None
    log.fence()
    first = eventually(log.epoch)
    log.fence()
    assert log.epoch() is None, "that of a producer that is gone is told no more"
    assert eventually(log.epoch) == Epoch(first.producer, first.number + 1)
    log.close()
    assert log.epoch() is None


def test_the_older_of_two_logs_is_fenced_and_nothing_of_it_is_seen(
    kafka: str, topics: TopicNames, log: KafkaShardLog
) -> None:
    successor = KafkaShardLog(Connection(kafka), topics, SHARD)
    log.fence()
    log.commit([fire(topics, b"before"), cursor(topics)])
    successor.fence()
    with pytest.raises(Fenced):
        log.commit([fire(topics, b"zombie"), cursor(topics, b"zombie")])
    successor.commit([fire(topics, b"after"), cursor(topics)])
    successor.close()
    assert seen(kafka, topics) == [b"before", b"after"]
    with pytest.raises(TransactionFailed, match="fence before"):
        log.commit([cursor(topics)])
    log.fence()
    log.commit([fire(topics, b"back"), cursor(topics)])
    assert seen(kafka, topics) == [b"before", b"after", b"back"]


def test_a_read_reaches_the_end_over_what_an_open_transaction_left_behind(
    kafka: str, topics: TopicNames, log: KafkaShardLog
) -> None:
    log.fence()
    log.commit([cursor(topics, b"1")])
    dead = Producer(config.shard_producer(Connection(kafka), f"{topics.prefix}-shard-{SHARD}"))
    dead.init_transactions(10)
    dead.begin_transaction()
    dead.produce(topics.ledger, b"torn", b"cursor", SHARD)
    assert dead.flush(10) == 0
    log.fence()
    ends = log.ends()
    assert [each.value for each in log.read(ends.low, ends.high)] == [b"1"]
    assert list(log.read(ends.high - 1, ends.high)) == [], "only a marker lies there"


def test_a_hanging_foreign_transaction_is_told_and_never_read_past(kafka: str, topics: TopicNames) -> None:
    log = KafkaShardLog(Connection(kafka), topics, SHARD, Patience(stall=1.5))
    log.fence()
    log.commit([cursor(topics, b"1")])
    foreign = Producer(config.shard_producer(Connection(kafka), f"{topics.prefix}-foreign"))
    foreign.init_transactions(10)
    foreign.begin_transaction()
    foreign.produce(topics.ledger, b"open", b"x", SHARD)
    assert foreign.flush(10) == 0
    log.commit([cursor(topics, b"2")])
    ends = log.ends()
    with pytest.raises(
        KafkaUnreachable, match=f"{topics.ledger}-{SHARD}: no progress.*a transaction is open at offset 2"
    ):
        list(log.read(ends.low, ends.high))
    foreign.abort_transaction(10)
    assert [each.value for each in log.read(ends.low, ends.high)] == [b"1", b"2"]
    log.close()


def test_a_read_from_an_offset_that_is_not_there_makes_the_ledger_unfit(
    topics: TopicNames, log: KafkaShardLog
) -> None:
    log.fence()
    log.commit([cursor(topics)])
    with pytest.raises(LedgerUnfit, match=topics.ledger):
        list(log.read(5000, 5001))


@pytest.mark.parametrize(
    ("bad", "index"),
    [
        (("jobs", b"x" * 150_000_000), 1),
        (("jobs", os.urandom(300_000)), None),
        (("jobs", os.urandom(300_000), "isolate"), 1),
        (("no-such-topic", b"x"), None),
        (("no-such-topic", b"x", "isolate"), 1),
        (("not a topic!", b"x", "isolate"), 1),
    ],
    ids=["too large for the client", "too large for the topic", "too large, isolated", "unknown topic",
         "unknown topic, isolated", "no legal name"],
)  # fmt: skip
def test_a_message_that_cannot_be_sent_is_told_and_nothing_is_committed(
    kafka: str,
    topics: TopicNames,
    log: KafkaShardLog,
    bad: tuple[str, bytes, *tuple[str, ...]],
    index: int | None,
) -> None:
    log.fence()
    topic, value, *isolate = bad
    culprit: Outgoing = (f"{topic}.{topics.prefix}", value, b"k", 2, None)
    with pytest.raises(Unsendable) as told:
        log.commit([fire(topics, b"innocent"), culprit, cursor(topics)], isolate=bool(isolate))
    assert told.value.index == index
    log.fence()
    log.commit([fire(topics, b"next"), cursor(topics)])
    assert seen(kafka, topics) == [b"next"]


def test_thousands_of_records_go_out_whole_and_in_order(kafka: str, topics: TopicNames) -> None:
    connection = Connection(kafka)
    log = KafkaShardLog(connection, topics, SHARD)
    log.fence()
    log.commit([*(fire(topics, b"%d" % n) for n in range(5000)), cursor(topics)])
    log.close()
    assert seen(kafka, topics) == [b"%d" % n for n in range(5000)]


CRASHING = """
import sys
from dispatcher.core.message import TopicNames
from dispatcher.kafka.config import Connection
from dispatcher.kafka.transaction import Fault, Patience, Transactor
bootstrap, prefix, shard = sys.argv[1], sys.argv[2], int(sys.argv[3])
one = Transactor(Connection(bootstrap), f"{prefix}-shard-{shard}", Patience())
assert one.init(TopicNames(prefix).ledger) is None
jobs, ledger = "jobs." + prefix, TopicNames(prefix).ledger
def stage(value):
    records = [(jobs, value, b"job", 2, None), (ledger, value, b"cursor", shard, None)]
    assert one.stage(records, isolate=False) is None
stage(b"1")
assert one.seal()[0] is None
stage(b"2")
print("open", flush=True)
sys.stdin.read()
"""


def test_after_a_kill_inside_a_transaction_the_successor_reads_a_whole_ledger(
    kafka: str, topics: TopicNames, log: KafkaShardLog
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CRASHING, kafka, topics.prefix, str(SHARD)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as victim:  # fmt: skip
        assert victim.stdout is not None
        assert victim.stdout.readline() == "open\n"
        victim.send_signal(signal.SIGKILL)
    log.fence()
    ends = log.ends()
    assert [each.value for each in log.read(ends.low, ends.high)] == [b"1"]
    assert seen(kafka, topics) == [b"1"], "fire and cursor go together"
    log.commit([fire(topics, b"3"), cursor(topics, b"3")])
    assert seen(kafka, topics) == [b"1", b"3"]


def test_no_broker_is_told_within_the_time_given(topics: TopicNames) -> None:
    log = KafkaShardLog(Connection("127.0.0.1:1"), topics, SHARD, Patience(fence=0.5, ends=0.5, slice=0.3))
    started = time.monotonic()
    with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:1"):
        log.fence()
    with pytest.raises(KafkaUnreachable):
        log.ends()
    log.close()
    assert time.monotonic() - started < 5


@pytest.fixture
def frail(own_cluster: Cluster, prefix: str) -> TopicNames:
    return installed(own_cluster.bootstrap, prefix)


def freeze_at_commit(cluster: Cluster, log: KafkaShardLog, seconds: float) -> None:
    """Freeze the broker when everything of the next transaction is sent, right before its end is."""
    transactor = log._transactor
    assert transactor is not None
    seal = transactor.seal

    def frozen() -> tuple[Fault | None, float, int]:
        cluster.pause()
        threading.Timer(seconds, cluster.resume).start()
        return seal()

    transactor.seal = frozen  # type: ignore[method-assign]  # the point in time is the test


@pytest.mark.parametrize(("slice_seconds", "calls"), [(3.0, "1 call"), (0.25, "[2-9] call")])
def test_a_commit_slower_than_the_threshold_is_suspect_and_costs_the_producer(
    own_cluster: Cluster, frail: TopicNames, slice_seconds: float, calls: str
) -> None:
    log = KafkaShardLog(Connection(own_cluster.bootstrap), frail, SHARD, Patience(slice=slice_seconds))
    log.fence()
    log.commit([cursor(frail, b"warm")])
    freeze_at_commit(own_cluster, log, 0.7)
    late = log.commit([cursor(frail, b"late")])
    assert late.suspect is not None
    assert re.search(calls, late.suspect)
    with pytest.raises(TransactionFailed, match="fence before"):
        log.commit([cursor(frail, b"never")])
    log.fence()
    assert [each.value for each in log.read(0, log.ends().high)] == [b"warm", b"late"]
    log.close()


def test_a_commit_without_an_answer_fails_in_time_and_the_ledger_knows_the_outcome(
    own_cluster: Cluster, frail: TopicNames
) -> None:
    patience = Patience(commit=0.6, slice=0.3)
    log = KafkaShardLog(Connection(own_cluster.bootstrap), frail, SHARD, patience)
    log.fence()
    freeze_at_commit(own_cluster, log, 4.0)
    started = time.monotonic()
    with pytest.raises(TransactionFailed, match="only the ledger knows"):
        log.commit([(frail.events, b"e", b"k", SHARD, None), cursor(frail)])
    assert time.monotonic() - started < 3, "no abort was tried after the time-out"
    own_cluster.resume()
    log = KafkaShardLog(Connection(own_cluster.bootstrap), frail, SHARD)
    log.fence()
    ledger = [each.value for each in log.read(0, log.ends().high)]
    assert ledger in ([], [b"1"])
    assert len(committed(own_cluster.bootstrap, frail.events, SHARD)) == len(ledger), "both or neither"
    log.close()


def test_a_shard_goes_on_after_its_broker_was_killed(own_cluster: Cluster, frail: TopicNames) -> None:
    log = KafkaShardLog(Connection(own_cluster.bootstrap), frail, SHARD)
    log.fence()
    log.commit([cursor(frail, b"before")])
    # Its marker must be there: Kafka 4.3 forgets markers while it starts (KAFKA-20734), whoever uses it.
    eventually(lambda: log.ends().high == 2)
    own_cluster.restart()
    log.fence()
    assert [each.value for each in log.read(0, log.ends().high)] == [b"before"]
    log.commit([cursor(frail, b"after")])
    assert [each.value for each in log.read(0, log.ends().high)] == [b"before", b"after"]
    log.close()
