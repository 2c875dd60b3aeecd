"""Asking the shards over Kafka, and what they answer: what every command to them has in common."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from dispatcher.cli.options import span
from dispatcher.cli.show import waiting, write_json
from dispatcher.cli.topics import connection_of, mended_by
from dispatcher.clock import SystemClock
from dispatcher.core.command import Command, encode_command
from dispatcher.core.instant import Instant
from dispatcher.core.message import TopicNames
from dispatcher.errors import DispatcherError
from dispatcher.kafka.live import CommandWriter, FireReader, Seen
from dispatcher.service import Deadline
from dispatcher.settings import InForce

_KAFKA_SECONDS = 10.0

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for Kafka and the answers of the shards.",
)


expires_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--expires",
    "expires_ms",
    type=span,
    default="10m",
    show_default=True,
    metavar="SPAN",
    help="How long the command may wait for a dispatcher that obeys it.",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a shard made of a command: whether there was anything to do, or why it refused."""

    done: bool
    refused: str | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers by shard, and the shards that did not answer within the time."""

    of: Mapping[int, Answer]
    silent: tuple[int, ...]

    @property
    def done(self) -> list[int]:
        """The shards that had something to do, and did it."""
        return sorted(shard for shard, answer in self.of.items() if answer.done)

    @property
    def refused(self) -> dict[int, str]:
        """The shards that refused, and why."""
        return {shard: one.refused for shard, one in sorted(self.of.items()) if one.refused is not None}


class Asker:
    """Writes commands and waits for their answers. One deadline bounds all of it."""

    def __init__(self, in_force: InForce, timeout: float) -> None:
        self._shards = in_force.settings.shards
        self._timeout = timeout
        self._deadline = Deadline(timeout)
        self._heard: list[Seen] = []
        connection, topics = connection_of(in_force.settings), TopicNames(in_force.settings.prefix)
        with mended_by(in_force):
            self._reader = FireReader(connection, [topics.events], None, min(_KAFKA_SECONDS, timeout))
        self._writer = CommandWriter(connection, topics.commands)

    def ask(self, command: Command) -> Answers:
        """Ask every shard the same."""
        return self.ask_each(dict.fromkeys(range(self._shards), command))

    def ask_each(self, commands: Mapping[int, Command]) -> Answers:
        """Ask each of some shards its own. Raises KafkaUnreachable when the commands cannot be written."""
        for shard, command in commands.items():
            seconds = min(_KAFKA_SECONDS, self._deadline.left())
            self._writer.write(encode_command(command), [shard], seconds)
        answers: dict[int, Answer] = {}
        while len(answers) < len(commands) and self._deadline.left():
            for seen in self._hear():
                asked = commands.get(seen.partition)
                found = None if asked is None else _answer(seen, asked)
                if found is not None:
                    answers[seen.partition] = found
        return Answers(answers, tuple(sorted(commands.keys() - answers.keys())))

    def listen(self, wanted: Callable[[Seen], bool]) -> list[Seen]:
        """Return the events that are wanted of all since the asking began; wait for the first in time."""
        found = list(filter(wanted, self._heard))
        while not found and self._deadline.left():
            found = list(filter(wanted, self._hear()))
        return found

    def _hear(self) -> list[Seen]:
        found = self._reader.take(min(0.5, self._deadline.left()))
        self._heard += found
        return found

    def unanswered(self, what: str, silent: Iterable[int], why: str) -> DispatcherError:
        """Return the error that some shards did not answer."""
        return DispatcherError(f"{what}: {_shards(silent)} did not answer within {self._timeout:g} s; {why}")

    def close(self) -> None:
        """Let go of the clients."""
        self._reader.close()
        self._writer.close()


@contextlib.contextmanager
def asking(in_force: InForce, timeout: float, label: str) -> Iterator[Asker]:
    """Give an asker, and show on a terminal that its answers are waited for."""
    with contextlib.closing(Asker(in_force, timeout)) as asker, waiting(label):
        yield asker


def expiry(expires_ms: int) -> Instant:
    """Return until when a command that is given now may wait."""
    return SystemClock().read().now + expires_ms


def new_id() -> str:
    """Return an id that no other command has."""
    return str(uuid.uuid4())


def tell(asker: Asker, command: Command, answers: Answers, *, idle: str, as_json: bool) -> None:
    """Print what the shards made of a command; raise when not all did something, or nobody did anything."""
    kind = command.type
    if as_json:
        refused = {str(shard): why for shard, why in answers.refused.items()}
        told = {"command": kind, "id": command.id, "done": answers.done}
        write_json({**told, "refused": refused, "silent": list(answers.silent)})
    elif answers.done:
        click.echo(f"{kind}: done by {_shards(answers.done)}")
    if answers.refused:
        by_reason: dict[str, list[int]] = {}
        for shard, why in answers.refused.items():
            by_reason.setdefault(why, []).append(shard)
        told_why = "; ".join(f"{_shards(shards)}: {why}" for why, shards in by_reason.items())
        raise DispatcherError(f"{kind}: refused by {told_why}")
    if answers.silent:
        raise asker.unanswered(
            kind, answers.silent, "they will when a dispatcher runs, the command is kept" + until(command)
        )
    if not answers.done:
        raise DispatcherError(f"{kind}: nothing to do, {idle}")


def until(command: Command) -> str:
    """Return, to be said behind that a command is kept, until when."""
    return "" if command.expires is None else " until it expires"


def _shards(numbers: Iterable[int]) -> str:
    return f"shards {', '.join(map(str, numbers))}"


def _answer(seen: Seen, command: Command) -> Answer | None:
    ident = dict(seen.headers).get("ce_id", b"").decode(errors="replace")
    kind, _, rest = ident.partition("/")
    if rest != f"{seen.partition}/{command.id}" or seen.value is None:
        return None
    data = json.loads(seen.value)
    if kind == "command.refused":
        return Answer(done=False, refused=data["why"], data=data)
    return Answer(bool(data["done"]), None, data) if kind == "command.obeyed" else None
