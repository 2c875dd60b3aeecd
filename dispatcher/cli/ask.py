"""`dispatcher adopt` and `dispatcher accept-clock`: a word to every shard, and what they answer."""

from __future__ import annotations

import contextlib
import json
import uuid

import click

from dispatcher import logs
from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.show import waiting, write_json
from dispatcher.cli.topics import connection_of, mended_by
from dispatcher.core.command import Command, CommandType, encode_command
from dispatcher.core.message import TopicNames
from dispatcher.errors import DispatcherError
from dispatcher.kafka.live import CommandWriter, FireReader
from dispatcher.service import Deadline
from dispatcher.settings import InForce

_SETTINGS = ("bootstrap_servers", "prefix", "shards", "log_level", "log_format", "kafka")
_KAFKA_SECONDS = 10.0
_timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for Kafka and the answers of the shards.",
)


@click.command(
    short_help="Let a schedule file that is held take force.",
    epilog=example("dispatcher adopt --bootstrap-servers localhost:9092"),
)
@_timeout
@settings_options(*_SETTINGS)
@json_option
def adopt(in_force: InForce, timeout: float, *, as_json: bool) -> None:
    """Let a schedule file that is held take force: one that removes many jobs, or a superseded one.

    Exits with 1 when no shard answers in time or none held a file.
    """
    _ask(in_force, "adopt", timeout, as_json=as_json, idle="no shard holds a file")


@click.command(
    name="accept-clock",
    short_help="Let shards held by a jump of the clock go on.",
    epilog=example("dispatcher accept-clock --bootstrap-servers localhost:9092"),
)
@_timeout
@settings_options(*_SETTINGS)
@json_option
def accept_clock(in_force: InForce, timeout: float, *, as_json: bool) -> None:
    """Let shards that were held because the clock jumped go on by the clock as it is now.

    Fires between the last committed one and now are then missed fires, settled by `catchUp`. Exits with 1
    when no shard answers in time or none was held.
    """
    _ask(in_force, "accept-clock", timeout, as_json=as_json, idle="no shard is held by its clock")


def _ask(in_force: InForce, kind: CommandType, timeout: float, *, as_json: bool, idle: str) -> None:
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    connection, topics = connection_of(settings), TopicNames(settings.prefix)
    command = Command(kind, str(uuid.uuid4()))
    deadline = Deadline(timeout)
    with mended_by(in_force):
        reader = FireReader(connection, [topics.events], None, min(_KAFKA_SECONDS, timeout))
    writer = CommandWriter(connection, topics.commands)
    with contextlib.closing(reader), contextlib.closing(writer), waiting(f"Asking the shards to {kind}"):
        seconds = min(_KAFKA_SECONDS, deadline.left())
        writer.write(encode_command(command), range(settings.shards), seconds)
        answers = _answers(reader, command, settings.shards, deadline)
    obeyed = sorted(shard for shard, done in answers.items() if done)
    silent = sorted(set(range(settings.shards)) - answers.keys())
    if as_json:
        write_json({"command": kind, "id": command.id, "done": obeyed, "silent": silent})
    elif obeyed:
        click.echo(f"{kind}: done by shards {', '.join(map(str, obeyed))}")
    if silent:
        raise DispatcherError(
            f"{kind}: shards {', '.join(map(str, silent))} did not answer within {timeout:g} s; "
            "they will when a dispatcher runs, the command is kept"
        )
    if not obeyed:
        raise DispatcherError(f"{kind}: nothing to do, {idle}")


def _answers(reader: FireReader, command: Command, shards: int, deadline: Deadline) -> dict[int, bool]:
    """Return, by shard, whether it had something to do, of the shards that answered in time."""
    answers: dict[int, bool] = {}
    while len(answers) < shards and deadline.left():
        for seen in reader.take(min(0.5, deadline.left())):
            headers = dict(seen.headers)
            ident = headers.get("ce_id", b"").decode(errors="replace")
            if ident == f"command.obeyed/{seen.partition}/{command.id}" and seen.value is not None:
                answers[seen.partition] = bool(json.loads(seen.value)["done"])
    return answers
