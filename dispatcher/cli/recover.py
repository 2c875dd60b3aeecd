"""`dispatcher recover`: after a mistake, says what going on costs, asks, and lets the installation go on."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict

import click

from dispatcher import logs
from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.preflight import identity_of, recover_command
from dispatcher.cli.show import printable, waiting, write_json
from dispatcher.cli.topics import connection_of, mend_command, patience_of, plan_of
from dispatcher.clock import SystemClock
from dispatcher.core.batch import Encoder
from dispatcher.core.diagnosis import Facts, Finding, Remedy, diagnose
from dispatcher.core.instant import to_text
from dispatcher.core.message import TopicNames
from dispatcher.core.recovery import Beginning, Ground, beginnings, cost, ledger_records
from dispatcher.errors import DispatcherError, LedgerUnfit, TopicsUnfit, TransactionFailed
from dispatcher.kafka.membership import group_of
from dispatcher.kafka.offsets import PartitionEnds
from dispatcher.kafka.recovery import THOROUGH, Look, members_of
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.topics import KafkaTopics
from dispatcher.settings import InForce

_SETTINGS = (
    "bootstrap_servers",
    "prefix",
    "shards",
    "partitions_jobs",
    "replication",
    "wait_seconds",
    "log_level",
    "log_format",
    "kafka",
)


@click.command(
    short_help="Go on after the ledger was lost, cut off, moved or restored.",
    epilog=example("dispatcher recover --bootstrap-servers localhost:9092"),
)
@click.option("--yes", is_flag=True, help="Do it without asking.")
@settings_options(*_SETTINGS)
@json_option
def recover(in_force: InForce, *, yes: bool, as_json: bool) -> None:
    """Say what is wrong with the ledger and what going on costs; then ask, and do it.

    A shard whose ledger cannot be trusted begins anew: nothing planned up to now is sent any more, and the
    next start takes the schedule file as new. With --json and without --yes it only says so. Exits with 4
    for what it cannot mend, and with 1 while a dispatcher is alive.
    """
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    with waiting("Looking at the ledger"):
        facts = _look(in_force)
    findings = diagnose(facts)
    shards = beginnings(facts, findings, SystemClock().read().now)
    _refuse(in_force, facts, findings)
    if not as_json:
        _tell(findings, shards)
    if shards and (yes or not as_json):
        _refuse_while_alive(in_force)
        if not yes:
            click.confirm("Go on like that?", abort=True)
            _refuse_while_alive(in_force)  # somebody may have started one while nobody answered
        with waiting("Recovering"):
            _perform(in_force, facts, shards)
    if as_json:
        write_json({
            "findings": [_finding(one) for one in findings],
            "shards": [_beginning(one) for one in shards],
            "cost": cost(shards),
            "done": yes and bool(shards),
        })  # fmt: skip
    elif shards:
        click.echo("done; now start `dispatcher run`")


def _look(in_force: InForce) -> Facts:
    settings, names = in_force.settings, TopicNames(in_force.settings.prefix)
    connection = connection_of(settings)
    expected = identity_of(KafkaTopics(connection, patience_of(settings)), names, settings.shards)
    return Look(connection, names, settings.shards, THOROUGH).facts(plan_of(settings).names(), expected)


def _refuse(in_force: InForce, facts: Facts, findings: Sequence[Finding]) -> None:
    """Raise for what no recovery mends."""
    hopeless = tuple(one.what for one in findings if one.remedy is Remedy.NONE)
    if hopeless and not facts.partitions:
        raise TopicsUnfit(hopeless, mend_command(in_force))
    if hopeless:
        raise LedgerUnfit("\n".join(hopeless))
    if not findings and len(facts.partitions) < len(plan_of(in_force.settings).names()):
        faults = KafkaTopics(connection_of(in_force.settings)).check(plan_of(in_force.settings))
        raise TopicsUnfit(faults, mend_command(in_force))


def _tell(findings: Sequence[Finding], shards: Sequence[Beginning]) -> None:
    for line in ("nothing to recover",) if not findings else [one.what for one in findings]:
        click.echo(printable(line))
    for line in cost(shards):
        click.echo(printable(line))


def _refuse_while_alive(in_force: InForce) -> None:
    settings = in_force.settings
    group = group_of(TopicNames(settings.prefix))
    members = members_of(connection_of(settings), group, patience_of(settings))
    if members:
        raise DispatcherError(
            f"a dispatcher is alive, or died a few seconds ago: {', '.join(members)} in group {group};"
            f" stop every one, wait for up to 6 s, then run again: {recover_command(in_force)}"
        )


def _perform(in_force: InForce, facts: Facts, shards: Sequence[Beginning]) -> None:
    settings, names = in_force.settings, TopicNames(in_force.settings.prefix)
    admin = KafkaTopics(connection_of(settings), patience_of(settings))
    left = admin.ensure(plan_of(settings), settings.replication).left
    if left:
        raise TopicsUnfit(left, mend_command(in_force))
    identity = identity_of(admin, names, settings.shards)
    told = {shard.number: shard.told for shard in facts.by_shard}
    for one in shards:
        log = KafkaShardLog(connection_of(settings), names, one.shard)
        with contextlib.closing(log):
            log.fence()
            ground = _ground(in_force, log, one.shard, told.get(one.shard, 0))
            committed = log.commit(ledger_records(one, ground, identity, Encoder(names, one.shard)))
        if committed.suspect is not None:
            raise TransactionFailed(f"{committed.suspect}; look again: {recover_command(in_force)}")


def _ground(in_force: InForce, log: KafkaShardLog, shard: int, told: int) -> Ground:
    """Read what a shard stands on; nobody else can write it once it was fenced."""
    ends = log.ends()
    latest: dict[bytes, bytes] = {}
    for record in log.read(ends.low, ends.high):
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = record.value
    settings = in_force.settings
    topic = TopicNames(settings.prefix).commands
    commands = PartitionEnds(connection_of(settings)).of(topic, shard, patience_of(settings))
    return Ground(latest, ends.low, commands.high, told)


def _finding(one: Finding) -> dict[str, object]:
    return {"trouble": one.trouble, "shard": one.shard, "what": one.what, "remedy": one.remedy}


def _beginning(one: Beginning) -> dict[str, object]:
    after = None if one.after is None else to_text(one.after)
    sent = None if one.sent is None else one.sent.fire
    return {**asdict(one), "after": after, "until": to_text(one.until), "sent": sent}
