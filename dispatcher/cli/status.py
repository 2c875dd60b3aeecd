"""`dispatcher status`: how an installation is, by what Kafka holds of it; it needs no replica's answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import click

from dispatcher import logs
from dispatcher.cli.exits import FAILED
from dispatcher.cli.ledgers import ledger_states
from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.show import printable_lines, waiting, write_json, write_table
from dispatcher.cli.topics import connection_of
from dispatcher.clock import SystemClock
from dispatcher.core.expected import GRACE_MS, Expected
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.message import TopicNames
from dispatcher.core.state import ShardState
from dispatcher.kafka.config import Connection
from dispatcher.kafka.group import Member, group_members
from dispatcher.kafka.live import FireReader, Seen
from dispatcher.kafka.membership import group_of
from dispatcher.kafka.work_log import group_of_workers
from dispatcher.settings import InForce

_SETTINGS = (
    *("bootstrap_servers", "prefix", "shards", "partitions_jobs"),
    *("log_level", "log_format", "kafka"),
)
_ASK_SECONDS = 10.0
_READ_SECONDS = 5.0
_DAY_MS = 86_400_000
_EVERY = 10**9
_SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One shard, by its ledger."""

    shard: int
    state: ShardState
    due: Instant | None
    now: Instant

    @property
    def overdue_ms(self) -> int:
        """By how much the first fire that is missing is later than its grace."""
        return 0 if self.due is None else max(0, self.now - self.due - GRACE_MS)

    @property
    def age_ms(self) -> int:
        """The age of the place up to which all is settled, 0 where nothing ever was."""
        position = self.state.position
        return 0 if position is None or not position.cursor.due else max(0, self.now - position.cursor.due)

    def trouble(self) -> str:
        """Return in words what is the matter with it, or nothing."""
        position = self.state.position
        if position is None or not position.revision:
            return "no schedule in force"
        parts = [f"overdue by {self.overdue_ms / 1000:.0f} s"] if self.overdue_ms else []
        if position.backlog:
            parts.append(f"missed fires since {to_text(position.backlog[0].start.due)} to settle")
        return ", ".join(parts)

    def cells(self) -> tuple[object, ...]:
        """Return what people are shown."""
        state, position = self.state, self.state.position
        owner = state.owner
        return (
            self.shard,
            owner and owner.instance,
            owner and to_text(owner.taken),
            (position and position.revision[:12]) or "-",
            len(state.records),
            f"{self.age_ms / 1000:.1f} s",
            "-" if self.due is None else to_text(self.due),
            self.trouble() or "well",
        )

    def facts(self) -> dict[str, Any]:
        """Return what machines are told."""
        state, position, owner = self.state, self.state.position, self.state.owner
        return {
            "shard": self.shard,
            "owner": None if owner is None else {"instance": owner.instance, "since": to_text(owner.taken)},
            "revision": (position and position.revision) or None,
            "change": position and position.change,
            "jobs": len(state.records),
            "paused": len(state.paused),
            "timers": len(state.timers),
            "cursor": position and {"due": to_text(position.cursor.due), "job": position.cursor.name or None},
            "cursorAgeSeconds": self.age_ms / 1000,
            "nextDue": None if self.due is None else to_text(self.due),
            "overdueSeconds": self.overdue_ms / 1000,
            "backlog": [] if position is None else [to_text(one.start.due) for one in position.backlog],
        }


@click.command(
    short_help="Say how an installation is: all replicas, by what Kafka holds.",
    epilog=example(
        "dispatcher status --bootstrap-servers localhost:9092",
        "dispatcher status --json | jq '.shards[] | {shard, owner, nextDue}'",
    ),
)
@settings_options(*_SETTINGS)
@json_option
def status(in_force: InForce, *, as_json: bool) -> None:
    """Say how an installation is: its shards, its replicas and workers, and what became of the file.

    All of it is read from Kafka, so it needs no replica that answers: where each shard stands, who last took
    it, what it fires next, who is in the groups, and whether a file was refused or is held since the present
    schedule came into force (looked for in the events of the last day). Changes nothing.

    Exits with 0 when all is well, with 1 when a shard has no schedule or is overdue (a fire is missing for
    more than a minute) or no dispatcher is in the group, with 4 when Kafka cannot be reached or is unfit.
    """
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    names, connection = TopicNames(settings.prefix), connection_of(settings)
    with waiting("Reading the ledger"):
        states = ledger_states(in_force)
        replicas = group_members(connection, group_of(names), _ASK_SECONDS)
        workers = group_members(connection, group_of_workers(names), _ASK_SECONDS)
        now = SystemClock().read().now
        told = _file_events(connection, names, states, now)
    rows = [Row(shard, state, _next_due(state), now) for shard, state in enumerate(states)]
    troubles = [*_troubles(rows, replicas)]
    if as_json:
        write_json(
            {
                "now": to_text(now),
                "well": not troubles,
                "troubles": troubles,
                "shards": [row.facts() for row in rows],
                "replicas": [_member_facts(one) for one in replicas],
                "workers": [_member_facts(one) for one in workers],
                "file": told,
            }
        )
    else:
        _show(rows, replicas, workers, told)
        for sentence in troubles:
            click.echo(sentence, err=True)
    if troubles:
        click.get_current_context().exit(FAILED)


def _next_due(state: ShardState) -> Instant | None:
    position = state.position
    if position is None:
        return None
    jobs = [record.job for record in state.records.values()]
    return Expected(jobs, position.effective_from).next_due(position.cursor, _EVERY)


def _troubles(rows: Iterable[Row], replicas: list[Member]) -> Iterable[str]:
    if not replicas:
        yield "No dispatcher is in the group: nothing fires."
    for row in rows:
        position = row.state.position
        if position is None or not position.revision or row.overdue_ms:
            yield f"Shard {row.shard}: {row.trouble()}."


def _file_events(
    connection: Connection, names: TopicNames, states: Iterable[ShardState], now: Instant
) -> dict[str, Any]:
    """Return the last refusal and the last holding of a file since the schedule in force was applied."""
    applied = [
        found.applied
        for state in states
        if state.position is not None and (found := state.revisions.get(state.position.revision)) is not None
    ]
    since = max([*applied, now - _DAY_MS])
    told: dict[str, Any] = {"refused": None, "held": None}
    with closing(FireReader(connection, [names.events], since, _ASK_SECONDS)) as reader:
        end = time.monotonic() + _READ_SECONDS
        while not reader.at_end and time.monotonic() < end:
            for seen in reader.take(0.5):
                _take_in(told, seen)
        return {**told, "lookedSince": to_text(since), "complete": reader.at_end}


def _take_in(told: dict[str, Any], seen: Seen) -> None:
    kind = dict(seen.headers).get("ce_type", b"").decode(errors="replace")
    word = kind.removeprefix("schedule.")
    if kind == word or word not in ("refused", "held", "released", "applied"):
        return
    if word in ("released", "applied"):
        told["held"] = None
        if word == "applied":
            told["refused"] = None
        return
    try:
        data = json.loads(seen.value or b"{}")
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        return  # no dispatcher's: whoever may write events may write anything
    keys = ("revision", "reason", "why", "until", "count", "problems")
    told[word] = {"at": to_text(seen.timestamp), **{key: data[key] for key in keys if key in data}}


def _member_facts(one: Member) -> dict[str, Any]:
    return {"instance": one.instance, "host": one.host, "partitions": [list(each) for each in one.partitions]}


def _show(
    rows: Iterable[Row], replicas: list[Member], workers: list[Member], told: Mapping[str, Any]
) -> None:
    headings = ("shard", "owner", "since, UTC", "revision", "jobs", "age", "next fire, UTC", "state")
    write_table(headings, [row.cells() for row in rows])
    click.echo()
    shards = [
        (
            "dispatcher",
            one.instance,
            one.host,
            ", ".join(str(number) for _, number in one.partitions) or "stands by",
        )
        for one in replicas
    ]
    work = [("worker", one.instance, one.host, f"{len(one.partitions)} partitions") for one in workers]
    write_table(("role", "instance", "host", "has"), [*shards, *work])
    if (refused := told["refused"]) is not None:
        count = refused.get("count", "?")
        sentence = f"\nA file was refused at {refused['at']}, and may be well by now; problems: {count}"
        click.echo(printable_lines(sentence))
        problems = refused.get("problems")
        for problem in problems[:_SHOWN_PROBLEMS] if isinstance(problems, list) else ():
            click.echo(printable_lines(f"  {problem}"))
    if not told["complete"]:
        click.echo("\nEvents of files were not read to their end in time: there may be later ones.", err=True)
    if (held := told["held"]) is not None:
        click.echo(printable_lines(f"\nA file is held since {held['at']}: {held.get('why', '')}"))
