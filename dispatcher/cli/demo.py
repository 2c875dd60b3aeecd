"""`dispatcher demo`: daemon and worker on the embedded broker, with a live table of what they do."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
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
from dispatcher.core.scaling import ScalingLimits
from dispatcher.core.schedule import Schedule
from dispatcher.daemon import Cluster, Daemon, Plant
from dispatcher.errors import InvalidSchedule, ScheduleUnreadable
from dispatcher.kafka.config import Connection
from dispatcher.kafka.embedded import PARTITIONS, EmbeddedBroker, EmbeddedDirectory, SoleMembership
from dispatcher.kafka.live import FireReader, Seen
from dispatcher.kafka.work_log import KafkaWorkLog, WorkPlan
from dispatcher.service import Deadline
from dispatcher.work.pool import Habits
from dispatcher.work.registry import Means, registry
from dispatcher.worker import Shop, Worker

_SHARDS = 4
_CAP = 64 * 1024 * 1024
_GLANCE_SECONDS = 0.25
_ROWS = 30
_SEATS = 8
_SHOWN = ("succeeded", "retrying", "dead")
"""How runs end, as far as the table shows it."""
_NO_LIMIT = 1 << 50
"""The embedded broker stamps a time of its own on records, which says nothing of this machine's."""
_NOTICE = (
    "Embedded broker: nothing of this outlives the process, and nothing here proves the promise. "
    "`dispatcher run` needs a real Kafka."
)


@click.command(
    short_help="Try the dispatcher and a worker out; needs no Kafka.",
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
    """Run the dispatcher and a worker on the broker that the client library brings, and show what they do.

    No installation is needed. Edit the schedule file meanwhile: the table follows. Handlers that an operator
    has to allow are off, so what asks for them ends as a dead letter that says so.
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
                seen = reader.take(_GLANCE_SECONDS)
                board.see(seen)
                show(seen)
    click.echo(board.summary(clock.read().now))


@dataclass(slots=True)
class _Row:
    job: Job
    since: Instant
    planned: int = 0
    committed: int = 0
    last: str = ""
    late: int = 0
    ended: Counter[str] = field(default_factory=Counter)


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

    def see(self, records: list[Seen]) -> None:
        """Count committed fires, and how the runs of them ended."""
        for seen in records:
            headers = dict(seen.headers)
            row = self._rows.get(headers.get("ce_subject", b"").decode())
            if row is None:
                continue
            kind = headers["ce_type"].decode()
            if kind == "dispatcher.fire":
                self._note_fire(row, seen, headers)
            elif kind.startswith("run."):
                row.ended[kind.removeprefix("run.")] += 1

    def _note_fire(self, row: _Row, seen: Seen, headers: dict[str, bytes]) -> None:
        if headers.get("attempt", b"1") != b"1":
            return
        planned = from_text(headers["ce_time"].decode())
        row.committed += 1
        row.last = to_text(planned)
        row.late = max(0, seen.timestamp - planned - row.job.delay_ms)

    def table(self, now: Instant) -> Group:
        """Return the table as it stands at `now`."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("job", "lane", "next fire, UTC", "last committed, UTC"):
            table.add_column(heading)
        for heading in ("planned", "committed", "late", *_SHOWN):
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
                *(str(row.ended[word]) if row.ended[word] else "-" for word in _SHOWN),
            )
        hidden = len(self._rows) - _ROWS
        lines: list[RenderableType] = [Text(_NOTICE, style="yellow"), table]
        return Group(*lines, Text(f"and {hidden} more jobs")) if hidden > 0 else Group(*lines)

    def summary(self, now: Instant) -> str:
        """Return one sentence: what was planned and what was committed."""
        planned = sum(self._planned(row, now) for row in self._rows.values())
        committed = sum(row.committed for row in self._rows.values())
        ended = sum((row.ended for row in self._rows.values()), Counter[str]())
        told = ", ".join(f"{ended[word]} {word}" for word in _SHOWN)
        fires = f"{planned} fires planned, {committed} committed"
        return f"{fires}; runs: {told}; the embedded broker took them with it."

    def _planned(self, row: _Row, now: Instant) -> int:
        until = now - row.job.delay_ms
        return row.planned + (row.job.trigger.count_between(row.since, until) if until > row.since else 0)


@contextlib.contextmanager
def _running(broker: EmbeddedBroker, schedule: Path, clock: Clock) -> Iterator[tuple[FireReader, Daemon]]:
    topics = TopicNames("dispatcher")
    broker.prepare(topics)
    connection = broker.connection()
    lanes = [topics.lane(lane) for lane in Lane]
    reader = FireReader(connection, [*lanes, topics.events], 0)
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
    worker = _worker(connection, topics, clock)
    threads = [threading.Thread(target=one.run, name="demo", daemon=True) for one in (daemon, worker)]
    for thread in threads:
        thread.start()
    try:
        with contextlib.closing(reader):
            yield reader, daemon
    finally:
        worker.stop()
        daemon.stop()
        for thread in threads:
            thread.join(10)


def _worker(connection: Connection, topics: TopicNames, clock: Clock) -> Worker:
    """Return a worker with the handlers that need nobody's leave."""
    plan = WorkPlan(tuple(map(topics.lane, Lane)), "demo")
    shop = Shop(
        "demo", _SHARDS, PARTITIONS, ScalingLimits(least=1, most=_SEATS), habits=Habits(stop_seconds=3)
    )
    handlers = registry(Means(prefix=topics.prefix))
    return Worker(connection, topics, shop, handlers, partial(KafkaWorkLog, connection, topics, plan), clock)


@contextlib.contextmanager
def _screen(board: Board, clock: Clock) -> Iterator[Callable[[list[Seen]], None]]:
    """Show the board: live on a terminal, else a line for each committed fire and the table at the end."""
    console = Console()
    if console.is_terminal:
        with Live(board.table(clock.read().now), console=console, refresh_per_second=4) as live:
            yield lambda _fires: live.update(board.table(clock.read().now))
        return

    def lines(records: list[Seen]) -> None:
        for seen in records:
            line = _line(seen)
            if line is not None:
                click.echo(line)
        sys.stdout.flush()

    yield lines
    Console(width=140).print(board.table(clock.read().now))


def _line(seen: Seen) -> str | None:
    """Return what a record says in one line, None for one that a demo does not show."""
    headers = dict(seen.headers)
    kind, attempt = headers["ce_type"].decode(), headers.get("attempt", b"1").decode()
    time = to_text(seen.timestamp)
    if kind == "dispatcher.fire":
        fire = printable(headers["ce_id"].decode())
        again = "" if attempt == "1" else f"  attempt {attempt}"
        return f"{time}  committed  {fire}  {seen.topic}[{seen.partition}]@{seen.offset}{again}"
    if not kind.startswith("run.") or "fire" not in headers:
        return None
    data = json.loads(seen.value or b"{}")
    why = f"  {printable(str(data['reason']))}" if "reason" in data else ""
    fire = printable(headers["fire"].decode())
    return f"{time}  {kind.removeprefix('run.'):<9}  {fire}  attempt {attempt}{why}"
