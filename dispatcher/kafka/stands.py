"""Where the shards of an installation stand, by the last position read of each ledger partition."""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import Message

from dispatcher.core.codec import CURSOR_KEY, decode
from dispatcher.core.ledger import Position
from dispatcher.errors import LedgerUnfit
from dispatcher.kafka.following import Following

_MEASURED_EVERY_S = 1.0


class Stands:
    """Filled by the thread that reads the ledgers along; any thread may ask."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, bytes]] = {}
        """Offset and value of the last position of each partition."""
        self._decoded: dict[int, tuple[int, Position | None]] = {}
        self._lags: dict[int, int] = {}
        self._next_measure = 0.0

    def note(self, message: Message) -> None:
        """Take a record in; a partition that is read again from the beginning had later ones before."""
        if message.key() != CURSOR_KEY:
            return
        shard, offset, value = message.partition() or 0, message.offset() or 0, message.value()
        if value is not None and offset >= self._last.get(shard, (0, b""))[0]:
            self._last[shard] = (offset, value)

    def measure(self, following: Following, shards: Iterable[int]) -> None:
        """See every second how far the reading is behind."""
        now = time.monotonic()
        if now >= self._next_measure:
            self._next_measure = now + _MEASURED_EVERY_S
            self._lags = {shard: following.lag(shard) for shard in shards}

    def position_of(self, shard: int) -> Position | None:
        """Return where a shard stood by the last record read; None when that is not known."""
        last = self._last.get(shard)
        if last is None:
            return None
        known = self._decoded.get(shard)
        if known is None or known[0] != last[0]:
            known = self._decoded[shard] = (last[0], _position(last[1]))
        return known[1]

    def lags(self) -> dict[int, int]:
        """Return how many records of each partition were not read yet, as far as that is known."""
        return self._lags


def _position(value: bytes) -> Position | None:
    try:
        fact = decode(CURSOR_KEY, value)
    except LedgerUnfit:
        return None
    return fact if isinstance(fact, Position) else None
