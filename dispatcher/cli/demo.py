"""`dispatcher demo`: the daemon on the embedded broker, with a live table of what it does."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dispatcher import logs
from dispatcher.cli.files import load_schedule
from dispatcher.cli.options import example, span
from dispatcher.cli.run import signals
from dispatcher.cli.show import printable
from dispatcher.clock import Clock, SystemClock
from dispatcher.core.instant import Instant, from_text, to_text
from dispatcher.core.job import Job, Lane
from dispatcher.core.message import TopicNames
from dispatcher.core.schedule import Schedule
from dispatcher.daemon import Cluster, Daemon, Plant
from dispatcher.errors import InvalidSchedule, ScheduleUnreadable
from dispatcher.kafka.embedded import EmbeddedBroker, EmbeddedDirectory, SoleMembership
from dispatcher.kafka.live import FireReader, Seen
from dispatcher.service import Deadline

_SHARDS = 4
_CAP = 64 * 1024 * 1024
_GLANCE_SECONDS = 0.25
_ROWS = 30
_NO_LIMIT = 1 << 50
"""The embedded broker stamps a time of its own on records, which says nothing of this machine's."""
_NOTICE = (
    "Embedded broker: nothing of this outlives the process, and nothing here proves the promise. "
    "`dispatcher run` needs a real Kafka."
)


@click.command(
    short_help="Try the dispatcher out; needs no Kafka.",
    epilog=example("dispatcher demo --for 30s", "dispatcher demo --schedule my.json"),
)
@click.option(
    "--for", "length", type=span, metavar="SPAN", help="Stop after so long, e.g. 30s; default: Ctrl-C."
)
@click.option(
    "--schedule",
    type=click.Path(path_type=Path),
    default=Path("schedule/schedule.json"),
    show_default=True,
    help="The schedule file; edit it while the demo runs.",
)
def demo(length: int | None, schedule: Path) -> None:
    """Run the dispatcher on the broker that the client library brings, and show what it does.

    No installation is needed. Edit the schedule file meanwhile: the table follows.
    """
    logs.configure("error")
    clock = SystemClock()
    board = Board(load_schedule(str(schedule), _CAP), clock.read().now)
    with EmbeddedBroker() as broker, _running(broker, schedule, clock) as (reader, daemon):
        deadline = Deadline(length / 1000) if length is not None else None
        stopped = threading.Event()
        with signals(stopped.set, daemon.reload), _screen(board, clock) as show:
            while not stopped.is_set() and (deadline is None or deadline.left()):
                with contextlib.suppress(InvalidSchedule, ScheduleUnreadable):
                    board.follow(load_schedule(str(schedule), _CAP), clock.read().now)
                fires = reader.take(_GLANCE_SECONDS)
                board.see(fires)
                show(fires)
    click.echo(board.summary(clock.read().now))


@dataclass(slots=True)
class _Row:
    job: Job
    since: Instant
    planned: int = 0
    committed: int = 0
    last: str = ""
    late: int = 0


class Board:
    """What is planned and what was committed, job by job."""

    def __init__(self, schedule: Schedule, now: Instant) -> None:
        self.revision = schedule.revision
        self._rows = {job.name: _Row(job, now) for job in schedule.jobs.values()}

    def follow(self, schedule: Schedule, now: Instant) -> None:
        """Take an edited file: rows come and go with its jobs."""
        if schedule.revision == self.revision:
            return
        self.revision = schedule.revision
        for name, row in list(self._rows.items()):
            job = schedule.jobs.get(name)
            if job is None:
                del self._rows[name]
            elif job.trigger.digest != row.job.trigger.digest:
                self._rows[name] = _Row(
                    job, now, committed=row.committed, last=row.last, planned=row.committed
                )
        for name, job in schedule.jobs.items():
            self._rows.setdefault(name, _Row(job, now))

    def see(self, fires: list[Seen]) -> None:
        """Count committed fires."""
        for seen in fires:
            headers = dict(seen.headers)
            row = self._rows.get(headers["ce_subject"].decode())
            if row is not None:
                planned = from_text(headers["ce_time"].decode())
                row.committed += 1
                row.last = to_text(planned)
                row.late = max(0, seen.timestamp - planned - row.job.delay_ms)

    def table(self, now: Instant) -> Group:
        """Return the table as it stands at `now`."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("job", "lane", "next fire, UTC", "last committed, UTC"):
            table.add_column(heading)
        for heading in ("planned", "committed", "late"):
            table.add_column(heading, justify="right")
        for row in sorted(self._rows.values(), key=lambda one: (-one.committed, one.job.name))[:_ROWS]:
            due = row.job.trigger.next_after(now - row.job.delay_ms)
            table.add_row(
                Text(printable(row.job.name)),
                str(row.job.route.lane),
                "never" if due is None else to_text(due + row.job.delay_ms),
                row.last or "-",
                str(self._planned(row, now)),
                str(row.committed),
                f"{row.late} ms" if row.last else "-",
            )
        hidden = len(self._rows) - _ROWS
        lines: list[RenderableType] = [Text(_NOTICE, style="yellow"), table]
        return Group(*lines, Text(f"and {hidden} more jobs")) if hidden > 0 else Group(*lines)

    def summary(self, now: Instant) -> str:
        """Return one sentence: what was planned and what was committed."""
        planned = sum(self._planned(row, now) for row in self._rows.values())
        committed = sum(row.committed for row in self._rows.values())
        return f"{planned} fires planned, {committed} committed; the embedded broker took them with it."

    def _planned(self, row: _Row, now: Instant) -> int:
        until = now - row.job.delay_ms
        return row.planned + (row.job.trigger.count_between(row.since, until) if until > row.since else 0)


@contextlib.contextmanager
def _running(broker: EmbeddedBroker, schedule: Path, clock: Clock) -> Iterator[tuple[FireReader, Daemon]]:
    topics = TopicNames("dispatcher")
    broker.prepare(topics)
    connection = broker.connection()
    own = [topics.lane(lane) for lane in Lane]
    reader = FireReader(connection, own, 0)
    identity = broker.identity()
    cluster = Cluster(
        connection,
        topics,
        EmbeddedDirectory(broker),
        lambda: (identity.cluster, dict(identity.topics)),
        lambda hooks, _failed: SoleMembership(_SHARDS, hooks),
    )
    daemon = Daemon(
        cluster, Plant(schedule, _SHARDS, "demo", poll_seconds=1.0, clock_limit_ms=_NO_LIMIT), clock
    )
    thread = threading.Thread(target=daemon.run, name="daemon", daemon=True)
    thread.start()
    try:
        with contextlib.closing(reader):
            yield reader, daemon
    finally:
        daemon.stop()
        thread.join(10)


@contextlib.contextmanager
def _screen(board: Board, clock: Clock) -> Iterator[Callable[[list[Seen]], None]]:
    """Show the board: live on a terminal, else a line for each committed fire and the table at the end."""
    console = Console()
    if console.is_terminal:
        with Live(board.table(clock.read().now), console=console, refresh_per_second=4) as live:
            yield lambda _fires: live.update(board.table(clock.read().now))
        return

    def lines(fires: list[Seen]) -> None:
        for seen in fires:
            headers = dict(seen.headers)
            fire = printable(headers["ce_id"].decode())
            click.echo(
                f"{to_text(seen.timestamp)}  committed  {fire}  {seen.topic}[{seen.partition}]@{seen.offset}"
            )
        sys.stdout.flush()

    yield lines
    Console(width=140).print(board.table(clock.read().now))
