"""The table of the least rights: enough for everything, all of it used, and what is missing is named.

A broker that denies by default decides. Each role comes by a mechanism of its own (see `security.site`), so
that TLS, mutual TLS, PLAIN, both SCRAMs and OAUTHBEARER carry a whole installation here.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from broker.cluster import LIBS
from broker.process import Dispatcher, until
from broker.tools import create, eventually
from click.testing import CliRunner
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from dispatcher.cli.root import root
from dispatcher.core.message import TopicNames
from dispatcher.errors import DispatcherError, RightsMissing, TopicsUnfit, TransactionFailed
from dispatcher.kafka.config import Connection
from dispatcher.kafka.directory import KafkaTopicDirectory
from dispatcher.kafka.live import FireReader
from dispatcher.kafka.rights import Kind, Operation, Right, Role, lack, rights
from dispatcher.kafka.sender import Sender
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.topic_plan import topic_plan
from dispatcher.kafka.topics import KafkaTopics
from security.site import Decision, Site

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
SECONDS = 60.0
PREFIX = f"s{uuid.uuid4().hex[:8]}"
OWN = f"own-{PREFIX}"
IMPLY_DESCRIBE = {Operation.READ, Operation.WRITE}


@dataclass
class Installation:
    """An installation in which every role has its least rights, and has done what it is there for."""

    site: Site
    directory: Path

    def tell(self, role: Role, *words: str) -> tuple[int, str]:
        """Run a command as the user of a role, in this process; return its exit code and what it said."""
        result = CliRunner().invoke(root, [*words, "--config", str(self.config(role))])
        return result.exit_code, result.output

    def done(self, role: Role, *words: str) -> str:
        """Run a command that must succeed; return what it said."""
        code, text = self.tell(role, *words)
        assert code == 0, (role, words, text)
        return text

    def config(self, role: Role) -> Path:
        return self.site.config(role, self.directory, PREFIX)

    def daemon(self, role: Role, *words: str) -> Dispatcher:
        """Return a `run` or `work` of the user of a role, not yet started."""
        log = self.directory / f"{role}.log"
        daemon = Dispatcher("", "", Path(), log)
        daemon._command = [sys.executable, "-m", "dispatcher", *words, "--config", str(self.config(role))]
        return daemon


def needed(role: Role) -> tuple[Right, ...]:
    return rights(role, PREFIX, [OWN])


@pytest.fixture(scope="module")
def installation(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Everything that the roles are there for, done once with the rights of the table."""
    create(site.cluster.bootstrap, OWN)
    for role in Role:
        site.grant(role, needed(role))
    place = Installation(site, tmp_path_factory.mktemp("roles"))
    schedule = place.directory / "schedule.json"
    schedule.write_text(json.dumps({"jobs": [
        {"jobName": "beat", "every": "1s", "job": "echo", "payload": "x"},
        {"jobName": "own", "every": "1s", "job": "echo", "topic": OWN},
        {"jobName": "doomed", "cronTime": "0 0 1 1 *", "job": "rehearse", "payload": {"failBelowAttempt": 9},
         "retry": {"attempts": 2, "backoff": {"type": "fixed", "delayMs": 1}}},
    ]}))  # fmt: skip
    set_up(place)
    work = ("work", "--instance", "w1", "--work-topics", OWN)
    run = ("run", "--instance", "d1", "--schedule", str(schedule))
    with place.daemon(Role.DISPATCHER, *run) as daemon, place.daemon(Role.WORKER, *work) as worker:
        daemon.says("schedule.applied", SECONDS)
        worker.says("worker.started", SECONDS)
        operate(place)
        look(place)
        assert worker.terminate() == 0, worker.text()
        assert daemon.terminate() == 0, daemon.text()
        daemon.start()  # looks at what was sent before it goes on
        until(lambda: daemon.text().count("shard.taken") >= 8, "all shards taken twice", SECONDS)
        assert daemon.terminate() == 0, daemon.text()
    return place


def set_up(place: Installation) -> None:
    """Do what setting up does: create what is missing, mend what is wrong."""
    wrong = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, f"{PREFIX}.commands", incremental_configs=[wrong])
    ensure = partial(place.done, Role.SETUP, "topics", "ensure", "--replication", "1")
    assert "created topic" in ensure()
    place.site.admin.incremental_alter_configs([resource])[resource].result(20)
    mended = "set cleanup.policy to delete"
    until(
        lambda: mended in place.tell(Role.SETUP, "topics", "ensure")[1], "the setting to be mended", SECONDS
    )


def operate(place: Installation) -> None:
    """Do what an operator does."""

    ask = partial(place.done, Role.OPERATOR)
    ask("trigger", "doomed", "--id", "a")
    ask("pause", "beat")
    ask("resume", "beat")
    until(lambda: "doomed!a" in ask("dead", "list"), "a dead letter", SECONDS)
    ask("dead", "retry", "--all", "--yes")
    until(lambda: "doomed!a" in ask("dead", "list"), "the letter of the last try", SECONDS)


def look(place: Installation) -> None:
    """Do what a reader does."""
    for words in (
        ("verify",), ("tail", "--from", "beginning", "--no-follow"), ("next", "--in-force"),
        ("missed", "--in-force"), ("status",), ("dead", "list"), ("topics", "check"),
    ):  # fmt: skip
        place.done(Role.READER, *words)


def covers(right: Right, one: Decision, role: Role) -> bool:
    """Return whether a decision of the broker used a right of the table."""
    kind = {Kind.TOPIC: "Topic", Kind.GROUP: "Group", Kind.TRANSACTIONAL_ID: "TransactionalId"}[right.kind]
    fits = one.name.startswith(right.name) if right.prefixed else one.name == right.name
    return one.user == role and one.kind == kind and fits and one.operation == right.operation.name


def test_with_the_rights_of_the_table_everything_works(installation: Installation) -> None:
    assert {one for one in installation.site.decisions() if not one.allowed} == set()


@pytest.mark.parametrize("role", Role)
def test_every_right_of_the_table_was_used(installation: Installation, role: Role) -> None:
    """So none of them can be left out: the broker's own log is the witness."""
    seen = {one for one in installation.site.decisions() if one.allowed}
    inherited = set(needed(Role.READER)) if role is Role.OPERATOR else set()
    wanted = [right for right in needed(role) if right not in inherited]
    unused = [right.text() for right in wanted if not any(covers(right, one, role) for one in seen)]
    assert unused == []


PLAN = topic_plan(TopicNames(PREFIX), 4)


def lacking(right: Right) -> set[str]:
    """Return the sentences about a right that is missing; of one on all of a prefix, about each topic."""
    names = [name for name in PLAN.names() if name.startswith(right.name)] if right.prefixed else [right.name]
    return {lack(right.kind, name, right.operation) for name in names}


def faults(topics: KafkaTopics, role: Role) -> set[str]:
    """Return what a start tells the user of a role that it lacks."""
    try:
        topics.require(needed(role), PLAN.names())
    except RightsMissing as error:
        return set(error.faults)
    return set()


def _are_told(topics: KafkaTopics, role: Role, sentences: set[str]) -> bool:
    return sentences <= faults(topics, role)


@pytest.mark.parametrize("role", Role)
def test_a_start_names_each_right_that_is_missing_and_what_grants_it(
    installation: Installation, role: Role
) -> None:
    asked = [
        right for right in needed(role)
        if right.kind is not Kind.TRANSACTIONAL_ID and right.operation is not Operation.CREATE
    ]  # fmt: skip
    topics = KafkaTopics(installation.site.connection(role))
    assert faults(topics, role) == set()
    for right in asked:
        told = lacking(right)
        with installation.site.without(role, right):
            eventually(partial(_are_told, topics, role, told))
        eventually(lambda: not faults(topics, role))
        for sentence in told:
            assert f"--operation {right.operation} --{right.kind} " in sentence


def right(role: Role, operation: Operation, name: str) -> Right:
    """Return the right of the table on a resource."""
    (found,) = (one for one in needed(role) if one.operation is operation and one.name == f"{PREFIX}{name}")
    return found


READ, WRITE, CREATE = Operation.READ, Operation.WRITE, Operation.CREATE


@pytest.mark.parametrize(
    ("role", "operation", "name", "words"),
    [
        (Role.DISPATCHER, WRITE, ".events", ("run", "--schedule", "absent.json")),
        (Role.DISPATCHER, READ, ".dispatchers", ("run", "--schedule", "absent.json")),
        (Role.WORKER, READ, ".jobs.", ("work",)),
        (Role.WORKER, READ, ".workers", ("work",)),
        (Role.READER, READ, ".jobs.", ("tail", "--from", "beginning", "--no-follow")),
        (Role.READER, READ, ".events", ("verify",)),
        (Role.READER, READ, ".ledger", ("verify",)),
        (Role.READER, READ, ".ledger", ("next", "--in-force")),
        (Role.READER, READ, ".dead", ("dead", "list")),
        (Role.OPERATOR, WRITE, ".commands", ("pause", "beat")),
        (Role.OPERATOR, READ, ".events", ("trigger", "beat", "--timeout", "5")),
        (Role.OPERATOR, WRITE, ".dead", ("dead", "drop", "--all", "--yes")),
        (Role.OPERATOR, WRITE, "-cli-", ("dead", "drop", "--all", "--yes")),
    ],
)
def test_a_command_fails_and_names_the_right_that_is_missing(
    installation: Installation, role: Role, operation: Operation, name: str, words: tuple[str, ...]
) -> None:
    missing = right(role, operation, name)
    with installation.site.without(role, missing):
        code, text = installation.tell(role, *words)
    assert code in {1, 4}
    assert "this user has no right to" in text
    assert f"{operation} on {missing.kind.replace('-', ' ')} {missing.name}" in text
    assert f"--operation {operation} --{missing.kind} {missing.name}" in text


def test_a_shard_that_may_not_use_its_transactional_id_says_so(installation: Installation) -> None:
    names = TopicNames(PREFIX)
    missing = right(Role.DISPATCHER, WRITE, "-shard-")
    log = KafkaShardLog(installation.site.connection(Role.DISPATCHER), names, 0)
    with installation.site.without(Role.DISPATCHER, missing), pytest.raises(TransactionFailed) as refused:
        log.fence()
    log.close()
    assert lack(Kind.TRANSACTIONAL_ID, f"{PREFIX}-shard-0", WRITE) in str(refused.value)


def test_a_topic_that_may_not_be_created_is_told_with_the_right(installation: Installation) -> None:
    plan = topic_plan(TopicNames(f"{PREFIX}.other"), 1, 1)
    topics = KafkaTopics(installation.site.connection(Role.SETUP))
    with installation.site.without(Role.SETUP, right(Role.SETUP, CREATE, ".")):
        left = topics.ensure(plan, 1).left
    assert any(lack(Kind.TOPIC, f"{PREFIX}.other.ledger", CREATE) in fault for fault in left)


def test_no_topic_is_made_by_asking_for_it_or_writing_to_it(site: Site) -> None:
    """By a user who may do everything, on a broker that makes what it is asked for."""
    connection = Connection(site.cluster.bootstrap)
    absent = f"absent-{PREFIX}"
    sender = Sender(connection)
    with pytest.raises(DispatcherError):
        sender.send(absent, b"k", b"v", [], 6.0)
    sender.close()
    with pytest.raises(TopicsUnfit):
        FireReader(connection, [absent])
    assert KafkaTopicDirectory(connection).facts(absent) is None
    assert KafkaTopics(connection).partitions(absent) is None
    assert absent not in site.admin.list_topics(timeout=10).topics
    careless = Producer({"bootstrap.servers": site.cluster.bootstrap})
    careless.produce(absent, b"v")
    careless.flush(10)
    assert absent in site.admin.list_topics(timeout=10).topics


def test_the_command_that_an_error_tells_mends_it(installation: Installation) -> None:
    """By Kafka's own tool, with the two names filled in that only an administrator knows."""
    missing = right(Role.READER, READ, ".dead")
    site = installation.site
    site.take(Role.READER, [missing])
    told = eventually(
        lambda: "grant it with" in (text := installation.tell(Role.READER, "dead", "list")[1]) and text
    )
    line = told.partition("grant it with ")[2].splitlines()[0]
    words = shlex.split(line.replace("BROKER:9092", site.cluster.bootstrap).replace("NAME", "reader"))
    assert words[0] == "kafka-acls.sh"
    tool = ["java", "-cp", f"{LIBS}/*", "org.apache.kafka.tools.AclCommand", *words[1:]]
    done = subprocess.run(tool, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(lambda: installation.tell(Role.READER, "dead", "list")[0] == 0)


def test_a_schedule_that_others_may_change_does_not_take_force(installation: Installation) -> None:
    schedule = installation.directory / "schedule.json"
    schedule.write_text('{"jobs": []}')
    schedule.chmod(0o666)
    with installation.daemon(
        Role.DISPATCHER, "run", "--instance", "d1", "--schedule", str(schedule)
    ) as daemon:
        daemon.says("schedule.unreadable", SECONDS)
        assert "may be written by others" in daemon.text()
        schedule.chmod(0o644)
        daemon.says("schedule.read", SECONDS)
