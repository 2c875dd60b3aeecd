"""`dispatcher rights`: commands that an administrator can run, without asking Kafka anything."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.cli.root import root
from dispatcher.kafka.rights import TABLE, Kind, Operation, Right, Role, commands, lack, rights


def told(*words: str) -> list[str]:
    result = CliRunner().invoke(root, ["rights", *words])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_every_role_has_its_commands() -> None:
    lines = told()
    assert [line.removeprefix("# ") for line in lines if line.startswith("# ")] == list(Role)
    assert all(shlex.split(line)[0] == "kafka-acls.sh" for line in lines if not line.startswith("# "))


def test_names_brokers_and_principal_are_those_that_are_given() -> None:
    lines = told(
        "worker", "--principal", "User:w", "--prefix", "mine", "--bootstrap-servers", "k:1", "--own", "x"
    )
    assert lines[0] == "# worker"
    assert (
        "kafka-acls.sh --bootstrap-server k:1 --add --allow-principal User:w --operation Read"
        " --operation DescribeConfigs --topic mine.jobs. --resource-pattern-type prefixed"
    ) in lines
    assert (
        "kafka-acls.sh --bootstrap-server k:1 --add --allow-principal User:w --operation Read --topic x"
        in lines
    )
    assert lines[-1].endswith(
        "--operation Write --transactional-id mine-work- --resource-pattern-type prefixed"
    )


def test_a_machine_gets_the_rights_themselves() -> None:
    found = json.loads("\n".join(told("setup", "--json")))
    assert {one["operation"] for one in found["setup"]} == {"Create", "Describe", "AlterConfigs"}
    assert {(one["kind"], one["name"], one["pattern"]) for one in found["setup"]} == {
        ("topic", "dispatcher.", "prefixed")
    }


def test_no_role_is_unknown() -> None:
    assert CliRunner().invoke(root, ["rights", "admin"]).exit_code == 2


@pytest.mark.parametrize("role", Role)
def test_no_right_is_given_twice_and_none_beyond_the_installation(role: Role) -> None:
    found = rights(role, "p", ["own"])
    assert len(found) == len(set(found))
    assert all(right.name.startswith(("p.", "p-")) or right.name == "own" for right in found)
    resources = {(right.kind, right.name) for right in found}
    assert len(commands(found)) == len(resources)


def test_roles_can_do_no_more_than_they_are_for() -> None:
    """Nobody but the dispatcher writes fires or the ledger, and only setting up changes topics."""
    for role in Role:
        writes = {right.name for right in rights(role, "p") if right.operation is Operation.WRITE}
        if role is not Role.DISPATCHER:
            assert not writes & {"p.ledger", "p.jobs.", "p-shard-"}
        changes = {right.operation for right in rights(role, "p")} & {
            Operation.CREATE,
            Operation.ALTER_CONFIGS,
        }
        assert bool(changes) == (role is Role.SETUP)
    assert not any(need.operations for need in TABLE[Role.READER] if Operation.WRITE in need.operations)


def test_the_sentence_about_a_right_says_what_and_how() -> None:
    assert lack(Kind.TRANSACTIONAL_ID, "p-shard-0", Operation.WRITE) == (
        "this user has no right to Write on transactional id p-shard-0; grant it with kafka-acls.sh"
        " --bootstrap-server BROKER:9092 --add --allow-principal User:NAME --operation Write"
        " --transactional-id p-shard-0"
    )
    assert Right(Kind.TOPIC, "p.jobs.", Operation.READ, prefixed=True).text() == "Read on topic p.jobs.*"
