"""`dispatcher missed`: what a start now would send and skip of the fires that were missed."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import click

from dispatcher import logs
from dispatcher.cli.files import load_schedule
from dispatcher.cli.options import example, json_option, moment, settings_options
from dispatcher.cli.show import waiting, write_json, write_table
from dispatcher.cli.topics import connection_of
from dispatcher.clock import SystemClock
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.message import TopicNames
from dispatcher.core.outlook import Outlook, outlook
from dispatcher.core.schedule import Schedule
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.produce.ledger import NO_IMAGE, read_to_end, restored
from dispatcher.settings import InForce, Settings

_SETTINGS = (
    "bootstrap_servers",
    "prefix",
    "shards",
    "schedule",
    "max_file_bytes",
    "log_level",
    "log_format",
    "kafka",
)


@click.command(
    short_help="Say which missed fires a start now would send or skip.",
    epilog=example("dispatcher missed --bootstrap-servers kafka:9092"),
)
@click.option("--at", "now", type=moment, metavar="INSTANT", help="As if it started then; default: now.")
@click.option("--in-force", "ignore_file", is_flag=True, help="Do not look at the schedule file.")
@settings_options(*_SETTINGS)
@json_option
def missed(in_force: InForce, now: Instant | None, *, ignore_file: bool, as_json: bool) -> None:
    """Say what would be sent or skipped of the missed fires if the dispatcher started now.

    Reads the ledger and the schedule file; changes nothing. While a dispatcher runs, there is little to
    say: what it has not settled yet.
    """
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    schedule = None if ignore_file else load_schedule(str(settings.schedule), settings.max_file_bytes)
    at = SystemClock().read().now if now is None else now
    with waiting("Reading the ledger"):
        rows = [row for shard in range(settings.shards) for row in _of_shard(settings, shard, at, schedule)]
    rows.sort(key=lambda row: (row.job, row.after))
    if as_json:
        write_json(
            [{**asdict(row), "after": to_text(row.after), "until": to_text(row.until)} for row in rows]
        )
        return
    if not rows:
        click.echo("nothing was missed")
        return
    write_table(
        ("job", "sent", "skipped", "why", "planned after", "until"),
        [
            (one.job, one.sent, one.skipped, one.reason, to_text(one.after), to_text(one.until))
            for one in rows
        ],
    )


def _facts(row: Outlook) -> dict[str, object]:
    return {**asdict(row), "after": to_text(row.after), "until": to_text(row.until)}


def _of_shard(settings: Settings, shard: int, now: Instant, schedule: Schedule | None) -> list[Outlook]:
    log = KafkaShardLog(connection_of(settings), TopicNames(settings.prefix), shard)
    with contextlib.closing(log):
        latest, _ = read_to_end(log, NO_IMAGE)
    return list(outlook(restored(latest), now, schedule))
