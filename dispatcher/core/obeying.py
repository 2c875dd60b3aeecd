"""The commands of a shard: which of them may be obeyed now, what each does, and what is answered."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from dispatcher.core.asked import OF_JOBS, Asked, Refused
from dispatcher.core.backlog import given_up
from dispatcher.core.batch import Draft, Limits
from dispatcher.core.changing import Changing
from dispatcher.core.command import Command
from dispatcher.core.event import Event
from dispatcher.core.firing import Firing, missed_until
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.ledger import Cursor
from dispatcher.core.message import MessageMaker
from dispatcher.core.state import ShardState

_IDS_KNOWN = 1_000


@dataclass(slots=True)
class _Letter:
    """A record of the commands topic (None: no command), the offset behind it, and its answer once known."""

    command: Command | None
    after: int
    answer: Event | None = None


class Obeying:
    """Obeys commands, each once, and answers in the transaction that moves the offset past them.

    Nothing is forgotten before that transaction is known to be committed. `accept_clock` releases a shard
    that is held by its clock and returns whether it was.
    """

    def __init__(
        self,
        shard: int,
        state: ShardState,
        firing: Firing,
        changing: Changing,
        maker: MessageMaker,
        *,
        accept_clock: Callable[[], bool],
        limits: Limits,
    ) -> None:
        self._shard = shard
        self._state = state
        self._firing = firing
        self._changing = changing
        self._maker = maker
        self._accept_clock = accept_clock
        self._limits = limits
        self._letters: list[_Letter] = []
        self._known: dict[str, None] = {}

    @property
    def waiting(self) -> bool:
        """Whether there are commands that were not obeyed yet."""
        return bool(self._letters)

    def take(self, command: Command | None, next_offset: int) -> None:
        """Take a command (None: a record that was none) and the offset behind it; one read before is left."""
        if next_offset > self._read_to():
            self._letters.append(_Letter(command, next_offset))

    def committed(self) -> None:
        """Forget what the committed position lies behind."""
        if self._letters:
            del self._letters[: bisect_right(self._letters, self._read_to(), key=_after)]

    def draft(self, now: Instant, into: Draft, *, held: bool) -> bool:
        """Obey what may be obeyed into a draft, a batch at most; return whether there was anything.

        While the clock holds the shard nobody knows what time it is: giving up what was missed, and whatever
        is asked of jobs and fires, waits for the word that accepts the clock.
        """
        if not self._letters:
            return False
        if held:
            held = not self._accept(now, into)
        letters = self._due(held=held)
        if not letters:
            return False
        asked = Asked(self._state, self._maker, now, into)
        for letter in sorted(letters, key=_gives_up):
            if letter.command is not None:
                self._obey(letter, letter.command, asked, now, into)
        into.move(commands=letters[-1].after)
        return True

    def _read_to(self) -> int:
        """Return the offset up to which commands were obeyed, by the committed position."""
        position = self._state.position
        return 0 if position is None or position.commands is None else position.commands

    def _accept(self, now: Instant, into: Draft) -> bool:
        """Obey at once what accepts the clock, wherever it stands: what stands before it may wait for it."""
        found = False
        for letter in self._letters:
            if letter.command is not None and _accepts(letter.command, now):
                self._settle(letter, letter.command, now, into)
                found = True
        return found

    def _due(self, *, held: bool) -> list[_Letter]:
        """Return the commands of the next transaction, as many as it may take: some carry a whole message."""
        letters = self._letters[: self._limits.batch]
        if held:
            letters = list(takewhile(lambda letter: not _awaits_clock(letter), letters))
        total = 0
        for place, letter in enumerate(letters):
            total += _size(letter.command)
            if total > self._limits.stage_bytes:
                return letters[: max(1, place)]
        return letters

    def _obey(self, letter: _Letter, command: Command, asked: Asked, now: Instant, into: Draft) -> None:
        if command.type in OF_JOBS:
            answer = self._of_job(command, asked, now, into)
            if answer is not None:
                into.events.append(answer)
            return
        if letter.answer is None:
            self._settle(letter, command, now, into)
        elif command.type == "drop-missed" and letter.answer.type == "command.obeyed":
            self._drop(command, now, into)
        if letter.answer is not None:
            into.events.append(letter.answer)

    def _settle(self, letter: _Letter, command: Command, now: Instant, into: Draft) -> None:
        """Find a command's answer, which stays the same from then on; one known by its id has none."""
        if letter.answer is None and command.id not in self._known:
            self._learn(command.id)
            letter.answer = self._answer(command, now, into)

    def _of_job(self, command: Command, asked: Asked, now: Instant, into: Draft) -> Event | None:
        """Obey a command about a job or a fire; return the answer, if anybody waits for one.

        What it does lies in the draft alone: if that is not committed, it is obeyed anew.
        """
        data, why = {}, self._refusal(command, now)
        if why is None:
            try:
                data = asked.obey(command)
            except Refused as refused:
                why = str(refused)
        if why is not None:
            asked.refused(command, why)
            return self._refused(command, why)
        return None if command.origin == "pool" else self._obeyed(command, data, into)

    def _answer(self, command: Command, now: Instant, into: Draft) -> Event:
        why = self._refusal(command, now)
        if why is not None:
            return self._refused(command, why)
        held = self._changing.held
        data: dict[str, Any] = {"done": False}
        match command.type:
            case "adopt":
                data["done"] = self._changing.adopt()
            case "accept-clock":
                data["done"] = self._accept_clock()
            case "drop-missed":
                data["done"] = self._drop(command, now, into)
            case "ask-held":
                data["done"] = held is not None
        if held is not None and command.type in ("adopt", "ask-held"):
            data["held"] = {"revision": held.change.revision, "reason": held.reason, "why": held.text}
        return self._obeyed(command, data, into)

    def _refused(self, command: Command, why: str) -> Event:
        ident = f"command.refused/{self._shard}/{command.id}"
        return Event("command.refused", ident, "", {"command": command.type, "why": why})

    def _obeyed(self, command: Command, data: dict[str, Any], into: Draft) -> Event:
        ident = f"command.obeyed/{self._shard}/{command.id}"
        told = {"command": command.type, **data, "cursor": to_text(into.position.cursor.due)}
        return Event("command.obeyed", ident, "", told)

    def _refusal(self, command: Command, now: Instant) -> str | None:
        """Return why a command is not obeyed, or None."""
        if command.expires is not None and now >= command.expires:
            return f"it expired at {to_text(command.expires)}, this shard's clock says {to_text(now)}"
        held = self._changing.held
        wanted = command.revision
        if command.type == "adopt" and held is not None and wanted not in (None, held.change.revision):
            return f"the file that is held has revision {held.change.revision}, the command is for {wanted}"
        return None

    def _drop(self, command: Command, now: Instant, into: Draft) -> bool:
        """Mark what is missed as given up; return whether there is any of it. Nothing else changes."""
        assert command.until is not None
        if self._firing.behind(now) and into.position.cursor < Cursor(now):
            missed_until(into, now, self._limits.catch_up_most)
        before = into.position.backlog
        into.move(backlog=given_up(before, command.until))
        return into.position.backlog != before

    def _learn(self, ident: str) -> None:
        self._known[ident] = None
        if len(self._known) > _IDS_KNOWN:
            del self._known[next(iter(self._known))]


def _gives_up(letter: _Letter) -> bool:
    return letter.command is not None and letter.command.type == "drop-missed"


def _awaits_clock(letter: _Letter) -> bool:
    command = letter.command
    return command is not None and (command.type == "drop-missed" or command.type in OF_JOBS)


def _accepts(command: Command, now: Instant) -> bool:
    return command.type == "accept-clock" and (command.expires is None or now < command.expires)


def _after(letter: _Letter) -> int:
    return letter.after


def _size(command: Command | None) -> int:
    return 0 if command is None or command.parcel is None else len(command.parcel.value)
