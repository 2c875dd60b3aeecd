"""The rights of the secure Compose variant are those of the one table."""

from __future__ import annotations

import shlex

import pytest

from container.secure_kafka import grants
from dispatcher.kafka.rights import Role, commands, rights

USERS = {"setup": Role.SETUP, "dispatcher": Role.DISPATCHER, "worker": Role.WORKER, "ui": Role.READER}
BESIDE = {"ui": 1}
"""What Kafka's UI shows beside what readers read."""


@pytest.mark.parametrize("user", USERS)
def test_each_user_is_granted_what_its_role_needs_and_no_more(user: str) -> None:
    told = [shlex.split(line) for line in commands(rights(USERS[user], "dispatcher"))]
    given = [words for name, words in grants() if name == user]
    assert given[: len(given) - BESIDE.get(user, 0)] == [
        words[words.index("--operation") :] for words in told
    ]


def test_nobody_else_is_granted_anything() -> None:
    assert {user for user, _ in grants()} == set(USERS)
