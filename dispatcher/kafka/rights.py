"""The least rights that each role needs where brokers deny by default, and the commands that grant them.

This table is the one place: `dispatcher rights` prints it, `SECURITY.md` shows it, a start is checked against
it, and errors about a right that is missing take their words from it. Describe is implied by Read and Write,
DescribeConfigs by AlterConfigs.
Patterns name the installation's prefix, `{prefix}`; a pattern that ends in `*` stands for all that begin so.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

ANYBODY = "User:NAME"
"""Stands in commands for the principal that the brokers know this user by."""
_SOMEWHERE = "BROKER:9092"
OWN = "jobs' own topics"
"""Stands in the table for the topics that jobs name themselves."""


class Role(StrEnum):
    """Who comes to Kafka, each best as a user of its own."""

    DISPATCHER = "dispatcher"
    WORKER = "worker"
    READER = "reader"
    OPERATOR = "operator"
    SETUP = "setup"


class Kind(StrEnum):
    """What a right is on, by the flag of `kafka-acls.sh`."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


class Operation(StrEnum):
    """What a right allows, as `kafka-acls.sh` spells it."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


@dataclass(frozen=True, slots=True)
class Right:
    """One operation on one resource; `prefixed` on all whose names begin so."""

    kind: Kind
    name: str
    operation: Operation
    prefixed: bool = False

    def text(self) -> str:
        """Return the right as words: `Write on topic dispatcher.events`."""
        name = f"{self.name}*" if self.prefixed else self.name
        return f"{self.operation} on {self.kind.replace('-', ' ')} {name}"


@dataclass(frozen=True, slots=True)
class Need:
    """One line of the table: what a role does with a resource, and why."""

    kind: Kind
    pattern: str
    operations: tuple[Operation, ...]
    why: str


def idle_group(prefix: str) -> str:
    """Return the group that consumers name which join none."""
    return f"{prefix}.unused"


_READ, _WRITE, _CONFIGS = Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS
_LEDGER, _EVENTS, _COMMANDS = "{prefix}.ledger", "{prefix}.events", "{prefix}.commands"
_SHARDS, _DEAD, _LANES = "{prefix}.shards", "{prefix}.dead", "{prefix}.jobs.*"
_IDLE = Need(
    Kind.GROUP, idle_group("{prefix}"), (Operation.DESCRIBE,), "named by readers that join none; stays empty"
)

_READER = (
    Need(Kind.TOPIC, _LANES, (_READ, _CONFIGS), "fires; how long they are kept"),
    Need(Kind.TOPIC, _EVENTS, (_READ, _CONFIGS), "the history; how long it is kept"),
    Need(Kind.TOPIC, _LEDGER, (_READ, _CONFIGS), "what is in force; whether its topic is fit"),
    Need(Kind.TOPIC, _COMMANDS, (_READ, _CONFIGS), "what is asked; whether its topic is fit"),
    Need(Kind.TOPIC, _DEAD, (_READ, _CONFIGS), "dead letters; whether their topic is fit"),
    Need(Kind.TOPIC, _SHARDS, (Operation.DESCRIBE, _CONFIGS), "whether the topic is fit"),
    Need(Kind.TOPIC, OWN, (_READ,), "fires that jobs send there"),
    Need(Kind.GROUP, "{prefix}.dispatchers", (Operation.DESCRIBE,), "who is at work"),
    Need(Kind.GROUP, "{prefix}.workers", (Operation.DESCRIBE,), "who is at work"),
    _IDLE,
)

TABLE: Mapping[Role, tuple[Need, ...]] = {
    Role.DISPATCHER: (
        Need(Kind.TOPIC, _LEDGER, (_READ, _WRITE, _CONFIGS), "the state of its shards"),
        Need(
            Kind.TOPIC,
            _EVENTS,
            (_READ, _WRITE, _CONFIGS),
            "tells of everything; looks at the last before it starts",
        ),
        Need(Kind.TOPIC, _LANES, (_READ, _WRITE, _CONFIGS), "fires; looks at the last before it starts"),
        Need(Kind.TOPIC, _COMMANDS, (_READ, _CONFIGS), "what is asked of it"),
        Need(Kind.TOPIC, _SHARDS, (_READ, _CONFIGS), "membership"),
        Need(Kind.TOPIC, _DEAD, (Operation.DESCRIBE, _CONFIGS), "whether the topic is fit"),
        Need(Kind.TOPIC, OWN, (_WRITE, _CONFIGS), "fires; how large they may be"),
        Need(Kind.GROUP, "{prefix}.dispatchers", (_READ,), "which shards are its own"),
        _IDLE,
        Need(
            Kind.TRANSACTIONAL_ID, "{prefix}-shard-*", (_WRITE,), "fences and commits, one id for each shard"
        ),
    ),
    Role.WORKER: (
        Need(Kind.TOPIC, _LANES, (_READ, _CONFIGS), "fires to run"),
        Need(Kind.TOPIC, _EVENTS, (_WRITE, _CONFIGS), "tells how runs end"),
        Need(Kind.TOPIC, _COMMANDS, (_READ, _WRITE, _CONFIGS), "cancels; asks for retries"),
        Need(Kind.TOPIC, _DEAD, (_WRITE, _CONFIGS), "dead letters"),
        Need(Kind.TOPIC, OWN, (_READ,), "fires in those that `work_topics` names"),
        Need(Kind.GROUP, "{prefix}.workers", (_READ,), "which partitions are its own; offsets"),
        _IDLE,
        Need(
            Kind.TRANSACTIONAL_ID,
            "{prefix}-work-*",
            (_WRITE,),
            "commits ends and offsets, one id for each worker",
        ),
    ),
    Role.READER: _READER,
    Role.OPERATOR: (
        *_READER,
        Need(Kind.TOPIC, _COMMANDS, (_WRITE,), "asks"),
        Need(Kind.TOPIC, _DEAD, (_WRITE,), "settles dead letters"),
        Need(
            Kind.TRANSACTIONAL_ID,
            "{prefix}-cli-*",
            (_WRITE,),
            "asks for retries and settles their letters in one transaction",
        ),
    ),
    Role.SETUP: (
        Need(
            Kind.TOPIC,
            "{prefix}.*",
            (Operation.CREATE, Operation.DESCRIBE, Operation.ALTER_CONFIGS),
            "creates topics and mends their settings",
        ),
    ),
}


def rights(role: Role, prefix: str, own: Iterable[str] = ()) -> tuple[Right, ...]:
    """Return the rights of a role; `own` are the topics of jobs' own that it deals with."""
    topics = tuple(own)
    found: list[Right] = []
    for need in TABLE[role]:
        names = topics if need.pattern == OWN else (need.pattern.format(prefix=prefix),)
        found += [
            Right(need.kind, name.removesuffix("*"), operation, prefixed=name.endswith("*"))
            for name in names
            for operation in need.operations
        ]
    return tuple(found)


def command(some: Sequence[Right], principal: str = ANYBODY, bootstrap: str = _SOMEWHERE) -> str:
    """Return the command that grants rights, all of one resource, to a principal."""
    first = some[0]
    words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--add", "--allow-principal", principal]
    for right in some:
        words += ["--operation", right.operation]
    words += [f"--{first.kind}", first.name]
    if first.prefixed:
        words += ["--resource-pattern-type", "prefixed"]
    return shlex.join(words)


def commands(some: Iterable[Right], principal: str = ANYBODY, bootstrap: str = _SOMEWHERE) -> list[str]:
    """Return the commands that grant rights, one for each resource, in the order of the table."""
    by_resource: dict[tuple[Kind, str, bool], list[Right]] = {}
    for right in some:
        by_resource.setdefault((right.kind, right.name, right.prefixed), []).append(right)
    return [command(found, principal, bootstrap) for found in by_resource.values()]


def lack(kind: Kind, name: str, operation: Operation) -> str:
    """Return the sentence about a right that this user lacks, with the command that grants it."""
    right = Right(kind, name, operation)
    return f"this user has no right to {right.text()}; grant it with {command([right])}"


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| role | resource | operations | for |", "|---|---|---|---|"]
    for role, needs in TABLE.items():
        if role is Role.OPERATOR:
            lines.append(f"| {role} | all that a reader needs, and: | | |")
        for need in needs[len(_READER) :] if role is Role.OPERATOR else needs:
            resource = need.pattern if need.pattern == OWN else f"`{need.pattern}`"
            kind, operations = need.kind.replace("-", " "), ", ".join(need.operations)
            lines.append(f"| {role} | {kind} {resource} | {operations} | {need.why} |")
    return "\n".join(lines) + "\n"
