"""`dispatcher topics`: creates the topics of an installation, and checks them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.show import printable, waiting, write_json
from dispatcher.core.message import TopicNames
from dispatcher.errors import TopicsUnfit
from dispatcher.kafka.config import Connection
from dispatcher.kafka.rights import Operation, Role, idle_group, rights
from dispatcher.kafka.shielded import require_shielded
from dispatcher.kafka.topic_plan import TopicPlan, topic_plan
from dispatcher.kafka.topics import KafkaTopics
from dispatcher.settings import InForce, Settings, flag_name

_SETTINGS = (
    "bootstrap_servers",
    "prefix",
    "shards",
    "partitions_jobs",
    "replication",
    "wait_seconds",
    "kafka",
)
_REPEATED = ("bootstrap_servers", "prefix", "shards", "partitions_jobs", "replication")
_PATIENCE_SECONDS = 10.0


@click.group(epilog=example("dispatcher topics ensure --bootstrap-servers localhost:9092"))
def topics() -> None:
    """Create or check the topics of an installation."""


@topics.command(epilog=example("dispatcher topics ensure --bootstrap-servers localhost:9092 --replication 3"))
@settings_options(*_SETTINGS)
@json_option
def ensure(in_force: InForce, *, as_json: bool) -> None:
    """Create the topics that are missing and mend their settings.

    The number of a topic's partitions is never changed. Exits with 4 when something is left to mend.
    """
    settings, plan = in_force.settings, plan_of(in_force.settings)
    wanted = [one for one in rights(Role.SETUP, settings.prefix) if one.operation is not Operation.CREATE]
    with waiting("Ensuring topics"):
        cluster = _cluster(settings)
        cluster.require(wanted, plan.names())  # to create may be allowed for the cluster as a whole, too
        ensured = cluster.ensure(plan, settings.replication)
    if as_json:
        write_json({"done": ensured.done, "left": ensured.left})
    else:
        for line in ensured.done or ("nothing to do",):
            click.echo(printable(line))
    if ensured.left:
        raise TopicsUnfit(ensured.left, "what each line says; then run it again")


@topics.command(epilog=example("dispatcher topics check --bootstrap-servers localhost:9092"))
@settings_options(*_SETTINGS)
@json_option
def check(in_force: InForce, *, as_json: bool) -> None:
    """Compare the topics with what they must be; change nothing. Exits with 4 when one is unfit."""
    plan = plan_of(in_force.settings)
    with waiting("Checking topics"):
        faults = _cluster(in_force.settings).check(plan)
    if as_json:
        write_json({"fit": not faults, "faults": faults})
    if faults:
        raise TopicsUnfit(faults, mend_command(in_force))
    if not as_json:
        click.echo(f"{len(plan.shapes)} topics are as they must be")


def plan_of(settings: Settings) -> TopicPlan:
    """Return the topics that the settings ask for."""
    return topic_plan(TopicNames(settings.prefix), settings.shards, settings.partitions_jobs)


def connection_of(settings: Settings) -> Connection:
    """Return how to reach Kafka. Raises InvalidSettings when the settings name no broker, or an open way."""
    brokers = settings.brokers()
    if not settings.kafka_allow_insecure:
        require_shielded(brokers, settings.kafka)
    return Connection(brokers, properties=settings.kafka, group=idle_group(settings.prefix))


def mend_command(in_force: InForce, *command: str) -> str:
    """Return a command, `topics ensure` if none is given, with every setting that is no default.

    Passed-through properties are not, they may be secret: they come from the settings file it names, or
    from the environment.
    """
    words = ["dispatcher", *(command or ("topics", "ensure"))]
    if in_force.config is not None:
        words += ["--config", str(in_force.config)]
    for name in _REPEATED:
        value = getattr(in_force.settings, name)
        if value != Settings.model_fields[name].default:
            words += [flag_name(name), str(value)]
    return shlex.join(words)


@contextmanager
def mended_by(in_force: InForce) -> Iterator[None]:
    """Give a TopicsUnfit from inside the command that mends these topics."""
    try:
        yield
    except TopicsUnfit as error:
        raise TopicsUnfit(error.faults, mend_command(in_force)) from error


def patience_of(settings: Settings) -> float:
    """Return how many seconds a command that ends waits for Kafka's answer."""
    return _PATIENCE_SECONDS if settings.wait_seconds is None else max(settings.wait_seconds, 1.0)


def _cluster(settings: Settings) -> KafkaTopics:
    return KafkaTopics(connection_of(settings), patience_of(settings))
