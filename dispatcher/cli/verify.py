"""`dispatcher verify`: what became of every planned fire, by the topics alone."""

from __future__ import annotations

import click

from dispatcher import logs
from dispatcher.cli.judge import Report, judge
from dispatcher.cli.options import example, json_option, moment, settings_options
from dispatcher.cli.show import printable, write_json, write_table
from dispatcher.cli.topics import connection_of, mended_by, patience_of
from dispatcher.clock import SystemClock
from dispatcher.core.instant import Instant, to_text
from dispatcher.errors import DispatcherError
from dispatcher.kafka.history import HistoryReader
from dispatcher.observe.verdict import KINDS, Verdict, Wrong
from dispatcher.settings import InForce

_SETTINGS = ("bootstrap_servers", "prefix", "wait_seconds", "log_level", "log_format", "kafka")
_TOLD = {
    "planned": "by the versions of the jobs that were in force",
    "committed": "once, or doubled",
    "skipped": "recorded, with a reason",
    "pending": "not settled yet, by the ledger",
    "unknown": "their topic no longer holds that time, or the ledger less than the events",
    "unjudged": "fires found from before the history that is kept",
    "untimed": "committed, but when cannot be told",
    "lost": "neither committed nor skipped",
    "doubled": "committed or skipped more than once, or both",
    "early": "sent or committed before they were due",
    "unexpected": "planned by nobody, or other than planned",
    "miscounted": "records of history that do not add up",
}


@click.command(
    short_help="Say what became of every planned fire.",
    epilog=example("dispatcher verify --from 2026-11-20T00:00:00Z --json | jq .wrong.lost.count"),
)
@click.option("--from", "start", type=moment, metavar="INSTANT", help="Fires after this; default: all kept.")
@click.option("--to", "end", type=moment, metavar="INSTANT", help="Fires up to this; default: now.")
@settings_options(*_SETTINGS)
@json_option
def verify(in_force: InForce, start: Instant | None, end: Instant | None, *, as_json: bool) -> None:
    """Hold every planned fire against the committed records.

    Reads the events, the ledger and the job topics, works out what was planned by rules of its own, and
    says of each planned fire whether it was committed once, skipped with a reason, is still pending, or is
    lost, doubled, early or unexpected. Changes nothing, and may run beside a dispatcher. What the topics no
    longer keep is told as unknown, never as fine.

    Exits with 1 when something is wrong, or when nothing could be judged.
    """
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    now = SystemClock().read().now
    window = (-1 if start is None else start, now if end is None else min(end, now))
    if window[0] >= window[1]:
        raise click.BadParameter(
            f"{to_text(window[0])} is not before {to_text(window[1])}", param_hint="--from"
        )
    reader = HistoryReader(connection_of(settings), patience_of(settings))
    with mended_by(in_force):
        report = judge(reader, settings.prefix, window, now)
    for topic in report.missing if report.verdict.unknown else ():
        click.echo(f"Warning: the topic {printable(topic)} of a job is gone, or not to be read.", err=True)
    if as_json:
        write_json(_facts(report))
    else:
        _write(report)
    _conclude(report.verdict)


def _conclude(verdict: Verdict) -> None:
    if not verdict.clean:
        wrong = ", ".join(f"{getattr(verdict, kind)} {kind}" for kind in KINDS if getattr(verdict, kind))
        raise DispatcherError(f"verify: {wrong}")
    if not verdict.judged:
        raise DispatcherError("verify: nothing could be judged: the topics no longer keep that time")


def _write(report: Report) -> None:
    verdict = report.verdict
    rows = [(name, getattr(verdict, name), told) for name, told in _TOLD.items()]
    place = 1 + next(number for number, row in enumerate(rows) if row[0] == "skipped")
    rows[place:place] = [(f"  {reason}", number, "") for reason, number in verdict.reasons.items()]
    write_table(("fires", "count", "which"), rows)
    for shard, since in sorted(report.known_from.items()):
        click.echo(
            f"the history of shard {shard} reaches back to {to_text(since)}; what was before is unknown"
        )
    if verdict.wrong:
        click.echo()
        headings = ("wrong", "job", "planned", "attempt", "shard", "change", "where", "why")
        write_table(headings, map(_row, verdict.wrong))
        for kind in KINDS:
            listed = sum(one.kind == kind for one in verdict.wrong)
            if listed < getattr(verdict, kind):
                click.echo(f"… and {getattr(verdict, kind) - listed} more {kind}")


def _row(wrong: Wrong) -> tuple[object, ...]:
    where = " ".join(f"{place.topic}[{place.partition}]@{place.offset}" for place in wrong.places)
    return (
        wrong.kind,
        wrong.job,
        _text(wrong.planned),
        wrong.attempt,
        wrong.shard,
        wrong.change,
        where,
        wrong.why,
    )


def _facts(report: Report) -> dict[str, object]:
    verdict = report.verdict
    listed: dict[str, list[dict[str, object]]] = {kind: [] for kind in KINDS}
    for wrong in verdict.wrong:
        listed[wrong.kind].append(_wrong_facts(wrong))
    return {
        "from": None if report.window[0] < 0 else to_text(report.window[0]),
        "to": to_text(report.window[1]),
        "clean": verdict.clean,
        **{name: getattr(verdict, name) for name in _TOLD if name not in KINDS},
        "reasons": verdict.reasons,
        "knownFrom": {str(shard): to_text(since) for shard, since in sorted(report.known_from.items())},
        "wrong": {kind: {"count": getattr(verdict, kind), "listed": listed[kind]} for kind in KINDS},
    }


def _wrong_facts(wrong: Wrong) -> dict[str, object]:
    return {
        "job": wrong.job,
        "planned": _text(wrong.planned),
        "attempt": wrong.attempt,
        "shard": wrong.shard,
        "change": wrong.change,
        "why": wrong.why,
        "places": [place._asdict() for place in wrong.places],
    }


def _text(instant: Instant | None) -> str | None:
    return None if instant is None else to_text(instant)
