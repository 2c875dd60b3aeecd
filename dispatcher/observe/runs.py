"""Runs: what workers and shards tell of them, counted in the bytes of their fires.

Each committed fire is to end in one terminal event, and in one more for each redrive. Events about one fire
all lie in one partition, and a redrive comes before the end that it brings: however far the events were read,
there are never too many ends of a fire that is as it should be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dispatcher.core.log_record import Record
from dispatcher.observe import marks
from dispatcher.observe.attempts import Attempts, Triggered
from dispatcher.observe.instants import instant_of
from dispatcher.observe.shard_history import History
from dispatcher.observe.slots import Slots
from dispatcher.observe.verdict import Place

_ENDS = {b"run.succeeded", b"run.dead", b"run.cancelled", b"run.expired", b"run.skipped"}
_MOST_PLACES = 1_000
_REDELIVERED = b'"redelivered":'


@dataclass(frozen=True, slots=True)
class Told:
    """An event about a run."""

    kind: bytes
    fire: bytes
    attempt: int
    by_worker: bool
    record: Record


class Runs:
    """Counts the events about runs of the fires in a window."""

    def __init__(
        self,
        history: History,
        slots: Slots,
        row: bytearray,
        triggered: Triggered,
        attempts: Attempts,
    ) -> None:
        self._workers = f"/{history.prefix}/workers/".encode()
        self._slots = slots
        self._row = row
        self._triggered = triggered
        self._attempts = attempts
        self.redelivered = 0
        """Runs that had been begun before, by a worker that did not end them."""
        self.reasons: dict[str, int] = {}
        """Why fires that commands asked for were skipped."""
        self.later: dict[bytes, list[Place]] = {}
        """Where ends beyond the first lie, of so many fires."""

    def event(self, record: Record) -> None:
        """Count a record of the events topic. Raises ValueError, LookupError or TypeError if it is broken."""
        headers = dict(record.headers)
        fire, kind = headers.get("fire"), headers.get("ce_type", b"")
        if fire is None or "attempt" not in headers or not kind.startswith(b"run."):
            return
        by_worker = headers.get("ce_source", b"").startswith(self._workers)
        self._take(Told(kind, fire, int(headers["attempt"]), by_worker, record), headers)

    def _take(self, told: Told, headers: Mapping[str, bytes]) -> None:
        place = self._slots.locate(told.fire)
        if place < 0 and told.fire not in self._triggered.marks:
            return
        if told.kind in _ENDS:
            self._end(told, place)
        elif told.kind == b"run.retrying":
            due = instant_of(json.loads(told.record.value or b"")["retryAt"])
            self._attempts.asked(told.fire, told.attempt + 1, told.record.partition, due)
        elif told.kind == b"run.redriven":
            due = instant_of(headers["ce_time"].decode())
            self._attempts.asked(told.fire, told.attempt, told.record.partition, due)
            self._change(told.fire, place, marks.redriven)
        if told.by_worker and told.kind != b"run.started":
            _, _, rest = (told.record.value or b"").partition(_REDELIVERED)
            self.redelivered += rest.startswith(b"true")

    def _end(self, told: Told, place: int) -> None:
        """Count an end; of what a shard withheld it is one only if the fire was sent before."""
        if not told.by_worker:
            if told.attempt == 1:
                self._withheld(told)
                return
            self._attempts.dropped(told.fire, told.attempt)
        byte = self._change(told.fire, place, marks.ended)
        if marks.balance(byte) > 1 and (told.fire in self.later or len(self.later) < _MOST_PLACES):
            where = Place(told.record.topic, told.record.partition, told.record.offset)
            self.later.setdefault(told.fire, []).append(where)

    def _withheld(self, told: Told) -> None:
        """Count a fire that a command asked for as skipped; one of the plan has a skip of its own."""
        byte = self._triggered.marks.get(told.fire)
        if byte is not None:
            self._triggered.marks[told.fire] = marks.SKIPPED[byte]
            data = json.loads(told.record.value or b"")
            reason = "cancelled" if told.kind == b"run.cancelled" else str(data["reason"])
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def _change(self, fire: bytes, place: int, change: Callable[[int], int]) -> int:
        if place < 0:
            byte = self._triggered.marks[fire] = change(self._triggered.marks[fire])
        else:
            byte = self._row[place] = change(self._row[place])
        return byte
