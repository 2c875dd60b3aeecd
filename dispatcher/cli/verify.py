"""`dispatcher verify`: what became of every planned fire, by the topics alone."""

from __future__ import annotations

import click

from dispatcher import logs
from dispatcher.cli.judge import Question, Report, judge
from dispatcher.cli.options import example, json_option, moment, settings_options
from dispatcher.cli.preflight import identity_of, recover_command
from dispatcher.cli.show import printable, write_json, write_table
from dispatcher.cli.topics import connection_of, mended_by, patience_of, plan_of
from dispatcher.clock import SystemClock
from dispatcher.core.diagnosis import Finding, Remedy, diagnose
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.message import TopicNames
from dispatcher.errors import DispatcherError, LedgerBroken
from dispatcher.kafka.history import HistoryReader
from dispatcher.kafka.recovery import GLANCE, Look
from dispatcher.kafka.topics import KafkaTopics
from dispatcher.observe.verdict import KINDS, Verdict, Wrong
from dispatcher.settings import InForce

_SETTINGS = ("bootstrap_servers", "prefix", "wait_seconds", "log_level", "log_format", "kafka")
_TOLD = {
    "planned": "by the versions of the jobs that were in force, or asked for",
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
_OF_RUNS = {
    "ended": "committed, and told of by a terminal event",
    "running": "committed, and not ended yet",
    "retried": "attempts beyond the first that were committed",
    "redelivered": "runs that a worker had begun before, and not ended",
    "overended": "ended more than once, and once more for each redrive",
    "unended": "running, though all should have ended (--ended)",
}


@click.command(
    short_help="Say what became of every planned fire.",
    epilog=example("dispatcher verify --from 2026-11-20T00:00:00Z --json | jq .wrong.lost.count"),
)
@click.option("--from", "start", type=moment, metavar="INSTANT", help="Fires after this; default: all kept.")
@click.option("--to", "end", type=moment, metavar="INSTANT", help="Fires up to this; default: now.")
@click.option("--ended", "all_ended", is_flag=True, help="Call it wrong when a fire has not ended.")
@settings_options(*_SETTINGS)
@json_option
def verify(
    in_force: InForce, start: Instant | None, end: Instant | None, *, all_ended: bool, as_json: bool
) -> None:
    """Hold every planned fire against the committed records.

    Reads the events, the ledger, the commands and the job topics, works out what was planned by rules of its
    own, and says of each planned fire whether it was committed once, skipped with a reason, is still pending,
    or is lost, doubled, early or unexpected; and of each committed one whether it has ended, once. Changes
    nothing, and may run beside dispatchers and workers. What the topics no longer keep is told as unknown,
    never as fine.

    Exits with 1 when something is wrong, or when nothing could be judged; with 4 when the ledger is an older
    copy, or another's, and so cannot say what is still to come.
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
    doubts = _doubts(in_force, reader)
    distrusted = tuple(one.shard for one in doubts)
    with mended_by(in_force):
        report = judge(reader, settings.prefix, Question(window, now, distrusted, all_ended))
    for topic in report.missing if report.verdict.unknown else ():
        click.echo(f"Warning: the topic {printable(topic)} of a job is gone, or not to be read.", err=True)
    if as_json:
        write_json(_facts(report))
    else:
        _write(report)
    _conclude(report.verdict, all_ended=all_ended)
    if doubts:
        raise LedgerBroken(tuple(one.what for one in doubts), recover_command(in_force))


def _doubts(in_force: InForce, reader: HistoryReader) -> tuple[Finding, ...]:
    """Take the look that a start takes; return why the ledger is not to be believed."""
    settings, names = in_force.settings, TopicNames(in_force.settings.prefix)
    shards = reader.partitions([names.ledger]).get(names.ledger)
    if shards is None:
        return ()
    connection = connection_of(settings)
    expected = identity_of(KafkaTopics(connection, patience_of(settings)), names, shards)
    facts = Look(connection, names, shards, GLANCE).facts(plan_of(settings).names(), expected)
    return tuple(one for one in diagnose(facts) if one.remedy is Remedy.ANEW)


def _conclude(verdict: Verdict, *, all_ended: bool) -> None:
    if not verdict.clean:
        wrong = ", ".join(f"{getattr(verdict, kind)} {kind}" for kind in KINDS if getattr(verdict, kind))
        raise DispatcherError(f"verify: {wrong}")
    if not verdict.judged:
        raise DispatcherError("verify: nothing could be judged: the topics no longer keep that time")
    if all_ended and verdict.committed and not verdict.judged_runs:
        raise DispatcherError("verify: no worker has told of any run: nothing is known to have ended")


def _write(report: Report) -> None:
    verdict = report.verdict
    rows = [(name, getattr(verdict, name), told) for name, told in _TOLD.items()]
    place = 1 + next(number for number, row in enumerate(rows) if row[0] == "skipped")
    rows[place:place] = [(f"  {reason}", number, "") for reason, number in verdict.reasons.items()]
    if verdict.judged_runs:
        rows += [(name, getattr(verdict, name), told) for name, told in _OF_RUNS.items()]
    write_table(("fires", "count", "which"), rows)
    if not verdict.judged_runs:
        click.echo("no worker has told of any run: whether fires have ended is not judged")
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
        "runs": {name: getattr(verdict, name) for name in _OF_RUNS if name not in KINDS}
        if verdict.judged_runs
        else None,
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
