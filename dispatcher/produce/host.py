"""The shards of this process, and the way in for change sets, commands and looks at the file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import structlog

from dispatcher.core.command import BadCommandError, decode_command
from dispatcher.core.event import Event
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.schedule import ChangeSet, ShardBase
from dispatcher.core.shard import Shard
from dispatcher.core.shard_figures import HostFigures
from dispatcher.errors import DispatcherError
from dispatcher.produce.counting import Counting
from dispatcher.produce.health import Standing
from dispatcher.produce.shard_thread import Letter, ShardThread
from dispatcher.produce.wiring import Surroundings
from dispatcher.service import Deadline, Motion

_WAIT_FOR_ALL_MS = 3_000


class ShardHost:
    """Starts and stops shard threads as ownership says, and hands each what is meant for it.

    `copy` gives what a tail knows of a shard's ledger, `release` takes a shard that ended here.
    `hopeless` is told of a refused file when no shard has a schedule in force to go on with.
    """

    def __init__(
        self,
        around: Surroundings,
        *,
        copy: Callable[[int], LedgerCopy],
        release: Callable[[int], None],
        hopeless: Callable[[DispatcherError], None],
    ) -> None:
        self._around = around
        self._copy = copy
        self._release = release
        self._hopeless = hopeless
        self._threads: dict[int, ShardThread] = {}
        self._counting: dict[int, Counting] = {}
        self._taken = self._given_up = self._refused = self._refused_since = self._taken_at = 0
        self._refused_last: tuple[str, str] | None = None
        self._lock = threading.Lock()
        self._say = structlog.get_logger()

    # Ownership.

    def take(self, shards: list[int]) -> None:
        """Start a thread for each shard that is now this process's."""
        with self._lock:
            for number in shards:
                if number not in self._threads:
                    counting = self._counting.setdefault(number, self._around.counting())
                    counting.show(None)
                    thread = ShardThread(number, self._around, self._copy(number), counting)
                    self._threads[number] = thread
                    self._taken += 1
                    thread.start()
            self._taken_at = self._around.clock.read().monotonic

    def give_up(self, shards: list[int], deadline: Deadline) -> None:
        """End the threads of shards that are no longer this process's, after their present transaction."""
        with self._lock:
            ending = [self._threads.pop(number) for number in shards if number in self._threads]
            self._given_up += len(ending)
        for thread in ending:
            thread.stop()
        for thread in ending:
            if not thread.join(deadline):
                self._say.error("shard.stuck", shard=thread.number, why="its transaction did not end in time")
            self._release(thread.number)

    def owned(self) -> list[int]:
        """Return the numbers of the shards at work here."""
        with self._lock:
            return sorted(self._threads)

    def standings(self) -> tuple[Standing, ...]:
        """Return how each shard at work here stands."""
        with self._lock:
            threads = [self._threads[number] for number in sorted(self._threads)]
        return tuple(
            Standing(one.number, one.taken, one.sure_at, one.counting.now.revision) for one in threads
        )

    def base(self, shard: int) -> ShardBase | None:
        """Return what is in force in a shard at work here, None while that is not known."""
        with self._lock:
            thread = self._threads.get(shard)
        return None if thread is None else thread.base

    def figures(self) -> HostFigures:
        """Return what the shards show of themselves. Any thread may ask."""
        with self._lock:
            at_work = sorted(self._threads)
            counting = dict(self._counting)
        return HostFigures(
            {number: counting[number].now for number in at_work},
            {number: one.counts for number, one in counting.items()},
            self._taken,
            self._given_up,
            self._refused,
            self._refused_since,
        )

    def motions(self) -> dict[str, Motion]:
        """Return whether the thread of each shard at work here moves on, by its name."""
        with self._lock:
            return {f"shard {number}": self._threads[number].motion for number in sorted(self._threads)}

    # What the feed brings.

    def bases(self) -> tuple[ShardBase, ...]:
        """Return what is in force in each shard that is ready to change.

        Shards just assigned are waited for, so that the file is compared once for all of them.
        """
        with self._lock:
            threads = list(self._threads.values())
        fresh = self._around.clock.read().monotonic - self._taken_at < _WAIT_FOR_ALL_MS
        if fresh and not all(thread.taken for thread in threads):
            return ()
        return tuple(base for base in [thread.base for thread in threads] if base is not None)

    def apply(self, change: ChangeSet) -> None:
        """Hand a change set to its shard."""
        self._post(change.shard, partial(Shard.offer, change=change))

    def looked(self, shards: tuple[int, ...], revision: str) -> None:
        """Tell shards that the file was compared with what they have in force."""
        if revision and (self._refused_last is None or revision != self._refused_last[0]):
            self._refused_last, self._refused_since = None, 0
        for number in shards:
            self._post(number, partial(Shard.looked, revision=revision))

    def refused(self, revision: str, error: DispatcherError) -> None:
        """Record a file that cannot be used; it is the end when no schedule is in force."""
        if self._refused_last != (revision, str(error)):
            self._refused_last = (revision, str(error))
            self._refused += 1
            self._refused_since = self._refused_since or self._around.clock.read().now
        bases = self.bases()
        if bases and all(not base.revision for base in bases):
            self._hopeless(error)
            return
        problems = str(error).splitlines()
        data = {"revision": revision, "count": len(problems), "problems": problems[:100]}
        for number in sorted(base.shard for base in bases)[:1]:
            event = Event("schedule.refused", f"schedule.refused/{number}/{revision}", "", data)
            self._post(number, partial(Shard.tell, event=event))
        self.looked(tuple(base.shard for base in bases), revision)

    # What the commands topic brings.

    def command(self, shard: int, next_offset: int, value: bytes | None) -> None:
        """Hand a command record to its shard; one that cannot be read becomes an event."""
        try:
            command = decode_command(value)
        except BadCommandError as error:
            data = {"why": str(error), "offset": next_offset - 1}
            event = Event("command.refused", f"command.refused/{shard}/{next_offset - 1}", "", data)
            self._say.warning("command.refused", shard=shard, **data)
            self._post(shard, partial(Shard.tell, event=event))
            command = None
        self._post(shard, partial(Shard.take, command=command, next_offset=next_offset))

    def commands_read(self, shard: int) -> None:
        """Tell a shard that every command that waited for it was handed over."""
        self._post(shard, Shard.commands_read)

    def commands_lost(self, shard: int, count: int) -> None:
        """Record that retention took commands before their shard read them."""
        self._say.error("commands.lost", shard=shard, count=count)
        event = Event("commands.lost", f"commands.lost/{shard}/{count}", "", {"count": count})
        self._post(shard, partial(Shard.tell, event=event))

    def _post(self, number: int, letter: Letter) -> None:
        with self._lock:
            thread = self._threads.get(number)
        if thread is not None:
            thread.post(letter)
