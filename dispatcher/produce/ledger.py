"""A shard's ledger, read: from raw records to state, and only from one that may be continued."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.core.codec import decode
from dispatcher.core.ledger import Identity
from dispatcher.core.state import ShardState
from dispatcher.errors import LedgerUnfit
from dispatcher.ports import ShardLog

Image = tuple[Mapping[bytes, bytes], int]
"""The last raw record of each key of a ledger partition, and the offset to go on from."""

NO_IMAGE: Image = ({}, 0)


def read_to_end(log: ShardLog, image: Image) -> tuple[dict[bytes, bytes], int]:
    """Return the image brought up to the ledger's end as it is now, and that end.

    Call it only after `fence`: the end must count what an older owner may have left uncommitted.
    An image that retention or compaction has overtaken is dropped and read from the beginning.
    """
    records, start = image
    ends = log.ends()
    if start > ends.high:
        raise LedgerUnfit(
            f"the ledger ends at offset {ends.high}, before offset {start} that was read earlier: "
            "the topic was truncated or re-created; restore it or start with an empty prefix"
        )
    if start < ends.low:
        records, start = {}, ends.low
    latest = dict(records)
    for record in log.read(start, ends.high):
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = record.value
    return latest, ends.high


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
    return [(one.key, one.value) for one in log.read(start, ends.high)], ends.high


def restored(latest: Mapping[bytes, bytes]) -> ShardState:
    """Return the state that a ledger's records say. Raises LedgerUnfit when they cannot be read."""
    state = ShardState()
    state.restore(decode(key, value) for key, value in latest.items())
    if state.position is None and latest:
        raise LedgerUnfit(
            "the ledger holds records but no position; it was truncated or written by something else: "
            "restore it, or use another --prefix"
        )
    return state


def check_identity(found: Identity | None, expected: Identity) -> None:
    """Raise LedgerUnfit unless a ledger belongs to this cluster, these topics and this shard count."""
    if found is None:
        return
    if found.cluster != expected.cluster:
        raise LedgerUnfit(
            f"the ledger was written on cluster {found.cluster!r}, this is {expected.cluster!r}; "
            "connect to the right cluster, or use another --prefix"
        )
    if found.shards != expected.shards:
        raise LedgerUnfit(
            f"the ledger was written for {found.shards} shards, the settings say {expected.shards}; "
            f"set --shards {found.shards}"
        )
    for topic, ident in found.topics.items():
        if expected.topics.get(topic, ident) != ident:
            raise LedgerUnfit(
                f"topic {topic!r} is not the one this ledger was written beside: it was re-created; "
                "use another --prefix, and delete the topics of this one"
            )
