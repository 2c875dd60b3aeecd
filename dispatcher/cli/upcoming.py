"""`dispatcher next`: the fires to come, in local time and UTC."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any

import click

from dispatcher.cli.files import load_schedule
from dispatcher.cli.options import example, from_option, json_option, settings_options
from dispatcher.cli.show import clock_note, local_time, write_json, write_table, zone_of
from dispatcher.clock import SystemClock
from dispatcher.core.forecast import Upcoming, upcoming
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.job import Job
from dispatcher.core.schedule import Schedule
from dispatcher.settings import InForce

_HEADINGS = ("job", "local time", "planned, UTC", "due, UTC", "note")


@click.command(
    "next",
    short_help="Show the fires to come, in local time and UTC.",
    epilog=example("dispatcher next nightly-report --count 3 --from 2026-10-24T00:00:00Z"),
)
@click.argument("job", required=False)
@click.option(
    "--count", type=click.IntRange(1, 1_000_000), default=10, show_default=True, help="How many fires."
)
@from_option
@settings_options("schedule", "max_file_bytes")
@json_option
def next_fires(
    in_force: InForce, job: str | None, count: int, start: Instant | None, *, as_json: bool
) -> None:
    """Show the next fires of JOB, or of all jobs, as the schedule file plans them.

    The due time differs from the planned one by the job's constant jitter.
    """
    schedule = load_schedule(str(in_force.settings.schedule), in_force.settings.max_file_bytes)
    jobs = schedule.jobs.values() if job is None else [_job(schedule, job)]
    after = SystemClock().read().now if start is None else start
    fires = islice(upcoming(jobs, after), count)
    if as_json:
        write_json([_facts(fire) for fire in fires])
        return
    rows = _rows(fires)
    if rows:
        write_table(_HEADINGS, rows)
    else:
        click.echo(f"{'No job' if job is None else job} fires after {to_text(after)}.", err=True)


def _job(schedule: Schedule, name: str) -> Job:
    job = schedule.jobs.get(name)
    if job is None:
        near = get_close_matches(name, schedule.jobs, n=3)
        advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "leave it out to see all"
        raise click.UsageError(f"the schedule has no job {name!r}: {advice}")
    return job


def _facts(fire: Upcoming) -> dict[str, Any]:
    return {
        "job": fire.job.name,
        "fire": f"{fire.job.name}@{to_text(fire.planned)}",
        "local": local_time(fire.planned, fire.job),
        "timezone": zone_of(fire.job),
        "planned": to_text(fire.planned),
        "due": to_text(fire.due),
        "note": clock_note(fire.planned, fire.job) or None,
    }


def _rows(fires: Iterable[Upcoming]) -> list[tuple[str, ...]]:
    return [
        (
            fire.job.name,
            local_time(fire.planned, fire.job),
            to_text(fire.planned),
            to_text(fire.due),
            clock_note(fire.planned, fire.job),
        )
        for fire in fires
    ]
