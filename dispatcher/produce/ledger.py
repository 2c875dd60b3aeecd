"""A shard's ledger, read: from raw records to state, and only from one that may be continued."""

from __future__ import annotations

from dispatcher.core.diagnosis import NO_POSITION, behind, cut_off, misbelongs, without_instant
from dispatcher.core.ledger import Identity
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.state import ShardState
from dispatcher.errors import LedgerBroken, LedgerUnfit
from dispatcher.ports import ShardLog


def read_to_end(log: ShardLog, copy: LedgerCopy) -> ShardState:
    """Bring a copy up to the ledger's end as it is now; return what it says then.

    Call it only after `fence`: the end must count what an older owner may have left uncommitted.
    A copy that retention or compaction has overtaken is emptied and read from the beginning. Raises
    LedgerUnfit for a ledger that was cut off or cannot be read.
    """
    ends = log.ends()
    if copy.next > ends.high:
        raise LedgerBroken((behind(copy.next, ends.high),))
    if copy.next < ends.low:
        copy.clear(ends.low)
    for records, behind_them in log.chunks(copy.next, ends.high):
        copy.take(records, behind_them)
    copy.next = ends.high
    state = copy.state()
    _check(state, ends.low)
    return state


def read_on(log: ShardLog, start: int) -> tuple[list[tuple[bytes, bytes | None]], int]:
    """Return the records from an offset up to the ledger's end as it is now, and that end.

    Call it only after `fence`. Raises LedgerUnfit when the offset is not one of the ledger's.
    """
    ends = log.ends()
    if start > ends.high or start < ends.low:
        raise LedgerUnfit(
            f"the ledger holds offsets {ends.low} to {ends.high}, but {start} was the next to read: "
            "it was truncated or re-created while this dispatcher ran; restart it"
        )
    return [one for records, _ in log.chunks(start, ends.high) for one in records], ends.high


def check_identity(found: Identity | None, expected: Identity) -> None:
    """Raise LedgerBroken unless a ledger belongs to this cluster, these topics and this shard count."""
    trouble = misbelongs(found, expected)
    if trouble is not None:
        raise LedgerBroken((trouble[1],))


def _check(state: ShardState, first: int) -> None:
    """Raise LedgerUnfit when a ledger's first records are gone, or others that it cannot do without."""
    cut = cut_off(state.position, first) if first else None
    if cut is not None:
        raise LedgerBroken((cut,))
    if state.position is None and not state.is_empty():
        raise LedgerBroken((NO_POSITION,))
    if lost := state.without_instant():
        raise LedgerBroken((without_instant(lost[0]),))
