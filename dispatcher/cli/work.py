"""`dispatcher work`: a worker in the foreground, as systemd and containers want it."""

from __future__ import annotations

import os
from functools import partial

import click

from dispatcher import logs
from dispatcher.cli.memory import no_core_dumps
from dispatcher.cli.options import example, settings_options
from dispatcher.cli.run import await_kafka, signals
from dispatcher.cli.serving_work import worker_pages, worker_views
from dispatcher.cli.supervised_work import spared_without_coordinator, view_of_worker
from dispatcher.cli.supervision import in_turn, supervised, waiting_for
from dispatcher.cli.topics import connection_of, mend_command, plan_of
from dispatcher.cli.tracing import traces
from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames
from dispatcher.core.scaling import ScalingLimits
from dispatcher.errors import TopicsUnfit
from dispatcher.kafka.config import Connection
from dispatcher.kafka.rights import Role, rights
from dispatcher.kafka.sender import Sender
from dispatcher.kafka.topics import KafkaTopics
from dispatcher.kafka.work_log import KafkaWorkLog, WorkPlan
from dispatcher.locking import instance_lock, lock_directory
from dispatcher.observe.tracing import Tracer
from dispatcher.settings import WORK, InForce, Settings
from dispatcher.work.pool import Habits
from dispatcher.work.registry import Means, registry
from dispatcher.worker import Shop, Worker

_SETTINGS = (
    *("bootstrap_servers", "prefix", "shards", "partitions_jobs", "instance", "session_seconds", "lock_dir"),
    *("wait_seconds", "stop_seconds"),
    *(name for name in Settings.model_fields if name in WORK),
    *("otlp_endpoint", "otlp_share", "log_level", "log_format", "kafka"),
)


@click.command(
    short_help="Run what was fired.",
    epilog=example(
        "dispatcher work --bootstrap-servers localhost:9092",
        "DISPATCHER_INSTANCE=worker-2 dispatcher work --bootstrap-servers localhost:9092 --seats-most 200",
    ),
)
@settings_options(*_SETTINGS)
def work(in_force: InForce) -> None:
    """Pick up fires and run them, until told to stop.

    SIGTERM and SIGINT let what runs end within `stop_seconds`, hand the rest back, commit, and end with 0; a
    second one ends at once. Each worker of a machine needs a DISPATCHER_INSTANCE of its own. Exits with 4
    when Kafka cannot be reached in time or its topics are unfit, with 1 when the name is taken.
    With --work-address it answers /health, /ready, /status, /metrics and /wanted over HTTP.
    """
    no_core_dumps()
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    connection = connection_of(settings)
    serving = worker_views(settings.work_address)
    with traces(settings, "dispatcher-worker") as tracer, supervised() as herald, serving as show:
        herald.show(waiting_for(connection), end_seconds=settings.stop_seconds)
        cluster = await_kafka(connection, settings.wait_seconds)
        directory = settings.lock_dir or lock_directory(os.environ)
        with instance_lock(directory, cluster, f"{settings.prefix}.workers", settings.instance):
            worker = worker_of(in_force, connection, tracer)
            spared = partial(spared_without_coordinator, connection, TopicNames(settings.prefix))
            show(worker_pages(worker, settings.instance, spared()))
            herald.show(partial(view_of_worker, worker, spared()))
            with signals(in_turn(herald.stopping, worker.stop), _nothing_to_reload):
                worker.run()


def worker_of(in_force: InForce, connection: Connection, tracer: Tracer | None = None) -> Worker:
    """Return the worker that settings ask for. Raises RightsMissing, and TopicsUnfit for a wrong topic."""
    settings = in_force.settings
    topics, named = TopicNames(settings.prefix), connection.named(settings.instance)
    admin, plan_of_topics = KafkaTopics(named), plan_of(settings).without(topics.ledger, topics.shards)
    admin.require(rights(Role.WORKER, settings.prefix, settings.work_topics), plan_of_topics.names())
    if faults := admin.check(plan_of_topics):
        raise TopicsUnfit(faults, mend_command(in_force))
    dead_partitions = admin.partitions(topics.dead)
    if dead_partitions is None:
        raise TopicsUnfit((f"topic {topics.dead} is missing",), mend_command(in_force))
    sender = Sender(named)
    means = Means(
        prefix=settings.prefix,
        http_allow_private=settings.http_allow_private,
        shell_allow=settings.shell_allow,
        python_allow=settings.python_allow,
        sql_dsns=settings.sql,
        send=sender.send,
        close_send=sender.close,
        most_children=settings.seats_most,
    )
    plan = WorkPlan(
        topics=(*map(topics.lane, Lane), *settings.work_topics),
        instance=settings.instance,
        latest=settings.work_begin == "latest",
        session_ms=round(settings.session_seconds * 1000),
    )
    shop = Shop(
        settings.instance,
        settings.shards,
        dead_partitions,
        ScalingLimits(
            least=settings.seats_least,
            most=settings.seats_most,
            drain_ms=round(settings.drain_seconds * 1000),
        ),
        Habits(stop_seconds=settings.stop_seconds),
        tracer,
    )
    return Worker(named, topics, shop, registry(means), partial(KafkaWorkLog, named, topics, plan))


def _nothing_to_reload() -> None:
    """SIGHUP changes nothing: a worker reads no schedule."""
