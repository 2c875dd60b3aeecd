"""`dispatcher missed`: what a start now would send and skip of the fires that were missed; giving it up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from dispatcher import logs
from dispatcher.cli.asking import asking, new_id, tell, timeout_option
from dispatcher.cli.files import load_schedule
from dispatcher.cli.ledgers import ledger_states
from dispatcher.cli.options import example, json_option, moment, settings_options
from dispatcher.cli.show import printable_lines, waiting, write_json, write_table
from dispatcher.clock import SystemClock
from dispatcher.core.batch import Limits
from dispatcher.core.command import Command
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.outlook import Outlook, outlook, to_give_up
from dispatcher.core.schedule import Schedule
from dispatcher.core.state import ShardState
from dispatcher.errors import InvalidSchedule, ScheduleUnreadable
from dispatcher.settings import InForce, Settings

_SETTINGS = (
    "bootstrap_servers",
    "prefix",
    "shards",
    "partitions_jobs",
    "schedule",
    "max_file_bytes",
    "catch_up_most",
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
@click.option("--drop", is_flag=True, help="Give up what was missed: every fire becomes a recorded skip.")
@click.option("--yes", "sure", is_flag=True, help="With --drop: do not ask.")
@timeout_option
@settings_options(*_SETTINGS)
@json_option
def missed(
    in_force: InForce,
    now: Instant | None,
    timeout: float,
    *,
    ignore_file: bool,
    drop: bool,
    sure: bool,
    as_json: bool,
) -> None:
    """Say what would be sent or skipped of the missed fires if the dispatcher started now.

    Reads the ledger and the schedule file; changes nothing. While a dispatcher runs, there is little to
    say: what it has not settled yet. A file that cannot be used is warned of, and the schedule in force
    goes on, as it does at a start.

    With --drop all that is due before now, or before --at, and not sent yet is given up: it shows what that
    is, asks, and tells the shards. Each job's share is recorded as one counted skip, `dropped`. While no
    dispatcher runs the word waits, and is obeyed by the next start before it sends any of it.
    """
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    clock = SystemClock().read().now
    at = clock if now is None else now
    if drop and at > clock:
        raise click.UsageError("--drop gives up what was missed; what is due after now is not, so --at is")
    with waiting("Reading the ledger"):
        states = ledger_states(in_force)
    if drop:
        rows = [row for state in states for row in to_give_up(state, at)]
    else:
        schedule = None if ignore_file else _of_file(settings, states)
        rows = _rows(states, at, schedule, settings.catch_up_most)
    rows.sort(key=lambda row: (row.job, row.after))
    if not (rows and drop and as_json):
        _show(rows, as_json=as_json)
    if drop and rows:
        if not sure:
            click.confirm(f"Give up {sum(row.skipped for row in rows)} missed fires?", abort=True, err=True)
        _drop(in_force, at, timeout, as_json=as_json)


def _rows(states: list[ShardState], at: Instant, schedule: Schedule | None, most: int) -> list[Outlook]:
    return [row for state in states for row in (*outlook(state, at, schedule, most), *_timers(state, at))]


def _drop(in_force: InForce, at: Instant, timeout: float, *, as_json: bool) -> None:
    command = Command("drop-missed", new_id(), until=at)
    with asking(in_force, timeout, "Telling the shards to give it up") as asker:
        tell(asker, command, asker.ask(command), idle="it was settled meanwhile", as_json=as_json)


def _show(rows: list[Outlook], *, as_json: bool) -> None:
    if as_json:
        write_json([_facts(row) for row in rows])
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


def _of_file(settings: Settings, states: list[ShardState]) -> Schedule | None:
    """Return the file's schedule, None when it cannot be used but the ledger holds one to go on with."""
    try:
        return load_schedule(str(settings.schedule), settings.max_file_bytes)
    except (InvalidSchedule, ScheduleUnreadable) as error:
        if not any(state.position is not None and state.position.revision for state in states):
            raise
        click.echo(printable_lines(str(error)), err=True)
        click.echo("Warning: the file cannot be used, the schedule in force goes on.", err=True)
        return None


def _timers(state: ShardState, now: Instant) -> Iterator[Outlook]:
    """Yield the timers that a start now finds overdue, and whether they still go out."""
    for timer in state.timers.values():
        if timer.due < now:
            patience = None if timer.grace_ms is None else max(timer.grace_ms, Limits().behind_ms)
            late = patience is not None and now - timer.due >= patience
            yield Outlook(timer.job, int(not late), int(late), "timer", timer.planned - 1, timer.planned)
