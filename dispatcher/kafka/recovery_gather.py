"""What a look at an installation gathers of each shard, record by record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Message

from dispatcher.core.codec import IDENTITY_KEY, decode
from dispatcher.core.diagnosis import Sent, ShardFacts, misbelongs, without_instant
from dispatcher.core.instant import from_text
from dispatcher.core.ledger import Fact, Identity, Position
from dispatcher.core.message import FIRE_TYPE
from dispatcher.core.recovery import number_told
from dispatcher.core.state import ShardState
from dispatcher.errors import LedgerNewer, LedgerUnfit
from dispatcher.kafka.reading import headers_in

_APPLIED = ("schedule.applied", "ledger.recovered")


@dataclass(slots=True)
class Gathered:
    """What is known of one shard so far: its last ledger records by key, and what other topics tell of it.

    `older` takes what is read of the ledger after records that lie behind it; `settle` puts both in order.
    """

    first: int = 0
    events: int = 0
    commands: int | None = None
    open: bool = False
    records: dict[bytes, bytes] = field(default_factory=dict)
    older: dict[bytes, bytes] = field(default_factory=dict)
    sent: Sent | None = None
    applied: int = 0
    told: int = 0

    def note_ledger(self, message: Message, *, older: bool) -> None:
        """Take in a record of the shard's ledger."""
        into = self.older if older else self.records
        key, value = message.key() or b"", message.value()
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value

    def settle(self) -> None:
        """Let what lies behind replace what lies before."""
        self.records, self.older = {**self.older, **self.records}, {}

    def outdated(self, expected: Identity) -> bool:
        """Forget an identity from before what else is known if it does not fit; return whether it did not."""
        value = self.records.get(IDENTITY_KEY)
        found = None if value is None else decode(IDENTITY_KEY, value)
        if not isinstance(found, Identity) or misbelongs(found, expected) is None:
            return False
        del self.records[IDENTITY_KEY]
        return True

    def note_fire(self, message: Message, headers: Mapping[str, bytes]) -> None:
        """Take in a fire of the shard; the latest planned counts, of several the first by id.

        One that cannot be read is nobody's. One that was asked for tells nothing: it bears the time at
        which it was, which the cursor may lag.
        """
        try:
            planned, ident = from_text(headers["ce_time"].decode()), headers["ce_id"]
        except (KeyError, ValueError):
            return
        if b"!" in ident:
            return
        fire, known = ident.decode(errors="replace"), self.sent
        if known is None or planned > known.planned or (planned == known.planned and fire < known.fire):
            place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
            self.sent = Sent(fire, planned, place)

    def note_event(self, message: Message, headers: Mapping[str, bytes]) -> None:
        """Take in an event of the shard: only the numbers of changes count. A broken one tells nothing."""
        kind = headers.get("ce_type", b"").decode()
        if kind not in _APPLIED and not kind.startswith("job."):
            return
        try:
            number = number_told(kind, json.loads(message.value() or b"{}"))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            return
        self.told = max(self.told, number)
        if kind in _APPLIED:
            self.applied = max(self.applied, number)

    def facts(self, number: int, *, whole: bool) -> ShardFacts:
        """Return it as facts; records that cannot be read are told, not raised.

        `whole` says that all of the ledger was read, and so must make sense.
        """
        found: list[Fact] = []
        unread, newer = "", ""
        for key, value in self.records.items():
            try:
                found.append(decode(key, value))
            except LedgerNewer as error:
                newer = str(error)
            except LedgerUnfit as error:
                unread = str(error)
        position = next((fact for fact in found if isinstance(fact, Position)), None)
        identity = next((fact for fact in found if isinstance(fact, Identity)), None)
        if whole and position is not None:
            unread = unread or _senseless(found)
        return ShardFacts(
            number, self.first, bool(self.records), position, identity, unread, newer,
            self.sent, self.applied, self.told, self.events, self.commands,
            self.open,
        )  # fmt: skip


def _senseless(found: Iterable[Fact]) -> str:
    """Return why the records of a whole ledger make no state, empty when they do."""
    state = ShardState()
    try:
        state.restore(found)
    except LedgerUnfit as error:
        return str(error)
    lost = state.without_instant()
    return without_instant(lost[0]) if lost else ""


def headers_of(message: Message) -> dict[str, bytes]:
    """Return the headers of a record; one that has none is nobody's."""
    return {name: value for name, value in headers_in(message) if value is not None}


def fire_of(message: Message, headers: Mapping[str, bytes], shards: int) -> int | None:
    """Return the shard whose fire a record of a job topic is, None when it is none."""
    shard = headers.get("shard", b"")
    if headers.get("ce_type") != FIRE_TYPE or not shard.isdigit() or message.value() is None:
        return None
    return int(shard) if int(shard) < shards else None
