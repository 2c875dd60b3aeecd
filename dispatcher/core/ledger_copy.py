"""What a process knows of a shard's ledger: raw until its end was reached once, a state from then on.

The first read keeps only the last record of each key and decodes those, so that a long ledger costs little
more than reading it. From then on every record is taken into the state as it comes, so that who takes the
shard finds it ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from dispatcher.core.codec import JOB_PREFIX, OWNER_KEY, Lines, decode
from dispatcher.core.job import JobReader
from dispatcher.core.ledger import Owner
from dispatcher.core.plan import Plan
from dispatcher.core.state import ShardState
from dispatcher.errors import LedgerUnfit

RawRecord = tuple[bytes, bytes | None]
"""Key and value of a ledger record."""


class LedgerCopy:
    """One shard's ledger up to the offset `next`. It has one owner at a time, and may be given away."""

    def __init__(self, reader: JobReader | None = None) -> None:
        self.next = 0
        """The offset to read on from."""
        self._reader = reader
        self._raw: dict[bytes, bytes] = {}
        self._lines: Lines = {}
        self._state: ShardState | None = None

    def take(self, records: Iterable[RawRecord], after: int) -> None:
        """Take in records in the order of the ledger; read on from `after`.

        Raises LedgerUnfit for one that cannot be read: then the copy is fit for nothing.
        """
        self.next = after
        if self._state is not None:
            self.decode()
            lines: Lines = {}
            self._state.read_on(decode(key, value, lines) for key, value in records)
            return
        raw = self._raw
        for key, value in records:
            if value is None:
                raw.pop(key, None)
            else:
                raw[key] = value

    def clear(self, first: int) -> None:
        """Forget all that was read; read from the offset `first`."""
        self.next, self._raw, self._state = first, {}, None
        self._lines.clear()

    def decode(self, most: int | None = None) -> bool:
        """Decode what was read, at most so many jobs (None: all); return whether that is done.

        Raises LedgerUnfit for a record that cannot be read.
        """
        raw = self._raw
        if self._state is None:
            state = ShardState(self._reader)
            others = [key for key in raw if not key.startswith(JOB_PREFIX)]
            state.restore(decode(key, raw[key]) for key in others)
            for key in others:
                del raw[key]
            self._state = state
        keys = list(raw if most is None else islice(raw, most))
        self._state.read_on(decode(key, raw.pop(key), self._lines) for key in keys)
        if not raw:
            self._lines.clear()
        return not raw

    def rehearse(self) -> None:
        """Plan once what is decoded, so that triggers know their next instants when the shard is taken."""
        if self.decoded and self._state is not None and self._state.position is not None:
            Plan(self._state.cursor(), self._state.records.values())

    @property
    def decoded(self) -> bool:
        """Whether all that was read is decoded."""
        return self._state is not None and not self._raw

    def owner(self) -> Owner | None:
        """Return the instance that last took the shard, None when that is not known or cannot be read."""
        if self._state is not None:
            return self._state.owner
        value = self._raw.get(OWNER_KEY)
        try:
            fact = None if value is None else decode(OWNER_KEY, value)
        except LedgerUnfit:
            return None
        return fact if isinstance(fact, Owner) else None

    def state(self) -> ShardState:
        """Return the state of all that was taken in. Raises LedgerUnfit for a record that cannot be read."""
        self.decode()
        assert self._state is not None
        return self._state
