"""The commands of a shard: which of them may be obeyed now, what each does, and what is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dispatcher.core.backlog import given_up
from dispatcher.core.batch import Draft, Limits
from dispatcher.core.changing import Changing
from dispatcher.core.command import Command
from dispatcher.core.event import Event
from dispatcher.core.firing import Firing, missed_until
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.ledger import Cursor
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
        *,
        accept_clock: Callable[[], bool],
        limits: Limits,
    ) -> None:
        self._shard = shard
        self._state = state
        self._firing = firing
        self._changing = changing
        self._accept_clock = accept_clock
        self._limits = limits
        self._letters: list[_Letter] = []
        self._known: dict[str, None] = {}

    def take(self, command: Command | None, next_offset: int) -> None:
        """Take a command (None: a record that was none) and the offset behind it; one read before is left."""
        if next_offset > self._read_to():
            self._letters.append(_Letter(command, next_offset))

    def committed(self) -> None:
        """Forget what the committed position lies behind."""
        read_to = self._read_to()
        self._letters = [letter for letter in self._letters if letter.after > read_to]

    def draft(self, now: Instant, into: Draft, *, held: bool) -> bool:
        """Obey what may be obeyed into a draft; return whether there was anything.

        While the clock holds the shard nobody knows what was missed: giving it up waits for the word that
        accepts the clock, and is obeyed together with that.
        """
        letters = self._due(now, held=held)
        if not letters:
            return False
        for letter in sorted(letters, key=_gives_up):
            if letter.command is not None:
                self._obey(letter, letter.command, now, into)
        into.move(commands=letters[-1].after)
        return True

    def _read_to(self) -> int:
        """Return the offset up to which commands were obeyed, by the committed position."""
        position = self._state.position
        return 0 if position is None or position.commands is None else position.commands

    def _due(self, now: Instant, *, held: bool) -> list[_Letter]:
        if not held or any(_accepts(letter.command, now) for letter in self._letters):
            return self._letters
        stop = next((at for at, one in enumerate(self._letters) if _gives_up(one)), len(self._letters))
        return self._letters[:stop]

    def _obey(self, letter: _Letter, command: Command, now: Instant, into: Draft) -> None:
        if letter.answer is None:
            if command.id in self._known:
                return
            self._learn(command.id)
            letter.answer = self._answer(command, now, into)
        elif command.type == "drop-missed" and letter.answer.type == "command.obeyed":
            self._drop(command, now, into)
        into.events.append(letter.answer)

    def _answer(self, command: Command, now: Instant, into: Draft) -> Event:
        why = self._refusal(command, now)
        if why is not None:
            ident = f"command.refused/{self._shard}/{command.id}"
            return Event("command.refused", ident, "", {"command": command.type, "why": why})
        held = self._changing.held
        data: dict[str, Any] = {"command": command.type, "done": False}
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
        data["cursor"] = to_text(into.position.cursor.due)
        return Event("command.obeyed", f"command.obeyed/{self._shard}/{command.id}", "", data)

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


def _accepts(command: Command | None, now: Instant) -> bool:
    if command is None or command.type != "accept-clock":
        return False
    return command.expires is None or now < command.expires
