"""`dispatcher run`: the daemon in the foreground, as systemd and containers want it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import click
import structlog

from dispatcher import logs
from dispatcher.cli.memory import no_core_dumps
from dispatcher.cli.options import example, settings_options
from dispatcher.cli.preflight import mended_by_recover, preflight
from dispatcher.cli.serving import daemon_pages, dispatcher_views
from dispatcher.cli.supervision import in_turn, supervised, view_of_daemon, waiting_for
from dispatcher.cli.topics import connection_of
from dispatcher.cli.tracing import traces
from dispatcher.core.batch import Limits
from dispatcher.core.message import TopicNames
from dispatcher.core.schedule import RemovalGuard
from dispatcher.daemon import Cluster, Daemon, Plant
from dispatcher.errors import KafkaUnreachable
from dispatcher.feed.trust import Trust
from dispatcher.kafka.config import Connection
from dispatcher.kafka.directory import KafkaTopicDirectory
from dispatcher.kafka.topics import KafkaTopics, wait_for_kafka
from dispatcher.locking import instance_lock, lock_directory
from dispatcher.observe.tracing import Tracer
from dispatcher.service import Deadline
from dispatcher.settings import WORK, InForce, Settings

_ASK_SECONDS = 5.0


@click.command(epilog=example("dispatcher run --bootstrap-servers localhost:9092 --schedule schedule.json"))
@settings_options(*(name for name in Settings.model_fields if name not in WORK))
def run(in_force: InForce) -> None:
    """Run the dispatcher until it is told to stop.

    SIGTERM and SIGINT finish the open transactions and end with 0; a second one ends at once. SIGHUP looks
    at the schedule file now. Exits with 3 for an invalid file when no schedule is in force yet, with 4 when
    Kafka cannot be reached in time or its topics or ledger are unfit, with 1 when another process of this
    machine runs under the same instance name.
    With --address it answers /health, /ready, /status and /metrics over HTTP, before Kafka is reached too.
    """
    no_core_dumps()
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    connection = connection_of(settings)
    serving = dispatcher_views(settings.address)
    with traces(settings, "dispatcher") as tracer, supervised() as herald, serving as show:
        herald.show(waiting_for(connection), end_seconds=settings.stop_seconds)
        cluster = await_kafka(connection, settings.wait_seconds)
        directory = settings.lock_dir or lock_directory(os.environ)
        with instance_lock(directory, cluster, settings.prefix, settings.instance):
            preflight(in_force, connection)
            daemon = Daemon(cluster_of(settings, connection), plant_of(settings, tracer))
            show(daemon_pages(daemon, settings.instance))
            herald.show(partial(view_of_daemon, daemon, settings.shards), reloaded=daemon.reloaded)
            stop, reload = in_turn(herald.stopping, daemon.stop), in_turn(daemon.reload, herald.reloading)
            with signals(stop, reload), mended_by_recover(in_force):
                daemon.run()


def cluster_of(settings: Settings, connection: Connection) -> Cluster:
    """Return the Kafka side of a daemon on a real cluster."""
    topics = TopicNames(settings.prefix)
    named = connection.named(settings.instance)
    admin = KafkaTopics(named)

    def identify() -> tuple[str, dict[str, str]]:
        found = admin.identity([topics.ledger, topics.commands])
        return found.cluster, dict(found.topics)

    return Cluster(named, topics, KafkaTopicDirectory(named), identify)


def plant_of(settings: Settings, tracer: Tracer | None = None) -> Plant:
    """Return the numbers a daemon is built from."""
    return Plant(
        schedule=settings.schedule,
        shards=settings.shards,
        instance=settings.instance,
        trust=Trust(settings.schedule_trust),
        file_cap=int(settings.max_file_bytes),
        poll_seconds=settings.poll_seconds,
        clock_limit_ms=round(settings.clock_jump_limit_seconds * 1000),
        stop_seconds=settings.stop_seconds,
        session_ms=round(settings.session_seconds * 1000),
        limits=Limits(
            batch=settings.batch_messages,
            stage_ahead_ms=round(settings.stage_ahead_seconds * 1000),
            heartbeat_ms=round(settings.heartbeat_seconds * 1000),
            stale_hold_ms=round(settings.stale_hold_seconds * 1000),
            catch_up_rate=settings.catch_up_per_second,
            catch_up_most=settings.catch_up_most,
            guard=RemovalGuard(settings.removal_share, settings.removal_least),
        ),
        tracer=tracer,
        counted_jobs=settings.metrics_per_job,
    )


@contextmanager
def signals(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """Let signals stop and reload; what handled them before does so again afterwards."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            os._exit(128 + number)
        asked.append(number)
        stop()

    handlers = {signal.SIGTERM: ask, signal.SIGINT: ask, signal.SIGHUP: lambda *_: reload()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def await_kafka(connection: Connection, seconds: float | None) -> str:
    """Wait for a broker, saying so now and then; for ever when `seconds` is None. Return the cluster's id."""
    say = structlog.get_logger()
    deadline = None if seconds is None else Deadline(seconds)
    while True:
        left = _ASK_SECONDS if deadline is None else deadline.left()
        try:
            return wait_for_kafka(connection, max(0.2, min(_ASK_SECONDS, left)))
        except KafkaUnreachable as error:
            if deadline is not None and not deadline.left():
                raise
            say.warning("kafka.unreachable", why=str(error), until="for ever" if seconds is None else seconds)
