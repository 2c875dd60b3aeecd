"""The table of the least rights: enough for everything, all of it used, and what is missing is named.

A broker that denies by default decides. Each role comes by a mechanism of its own (see `security.site`), so
that TLS, mutual TLS, PLAIN, both SCRAMs and OAUTHBEARER carry a whole installation here.
"""

from __future__ import annotations

import json
import sys
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from broker.process import Dispatcher, until
from broker.tools import create
from click.testing import CliRunner
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from dispatcher.cli.root import root
from dispatcher.kafka.rights import Kind, Operation, Right, Role, rights
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
    until(lambda: "set cleanup.policy to delete" in ensure(), "the setting to be mended", SECONDS)


def operate(place: Installation) -> None:
    """Do what an operator does."""

    ask = partial(place.done, Role.OPERATOR)
    ask("trigger", "doomed", "--id", "a")
    ask("pause", "beat")
    ask("resume", "beat")
    until(lambda: "doomed!a" in ask("dead", "list"), "a dead letter", SECONDS)
    ask("dead", "retry", "--all", "--yes")


def look(place: Installation) -> None:
    """Do what a reader does."""
    for words in (
        ("verify",), ("tail", "--from", "beginning", "--no-follow"), ("next", "--in-force"),
        ("missed", "--in-force"), ("dead", "list"), ("topics", "check"),
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
