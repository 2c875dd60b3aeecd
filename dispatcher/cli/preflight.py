"""What a start looks at before anything else: whether topics and ledger are those it may go on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from dispatcher.cli.topics import mend_command, patience_of, plan_of
from dispatcher.core.cron import engine_version
from dispatcher.core.diagnosis import Finding, Remedy, Trouble, diagnose
from dispatcher.core.ledger import Identity
from dispatcher.core.message import TopicNames
from dispatcher.core.zone import tzdata_version
from dispatcher.errors import KafkaUnreachable, LedgerBroken, LedgerUnfit, TopicsUnfit
from dispatcher.kafka.config import Connection
from dispatcher.kafka.recovery import GLANCE, Look
from dispatcher.kafka.rights import Role, rights
from dispatcher.kafka.topics import KafkaTopics
from dispatcher.settings import InForce

_MOST_SECONDS = 10.0


def preflight(in_force: InForce, connection: Connection, role: Role = Role.DISPATCHER) -> None:
    """Return when the topics are as they must be and the ledger seems whole; that takes some 0.1 s.

    `role` is what this user is to be allowed for.
    Raises RightsMissing, TopicsUnfit, LedgerUnfit or a kind of it, with the command that mends;
    KafkaUnreachable.
    """
    settings = in_force.settings
    admin, plan = KafkaTopics(connection, min(patience_of(settings), _MOST_SECONDS)), plan_of(settings)
    admin.require(rights(role, settings.prefix), plan.names())
    findings = _findings(in_force, connection, admin)
    hopeless = [
        one.what for one in findings if one.remedy is Remedy.NONE and one.trouble is not Trouble.PREFIX
    ]
    if hopeless:
        raise LedgerUnfit("\n".join(hopeless))
    broken = tuple(one.what for one in findings if one.remedy is not Remedy.NONE)
    if broken:
        raise LedgerBroken(broken, recover_command(in_force))
    if faults := admin.check(plan):
        raise TopicsUnfit((*faults, *(one.what for one in findings)), mend_command(in_force))


@contextmanager
def mended_by_recover(in_force: InForce) -> Iterator[None]:
    """Give a LedgerBroken from inside the whole command that mends it."""
    try:
        yield
    except LedgerBroken as error:
        raise LedgerBroken(error.faults, recover_command(in_force)) from error


def recover_command(in_force: InForce) -> str:
    """Return the command that goes on after a mistake, with every setting that is no default."""
    return mend_command(in_force, "recover")


def identity_of(admin: KafkaTopics, names: TopicNames, shards: int) -> Identity:
    """Return what a ledger belongs to that is written now. Raises KafkaUnreachable."""
    found = admin.identity([names.ledger, names.commands])
    return Identity(found.cluster, dict(found.topics), shards, tzdata_version(), engine_version())


def _findings(in_force: InForce, connection: Connection, admin: KafkaTopics) -> Sequence[Finding]:
    """Return what is wrong at a glance; what cannot be looked at now is left to the shards themselves."""
    settings, names = in_force.settings, TopicNames(in_force.settings.prefix)
    try:
        expected = identity_of(admin, names, settings.shards)
        return diagnose(
            Look(connection, names, settings.shards, GLANCE).facts(plan_of(settings).names(), expected)
        )
    except KafkaUnreachable as error:
        structlog.get_logger().warning("ledger.unexamined", why=str(error))
        return ()
