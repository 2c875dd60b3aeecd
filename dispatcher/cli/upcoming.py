"""`dispatcher next`: the fires to come, in local time and UTC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from heapq import merge
from itertools import islice
from typing import Any

import click

from dispatcher import logs
from dispatcher.cli.files import load_schedule
from dispatcher.cli.ledgers import ledger_states
from dispatcher.cli.options import example, from_option, json_option, settings_options
from dispatcher.cli.show import clock_note, local_time, waiting, write_json, write_table, zone_of
from dispatcher.clock import SystemClock
from dispatcher.core.forecast import upcoming
from dispatcher.core.instant import Instant, to_datetime, to_text
from dispatcher.core.job import Job
from dispatcher.core.ledger import Timer
from dispatcher.core.message import fire_id, is_planned
from dispatcher.core.run_event import fire_of_timer
from dispatcher.core.state import ShardState
from dispatcher.settings import InForce

_HEADINGS = ("job", "local time", "planned, UTC", "due, UTC", "note")
_SETTINGS = (
    "schedule",
    "max_file_bytes",
    "bootstrap_servers",
    "prefix",
    "shards",
    "partitions_jobs",
    "log_level",
    "log_format",
    "kafka",
)


@dataclass(frozen=True, slots=True)
class Coming:
    """A fire to come; `job` is None when the schedule holds its job no longer."""

    name: str
    fire: str
    planned: Instant
    due: Instant
    job: Job | None
    note: str
    attempt: int = 1
    paused: bool = False

    @property
    def place(self) -> tuple[Instant, str]:
        """Its place among others."""
        return self.due, self.name

    def row(self) -> tuple[str, ...]:
        """Return what people are shown."""
        return self.name, self.local, to_text(self.planned), to_text(self.due), self.note

    @property
    def local(self) -> str:
        """The planned instant as the clocks of the job's zone show it."""
        if self.job is None:
            return to_datetime(self.planned).isoformat(sep=" ")
        return local_time(self.planned, self.job)

    def facts(self) -> dict[str, Any]:
        """Return what machines are told."""
        return {
            "job": self.name,
            "fire": self.fire,
            "local": self.local,
            "timezone": "UTC" if self.job is None else zone_of(self.job),
            "planned": to_text(self.planned),
            "due": to_text(self.due),
            "note": self.note or None,
        }


@click.command(
    "next",
    short_help="Show the fires to come, in local time and UTC.",
    epilog=example("dispatcher next nightly-report --count 3 --from 2026-10-24T00:00:00Z"),
)
@click.argument("job", required=False)
@click.option(
    "--count", type=click.IntRange(1, 1_000_000), default=10, show_default=True, help="How many fires."
)
@click.option("--in-force", "ledger", is_flag=True, help="Ask the ledger, and do not look at the file.")
@from_option
@settings_options(*_SETTINGS)
@json_option
def next_fires(
    in_force: InForce, job: str | None, count: int, start: Instant | None, *, ledger: bool, as_json: bool
) -> None:
    """Show the next fires of JOB, or of all jobs, as the schedule file plans them.

    The due time differs from the planned one by the job's constant jitter. With --in-force they are those of
    the schedule in force, together with what else waits in the ledger: retries, fires that were asked for,
    and fires that an edit left behind. Planned fires of paused jobs, which will be skipped, are marked.
    """
    after = SystemClock().read().now if start is None else start
    fires = list(islice(_in_force(in_force, job, after) if ledger else _of_file(in_force, job, after), count))
    if as_json:
        more = [{"attempt": one.attempt, "paused": one.paused} if ledger else {} for one in fires]
        write_json([{**one.facts(), **also} for one, also in zip(fires, more, strict=True)])
    elif fires:
        write_table(_HEADINGS, [one.row() for one in fires])
    else:
        click.echo(f"{'No job' if job is None else job} fires after {to_text(after)}.", err=True)


def _of_file(in_force: InForce, name: str | None, after: Instant) -> Iterator[Coming]:
    schedule = load_schedule(str(in_force.settings.schedule), in_force.settings.max_file_bytes)
    return _planned(_chosen(schedule.jobs, name, "the schedule"), after, {})


def _in_force(in_force: InForce, name: str | None, after: Instant) -> Iterator[Coming]:
    """Return the fires of the schedule in force, and all that waits, also what is overdue."""
    logs.configure(in_force.settings.log_level, in_force.settings.log_format)
    with waiting("Reading the ledger"):
        states = ledger_states(in_force)
    jobs = {record.name: record.job for state in states for record in state.records.values()}
    timers = [_waiting(timer, state, jobs) for state in states for timer in state.timers.values()]
    found = sorted((one for one in timers if name in (None, one.name)), key=lambda one: one.place)
    paused = {job: since for state in states for job, since in state.paused.items()}
    gone = name is not None and name not in jobs and found
    chosen = () if gone else _chosen(jobs, name, "the schedule in force")
    return merge(found, _planned(chosen, after, paused), key=lambda one: one.place)


def _chosen(jobs: Mapping[str, Job], name: str | None, where: str) -> Iterable[Job]:
    if name is None:
        return jobs.values()
    job = jobs.get(name)
    if job is None:
        near = get_close_matches(name, jobs, n=3)
        advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "leave it out to see all"
        raise click.UsageError(f"{where} has no job {name!r}: {advice}")
    return [job]


def _planned(jobs: Iterable[Job], after: Instant, paused: Mapping[str, Instant]) -> Iterator[Coming]:
    for fire in upcoming(jobs, after):
        job, since = fire.job, paused.get(fire.job.name)
        notes = [] if since is None else [f"skipped: paused since {to_text(since)}"]
        notes += [note for note in (clock_note(fire.planned, job),) if note]
        ident = fire_id(job.name, fire.planned)
        yield Coming(job.name, ident, fire.planned, fire.due, job, "; ".join(notes), paused=since is not None)


def _waiting(timer: Timer, state: ShardState, jobs: Mapping[str, Job]) -> Coming:
    """Return what a timer holds. Only what the plan left behind is skipped when its job is paused."""
    paused = is_planned(timer) and timer.job in state.paused
    if paused:
        note = f"skipped: paused since {to_text(state.paused[timer.job])}"
    elif is_planned(timer):
        note = "planned before an edit"
    else:
        note = f"retry, attempt {timer.attempt}" if timer.attempt > 1 else "asked for"
    fire, job = fire_of_timer(timer), jobs.get(timer.job)
    return Coming(timer.job, fire, timer.planned, timer.due, job, note, timer.attempt, paused)
