"""Finding the message that cannot be sent, so that one bad job never wedges its shard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.batch import Batch, fire_of
from dispatcher.errors import DispatcherError, Fenced, TransactionFailed, Unsendable

_PATIENCE = 2


@dataclass(frozen=True, slots=True)
class Refused:
    """A fire whose message is refused, and why."""

    fire: str
    reason: str


class Culprits:
    """Remembers what was tried last, and whom a failure is to be blamed on."""

    def __init__(self) -> None:
        self.isolate = False
        """Whether the next transaction is to find out which of its messages is refused."""
        self.searching = False
        """Whether the next batch is to be smaller, to corner the culprit."""
        self._batch: Batch | None = None
        self._alone: tuple[str, int] = ("", 0)

    def trying(self, batch: Batch) -> None:
        """Note the batch that is about to be written."""
        self._batch = batch

    def committed(self) -> None:
        """Note that it was written."""
        self._batch = None
        self.isolate = self.searching = False

    def blame(self, error: DispatcherError, probe: Callable[[], None]) -> Refused | None:
        """Return the fire that a failure is to be blamed on, if it can be told now.

        A time-out may be the broker's fault: a fire that fails alone twice is blamed only after `probe`,
        a transaction without fires, has gone through.
        """
        batch, self._batch = self._batch, None
        if (
            batch is None
            or not batch.fires
            or isinstance(error, Fenced)
            or not isinstance(error, TransactionFailed)
        ):
            return None
        if isinstance(error, Unsendable):
            return self._named(batch, error)
        self.searching = True
        if batch.fires > 1:
            return None
        fire = fire_of(batch.outgoing[0]) or ""
        self._alone = (fire, self._alone[1] + 1 if self._alone[0] == fire else 1)
        if self._alone[1] < _PATIENCE:
            return None
        probe()
        return Refused(fire, str(error))

    def _named(self, batch: Batch, error: Unsendable) -> Refused | None:
        index = 0 if error.index is None and self.isolate and batch.fires == 1 else error.index
        fire = None if index is None else fire_of(batch.outgoing[index])
        if fire is not None:
            return Refused(fire, error.reason)
        self.isolate = self.searching = error.index is None
        return None
