"""Having fires tried again: commands and marks, each with its other in one transaction, and the answers."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatcher.cli.letters import Letters, Place
from dispatcher.cli.topics import connection_of, patience_of
from dispatcher.core.command import Command, encode_command
from dispatcher.core.dead_letter import letter_again
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.partitioner import shard_of
from dispatcher.errors import Unsendable
from dispatcher.kafka.live import FireReader, Seen
from dispatcher.kafka.together import TogetherWriter
from dispatcher.service import Deadline
from dispatcher.settings import InForce

MOST_TOGETHER = 200
MOST_BYTES = 4 * 1024 * 1024
_GLANCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Redrive:
    """A fire to be tried again: the command, and for a dead letter its place and the mark that settles it."""

    command: Command
    letter: Place | None = None
    mark: Outgoing | None = None

    def size(self) -> int:
        """Return about how many bytes it takes to write."""
        parcel = self.command.parcel
        return 0 if parcel is None else 2 * len(parcel.value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of redrives: those that shards refused, those they did not answer, and the unsendable.

    `repeated` are those that were asked for before, each with its attempt; None: its id asked for another.
    """

    refused: dict[str, str] = field(default_factory=dict)
    repeated: dict[str, int | None] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    unsendable: dict[str, str] = field(default_factory=dict)


class Redriver:
    """Writes redrives and waits for the answers of the shards."""

    def __init__(self, in_force: InForce, letters: Letters, timeout: float) -> None:
        connection = connection_of(in_force.settings)
        self._letters = letters
        self._topics = letters.topics
        self._timeout = timeout
        self._reader = FireReader(connection, [self._topics.events], None, patience_of(in_force.settings))
        self._writer = writer_of(in_force, letters.topics)
        self._waiting: dict[str, Place | None] = {}
        self._refused: dict[str, str] = {}
        self._repeated: dict[str, int | None] = {}
        self._unspent: set[Place] = set()
        """Letters that were settled for nothing."""
        self._unsendable: dict[str, str] = {}

    def send(self, redrives: Iterable[Redrive], rate: int | None) -> Outcome:
        """Have fires tried again, at most `rate` a second, and wait for the answers.

        A letter whose fire a shard refuses, or does not try again for its id was used before, is filed again.
        """
        for batch in _batches(redrives, MOST_TOGETHER if rate is None else min(rate, MOST_TOGETHER)):
            pause = Deadline(0.0 if rate is None else len(batch) / rate)
            self._write(batch)
            self._hear(pause)
        self._hear(Deadline(self._timeout), until_all=True)
        for ident in self._refused:
            self._was_for_nothing(self._waiting.pop(ident))
        self._file_again()
        return Outcome(self._refused, self._repeated, tuple(self._waiting), self._unsendable)

    def close(self) -> None:
        """Let go of the clients."""
        self._reader.close()
        self._writer.close()

    def _write(self, batch: Sequence[Redrive]) -> None:
        """Write a batch; if a record of it cannot be sent, one by one, so that the others are."""
        for one in batch:
            self._waiting[one.command.id] = one.letter
        try:
            self._writer.write([record for one in batch for record in self._records(one)])
        except Unsendable as error:
            if len(batch) > 1:
                for one in batch:
                    self._write([one])
                return
            self._waiting.pop(batch[0].command.id, None)
            self._unsendable[batch[0].command.id] = str(error)

    def _records(self, one: Redrive) -> Iterator[Outgoing]:
        job = one.command.job or ""
        shard = shard_of(job, self._letters.shards)
        yield self._topics.commands, encode_command(one.command), job.encode(), shard, None
        if one.mark is not None:
            yield one.mark

    def _hear(self, deadline: Deadline, *, until_all: bool = False) -> None:
        """Take in answers for as long as there is time, or until there are all of them."""
        while deadline.left() and not (until_all and self._waiting.keys() <= self._refused.keys()):
            for seen in self._reader.take(min(_GLANCE_SECONDS, deadline.left())):
                self._take(seen)

    def _take(self, seen: Seen) -> None:
        ident = dict(seen.headers).get("ce_id", b"").decode(errors="replace")
        kind, _, rest = ident.partition("/")
        asked = rest.partition("/")[2]
        if asked not in self._waiting or seen.value is None:
            return
        if kind == "command.obeyed":
            self._obeyed(asked, json.loads(seen.value))
        elif kind == "command.refused":
            self._refused[asked] = str(json.loads(seen.value)["why"])

    def _obeyed(self, asked: str, answer: dict[str, Any]) -> None:
        place = self._waiting.pop(asked)
        if answer.get("repeated"):
            attempt = self._repeated[asked] = answer.get("attempt")
            if attempt is None:
                self._was_for_nothing(place)

    def _was_for_nothing(self, place: Place | None) -> None:
        if place is not None:
            self._unspent.add(place)

    def _file_again(self) -> None:
        for letter in self._letters.whole(self._unspent) if self._unspent else ():
            self._writer.write([letter_again(self._topics, letter)])


def writer_of(in_force: InForce, topics: TopicNames) -> TogetherWriter:
    """Return a writer with an id of its own: no other process has it, so none is disturbed."""
    ident = f"{topics.prefix}-cli-{uuid.uuid4()}"
    return TogetherWriter(connection_of(in_force.settings), ident, topics.commands)


@contextlib.contextmanager
def redriver(in_force: InForce, letters: Letters, timeout: float) -> Iterator[Redriver]:
    """Give a redriver, and let go of its clients afterwards."""
    with contextlib.closing(Redriver(in_force, letters, timeout)) as made:
        yield made


def _batches(redrives: Iterable[Redrive], most: int) -> Iterator[list[Redrive]]:
    batch: list[Redrive] = []
    size = 0
    for one in redrives:
        if batch and (len(batch) >= most or size + one.size() > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size()
    if batch:
        yield batch
