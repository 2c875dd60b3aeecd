"""`dispatcher diff`: what an edit changes, in jobs and in fires."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from dispatcher.cli.files import load_schedule
from dispatcher.cli.options import example, from_option, json_option, settings_options, span
from dispatcher.cli.show import printable, working, write_json, write_table
from dispatcher.clock import SystemClock
from dispatcher.core.forecast import FireChange, Moved, compare_fires
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.job import Job
from dispatcher.core.schedule import Schedule
from dispatcher.settings import InForce

_LONGEST_VALUE = 60
_HEADINGS = ("job", "gained", "lost", "moved", "first change: old, UTC", "new, UTC")


@dataclass(frozen=True, slots=True)
class Edit:
    """One job that differs: `old` is None when it is added, `new` when it is removed."""

    name: str
    old: Job | None
    new: Job | None
    fires: FireChange


@click.command(
    short_help="Show which jobs and fires an edit changes.",
    epilog=example("git show HEAD:schedule.json | dispatcher diff - schedule.json --for 2d"),
)
@click.argument("old")
@click.argument("new")
@click.option(
    "--for", "length", type=span, default="7d", show_default=True, metavar="TIME", help="How far to look."
)
@from_option
@settings_options("max_file_bytes")
@json_option
def diff(in_force: InForce, old: str, new: str, length: int, start: Instant | None, *, as_json: bool) -> None:
    """Show which jobs and which fires change from the schedule file OLD to NEW.

    A day (of UTC) that loses as many fires of a job as it gains has them moved. One of the two files may
    be -, standard input.
    """
    if old == new == "-":
        raise click.UsageError("only one of OLD and NEW can be standard input")
    cap = in_force.settings.max_file_bytes
    after = SystemClock().read().now if start is None else start
    edits = _edits(load_schedule(old, cap), load_schedule(new, cap), after, after + length)
    if as_json:
        write_json(
            {
                "from": to_text(after),
                "until": to_text(after + length),
                "jobs": [_facts(edit) for edit in edits],
            }
        )
    else:
        _tell(edits, after, after + length)


def _edits(old: Schedule, new: Schedule, after: Instant, until: Instant) -> list[Edit]:
    names = [
        name
        for name in sorted(old.jobs.keys() | new.jobs.keys())
        if _definition(old, name) != _definition(new, name)
    ]
    seen: dict[object, FireChange] = {}
    edits = []
    for name in working(names, "Comparing fires"):
        before, later = old.jobs.get(name), new.jobs.get(name)
        times = _times(before), _times(later)
        if times not in seen:
            seen[times] = compare_fires(before, later, after, until)
        edits.append(Edit(name, before, later, seen[times]))
    return edits


def _definition(schedule: Schedule, name: str) -> bytes | None:
    job = schedule.jobs.get(name)
    return None if job is None else job.definition


def _times(job: Job | None) -> tuple[str, int] | None:
    return None if job is None else (job.trigger.digest, job.delay_ms)


def _kind(edit: Edit) -> str:
    if edit.old is None:
        return "added"
    return "removed" if edit.new is None else "changed"


def _fields(edit: Edit) -> list[tuple[str, Any, Any]]:
    """Return the fields in which the two versions differ, with both values; None where there is none."""
    if edit.old is None or edit.new is None:
        return []
    old, new = json.loads(edit.old.definition), json.loads(edit.new.definition)
    return [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]


def _facts(edit: Edit) -> dict[str, Any]:
    first = edit.fires.first
    return {
        "job": edit.name,
        "change": _kind(edit),
        "fields": [{"field": name, "old": old, "new": new} for name, old, new in _fields(edit)],
        "gained": edit.fires.gained,
        "lost": edit.fires.lost,
        "moved": edit.fires.moved,
        "first": None if first is None else {"old": _instant(first.old), "new": _instant(first.new)},
    }


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else to_text(instant)


def _tell(edits: list[Edit], after: Instant, until: Instant) -> None:
    for edit in edits:
        click.echo(f"{_kind(edit):8}{edit.name}{_summary(edit)}")
    changes = [edit for edit in edits if edit.fires]
    if not edits:
        click.echo("The two schedules hold the same jobs.")
    elif not changes:
        click.echo(f"\nNo fire changes until {to_text(until)}.")
    else:
        click.echo(f"\nFires from {to_text(after)} to {to_text(until)}:")
        write_table(_HEADINGS, [_row(edit.name, edit.fires, edit.fires.first) for edit in changes])


def _summary(edit: Edit) -> str:
    fields = [f"{name} {_short(old)} → {_short(new)}" for name, old, new in _fields(edit)]
    return f": {', '.join(fields)}" if fields else ""


def _short(value: Any) -> str:
    text = "unset" if value is None else printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _row(name: str, fires: FireChange, first: Moved | None) -> tuple[object, ...]:
    old, new = (None, None) if first is None else (_instant(first.old), _instant(first.new))
    return name, fires.gained, fires.lost, fires.moved, old, new
