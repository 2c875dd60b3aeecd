"""A run in a worker's hands, from its delivery to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from dispatcher.core.instant import Instant
from dispatcher.core.job import Lane
from dispatcher.core.outcome import Outcome
from dispatcher.core.run import Run
from dispatcher.ports import Place
from dispatcher.work.handling import Cancel, Handler


class Word(Enum):
    """Why a run was told to end, which decides what its end means."""

    CANCELLED = auto()
    """Somebody asked for it: that is its end."""
    OVERDUE = auto()
    """It took too long: a failure, and perhaps tried again."""
    HANDED_BACK = auto()
    """The worker stops, or its partition goes to another: it is delivered again."""


@dataclass(slots=True, eq=False)
class Held:
    """A run that was delivered and has not ended. The consumer thread owns it; a seat only runs it.

    `started` is set by the seat once, before the handler is called; `word` by the consumer thread, before it
    tells the handler to end. `given_up`: its end no longer matters. `unended`: another life may have begun it
    and was not seen to end it.
    """

    run: Run
    lane: Lane
    handler: Handler
    payload: Any
    unended: bool = False
    cancel: Cancel = field(default_factory=Cancel)
    started: Instant | None = None
    started_monotonic: int = 0
    told: bool = False
    word: Word | None = None
    told_to_end: int = 0
    given_up: bool = False
    seat_is_free: bool = False
    """Whether its seat was given free already: by the seat, or because it was written off."""

    @property
    def place(self) -> Place:
        """The partition it lies in."""
        return self.run.delivery.place

    @property
    def offset(self) -> int:
        """Its place in that partition."""
        return self.run.delivery.offset

    def end(self, word: Word, reason: str, monotonic: int) -> None:
        """Tell it to end, and note why. The first word counts."""
        if self.word is None:
            self.word, self.told_to_end = word, monotonic
            self.cancel.set(reason)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a seat brings back: the outcome (None: it came too late to be begun), and its times."""

    held: Held
    outcome: Outcome | None
    started: Instant
    ended: Instant
