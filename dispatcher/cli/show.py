"""What commands print: tables for people, tab-separated lines for pipes, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from dispatcher.core.cron import Cron
from dispatcher.core.instant import Instant, to_datetime
from dispatcher.core.job import Job

Item = TypeVar("Item")

_WIDEST = 1000  # a line too long for the terminal goes on in the next one, and loses nothing


def printable(text: str) -> str:
    """Return the text with every character escaped that could break a line or be obeyed by a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def printable_lines(text: str) -> str:
    """Return the text with every line made printable."""
    return "\n".join(map(printable, text.split("\n")))


def write_json(value: Any) -> None:
    """Write a value as JSON to standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def write_json_line(value: Any) -> None:
    """Write a value as one line of JSON to standard output, at once."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def write_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: laid out on a terminal, else a line for each row with tabs between its cells."""
    cells = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in ([heading.upper() for heading in headings], *cells):
            click.echo("\t".join(line))
        return
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for line in cells:
        table.add_row(*map(Text, line))
    Console(width=_WIDEST).print(table)


def working(items: Sequence[Item], label: str) -> Iterable[Item]:
    """Yield the items, with a bar on standard error while it is a terminal and the work takes long."""
    console = Console(stderr=True)
    return track(items, label, console=console, transient=True, disable=not console.is_terminal)


def waiting(label: str) -> AbstractContextManager[object]:
    """Show that something takes its time, on standard error, if that is a terminal."""
    return Console(stderr=True).status(label)


def local_time(instant: Instant, job: Job) -> str:
    """Return what the clocks of the job's zone show at an instant; UTC for periods and single instants."""
    timing = job.trigger.timing
    moment = timing.zone.local(instant).wall if isinstance(timing, Cron) else to_datetime(instant)
    return moment.isoformat(sep=" ")


def zone_of(job: Job) -> str:
    """Return the name of the zone that `local_time` is in."""
    timing = job.trigger.timing
    return timing.zone.key if isinstance(timing, Cron) else "UTC"


def clock_note(instant: Instant, job: Job) -> str:
    """Return what a change of clocks has to do with a planned instant, or nothing."""
    timing = job.trigger.timing
    return (timing.explain(instant) or "") if isinstance(timing, Cron) else ""
