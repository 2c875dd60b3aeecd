"""Each mistake an operator can make with the ledger, made for real: refused at the start, told, mended.

What recovering said it would cost is held against what is in the job topics afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
)

from broker.history import millis
from broker.process import Dispatcher
from broker.tools import eventually, installed
from dispatcher.cli.preflight import identity_of
from dispatcher.core.codec import CURSOR_KEY, IDENTITY_KEY, decode, encode
from dispatcher.core.diagnosis import diagnose
from dispatcher.core.ledger import Fact, Identity
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.kafka.config import Connection
from dispatcher.kafka.recovery import GLANCE, Depth, Look
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.topic_plan import topic_plan
from dispatcher.kafka.topics import KafkaTopics

pytestmark = pytest.mark.broker
SHARDS = 2
JOBS = ("a", "b", "c", "d", "e")
SECONDS = 60.0
Records = list[tuple[bytes | None, bytes | None]]


@dataclass
class Place:
    """One installation, its schedule, and what an operator does to it."""

    bootstrap: str
    names: TopicNames
    home: Path
    started: int = 0
    admin: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})
        jobs = [{"jobName": name, "every": "1s", "job": "noop", "catchUp": "all"} for name in JOBS]
        self.schedule.write_text(json.dumps({"jobs": jobs}), encoding="utf-8")

    @property
    def schedule(self) -> Path:
        return self.home / "schedule.json"

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")
        }
        common = ["--bootstrap-servers", self.bootstrap, "--prefix", self.names.prefix]
        return subprocess.run(
            [sys.executable, "-m", "dispatcher", *words, *common],
            capture_output=True, text=True, check=False, timeout=SECONDS, env=environment, cwd=self.home,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def refused(self, *flags: str) -> str:
        done = self.command("run", *self.flags(flags), "--schedule", str(self.schedule))
        assert done.returncode == 4, done.stderr
        return done.stderr

    def recovered(self, *flags: str) -> dict[str, Any]:
        done = self.command("recover", "--yes", "--json", *self.flags(flags))
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def verified(self) -> dict[str, Any]:
        """Return what the checker says of the whole installation; it must be clean."""
        done = self.command("verify", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def run(self, *flags: str, fires: int = 15) -> None:
        """Let a dispatcher fire, and stop it well."""
        self.started += 1
        log = self.home / f"run{self.started}.log"
        words = self.flags(flags)
        shards = int(words[words.index("--shards") + 1])
        with Dispatcher(self.bootstrap, self.names.prefix, self.schedule, log, *words) as dispatcher:
            told = "schedule.applied" if self.started == 1 else "shard.taken"
            eventually(lambda: dispatcher.text().count(told) >= shards, SECONDS)
            before = self.fires().total()
            eventually(lambda: self.fires().total() >= before + fires, SECONDS)
            assert dispatcher.terminate() == 0

    def flags(self, given: tuple[str, ...]) -> tuple[str, ...]:
        return given if "--shards" in given else ("--shards", str(SHARDS), *given)

    def fires(self) -> Counter[tuple[str, int]]:
        """Return how often each fire was committed, by job and planned instant."""
        found: Counter[tuple[str, int]] = Counter()
        for message in self.committed(f"{self.names.prefix}.jobs.normal"):
            headers = headers_of(message)
            found[headers["ce_subject"].decode(), millis(headers["ce_time"].decode())] += 1
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of all events of a kind."""
        return [
            json.loads(message.value() or b"")
            for message in self.committed(self.names.events)
            if headers_of(message)["ce_type"] == kind.encode()
        ]

    def committed(self, topic: str) -> list[Message]:
        """Return every committed record of a topic, read by a client that shares nothing with the package."""
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "tests", "isolation.level": "read_committed",
            "enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10,
        })  # fmt: skip
        left = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in left])
        found = []
        while left:
            message = consumer.poll(SECONDS)
            assert message is not None, f"{topic}: partitions {left} have no end"
            if message.error() is None:
                found.append(message)
            else:
                left.discard(message.partition() or 0)
        consumer.close()
        return found

    # Mistakes.

    def delete(self, topic: str) -> None:
        for future in self.admin.delete_topics([topic]).values():
            future.result()
        eventually(lambda: topic not in self.admin.list_topics(timeout=10).topics)

    def ensure(self) -> None:
        assert self.command("topics", "ensure", "--shards", str(SHARDS), "--replication", "1").returncode == 0

    def cut(self, keep: int) -> None:
        """Delete the ledger's records but for so many offsets before each end, as a wrong policy lets one."""
        ends = {
            number: KafkaShardLog(Connection(self.bootstrap), self.names, number).ends().high
            for number in range(SHARDS)
        }
        self.policy("compact,delete")
        asked = [TopicPartition(self.names.ledger, number, end - keep) for number, end in ends.items()]
        eventually(lambda: self.deleted(asked))
        self.policy("compact")

    def deleted(self, asked: list[TopicPartition]) -> bool:
        """Delete records; a broker learns a little late that the policy lets it."""
        try:
            for future in self.admin.delete_records(asked).values():
                future.result()
        except KafkaException as failure:
            if failure.args[0].code() == KafkaError.POLICY_VIOLATION:
                return False
            raise
        return True

    def policy(self, value: str) -> None:
        entry = ConfigEntry("cleanup.policy", value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.names.ledger, incremental_configs=[entry])
        for future in self.admin.incremental_alter_configs([resource]).values():
            future.result()

    def copied(self) -> dict[int, Records]:
        """Return all that the ledger holds now, as a backup has it."""
        found: dict[int, Records] = {number: [] for number in range(SHARDS)}
        for message in self.committed(self.names.ledger):
            found[message.partition() or 0].append((message.key(), message.value()))
        return found

    def write(self, shard: int, records: Records) -> None:
        """Write records into a shard's ledger as its owner."""
        log = KafkaShardLog(Connection(self.bootstrap), self.names, shard)
        log.fence()
        outgoing: list[Outgoing] = [(self.names.ledger, value, key, shard, None) for key, value in records]
        log.commit(outgoing)
        log.close()


@pytest.fixture
def place(kafka: str, prefix: str, tmp_path: Path) -> Place:
    names = installed(kafka, prefix, SHARDS)
    place = Place(kafka, names, tmp_path)
    place.run()
    return place


def last(records: Records, key: bytes) -> Fact:
    return decode(key, next(value for found, value in reversed(records) if found == key))


def lose(place: Place) -> None:
    place.delete(place.names.ledger)


def lose_and_ensure(place: Place) -> None:
    lose(place)
    place.ensure()


def cut_all(place: Place) -> None:
    place.cut(0)


def cut_off_the_jobs(place: Place) -> None:
    place.cut(2)


def restore_into_a_new_topic(place: Place) -> None:
    backup = place.copied()
    place.run()
    lose_and_ensure(place)
    for shard, records in backup.items():
        place.write(shard, records)


def restore_in_place(place: Place) -> None:
    """As a copy of the broker's own files would: the same topic with older records."""
    backup = place.copied()
    place.run()
    for shard, records in backup.items():
        place.write(shard, [(CURSOR_KEY, encode(last(records, CURSOR_KEY))[1])])


def move_to_another_cluster(place: Place) -> None:
    for shard, records in place.copied().items():
        identity, position = last(records, IDENTITY_KEY), last(records, CURSOR_KEY)
        assert isinstance(identity, Identity)
        place.write(shard, list(map(encode, (replace(identity, cluster="old"), position))))


def headers_of(message: Message) -> dict[str, bytes]:
    return dict(cast("list[tuple[str, bytes]]", message.headers() or []))


def holes(fires: Counter[tuple[str, int]]) -> dict[str, list[int]]:
    """Return, by job, the seconds between its first and its last fire that nothing was committed for."""
    found = {}
    for job in JOBS:
        fired = sorted(at for (name, at) in fires if name == job)
        found[job] = [at for at in range(fired[0], fired[-1], 1000) if (job, at) not in fires]
    return found


@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        (lose, ".ledger is missing, but other topics of the prefix"),
        (lose_and_ensure, "the ledger is empty, but"),
        (cut_all, "the ledger begins at offset"),
        (cut_off_the_jobs, "the ledger begins at offset"),
        (restore_into_a_new_topic, "re-created and records were copied into it"),
        (restore_in_place, "it was restored from an older copy"),
        (move_to_another_cluster, "the ledger was written on cluster 'old', this is"),
    ],
)
def test_a_ledger_that_cannot_be_trusted_is_refused_and_begun_anew(
    place: Place, mistake: Callable[[Place], None], text: str
) -> None:
    mistake(place)
    told = place.refused()
    assert text in told
    assert f"mend with: dispatcher recover --bootstrap-servers {place.bootstrap}" in told
    assert place.command("missed", "--shards", str(SHARDS)).stderr == told
    before = place.fires()
    plan = place.recovered()
    assert plan["done"]
    assert [one["remedy"] for one in plan["shards"]] == ["anew"] * SHARDS
    place.run()
    fires = place.fires()
    assert max(fires.values()) == 1, "something was sent twice"
    until = millis(plan["shards"][0]["until"])
    assert all(at > until for _, at in fires.keys() - before.keys())
    applied = max(millis(one["effectiveFrom"]) for one in place.events("schedule.applied"))
    gaps = holes(fires)
    assert all(gaps.values()), "every job has missed at least the second in which it was refused"
    after = min(millis(one["after"]) for one in plan["shards"])
    assert all(after < at <= applied for missing in gaps.values() for at in missing)
    assert {one["until"] for one in place.events("ledger.recovered")} == {plan["shards"][0]["until"]}
    assert place.command("recover", "--shards", str(SHARDS)).stdout == "nothing to recover\n"
    verdict = place.verified()
    assert (verdict["skipped"] > 0, verdict["unknown"]) == (True, 0)


def test_commands_that_were_re_created_cost_no_fire(place: Place) -> None:
    place.delete(place.names.commands)
    place.ensure()
    assert f"{place.names.commands!r} is not the one this ledger was written beside" in place.refused()
    plan = place.recovered()
    assert [one["remedy"] for one in plan["shards"]] == ["rebind"] * SHARDS
    place.run(fires=60)
    connection, names = Connection(place.bootstrap), topic_plan(place.names, SHARDS).names()
    expected = identity_of(KafkaTopics(connection), place.names, SHARDS)
    narrow = Depth(3, whole=False, seconds=SECONDS)
    facts = Look(connection, place.names, SHARDS, narrow).facts(names, expected)
    assert diagnose(facts) == (), "the old identity lies at the ledger's beginning, the new one in its midst"
    verdict = place.verified()
    assert verdict["committed"] >= 75
    assert (verdict["skipped"], verdict["unknown"]) == (0, 0)


def test_another_number_of_shards_is_refused_with_the_ways_there_are(place: Place) -> None:
    wider = ("--shards", "4", "--partitions-jobs", "8")
    told = place.refused(*wider)
    assert f"topic {place.names.ledger} has 2 partitions, the settings say 4 shards. Set --shards 2" in told
    done = place.command("recover", "--yes", *wider)
    assert done.returncode == 4
    assert "Set --shards 2, which costs nothing" in done.stderr
    place.run()


def test_more_partitions_than_the_ledger_was_written_for_can_be_taken_into_use(place: Place) -> None:
    wider = ("--shards", "4", "--partitions-jobs", "8")
    small = (place.names.shards, place.names.ledger, place.names.commands, place.names.events)
    large = [
        topic
        for topic in place.admin.list_topics(timeout=10).topics
        if topic.startswith((f"{place.names.prefix}.jobs.", place.names.dead))
    ]
    new = [*(NewPartitions(topic, 4) for topic in small), *(NewPartitions(topic, 8) for topic in large)]
    for future in place.admin.create_partitions(new).values():
        future.result()
    told = place.refused(*wider)
    assert "the ledger was written for 2 shards, the settings say 4; set --shards 2" in told
    assert [one["remedy"] for one in place.recovered(*wider)["shards"]] == ["anew"] * 4
    place.run(*wider)
    assert max(place.fires().values()) == 1


def test_another_prefix_is_told_the_one_that_is_installed(place: Place) -> None:
    wrong = Place(place.bootstrap, TopicNames(f"{place.names.prefix}x"), place.home)
    told = wrong.refused()
    assert f"did you mean --prefix {place.names.prefix}" in told
    assert "mend with: dispatcher topics ensure" in told


def test_nothing_is_done_while_a_dispatcher_is_alive_or_without_a_word(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "alive.log"
    with Dispatcher(
        place.bootstrap, place.names.prefix, place.schedule, log, "--shards", str(SHARDS)
    ) as dispatcher:
        dispatcher.says("shard.taken", SECONDS)
        place.cut(0)
        done = place.command("recover", "--yes", "--shards", str(SHARDS))
        assert done.returncode == 1
        assert "a dispatcher is alive" in done.stderr
        dispatcher.send(signal.SIGTERM)
        dispatcher.wait(SECONDS)
    done = place.command("recover", "--shards", str(SHARDS))
    assert done.returncode == 1
    assert "Go on like that?" in done.stdout
    assert "the ledger begins at offset" in place.refused()


def test_a_look_beside_a_dispatcher_at_work_finds_nothing_wrong(place: Place, tmp_path: Path) -> None:
    connection, names = Connection(place.bootstrap), topic_plan(place.names, SHARDS).names()
    expected = identity_of(KafkaTopics(connection), place.names, SHARDS)
    log = tmp_path / "beside.log"
    with Dispatcher(
        place.bootstrap, place.names.prefix, place.schedule, log, "--shards", str(SHARDS)
    ) as dispatcher:
        dispatcher.says("shard.taken", SECONDS)
        end = place.fires().total() + 20
        while place.fires().total() < end:
            for _ in range(10):
                facts = Look(connection, place.names, SHARDS, GLANCE).facts(names, expected)
                assert diagnose(facts) == ()
                assert [shard.identity for shard in facts.by_shard] == [expected] * SHARDS


def test_a_ledger_that_ends_in_aborted_transactions_is_as_old_as_its_last_position(place: Place) -> None:
    place.run(fires=30)
    for shard in range(SHARDS):
        log = KafkaShardLog(Connection(place.bootstrap), place.names, shard)
        for _ in range(GLANCE.offsets):
            log.fence()
            log.stage([(place.names.ledger, b"{}", b"owner", shard, None)], 0)
            log.close()
    connection, names = Connection(place.bootstrap), topic_plan(place.names, SHARDS).names()
    expected = identity_of(KafkaTopics(connection), place.names, SHARDS)
    assert diagnose(Look(connection, place.names, SHARDS, GLANCE).facts(names, expected)) == ()


def test_topics_that_were_never_created_are_no_loss(kafka: str, prefix: str, tmp_path: Path) -> None:
    fresh = Place(kafka, TopicNames(prefix), tmp_path)
    done = fresh.command("recover", "--yes", "--shards", str(SHARDS))
    assert done.returncode == 4
    assert "dispatcher topics ensure" in done.stderr
