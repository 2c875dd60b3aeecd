"""What a torture phase came to: the checker's verdict on each installation, and what readers agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dispatcher.core.codec import CURSOR_KEY, decode
from dispatcher.core.ledger import Position
from dispatcher.core.log_record import Record
from dispatcher.observe.checker import Checker
from dispatcher.observe.verdict import Verdict
from torture.reading import Seen

Place = tuple[str, int, int]


def place_of(record: Record) -> Place:
    """Return where a record lies."""
    return record.topic, record.partition, record.offset


def judge(
    prefix: str, shards: int, records: Sequence[Record], cutoff: int, seen_at: Mapping[Place, int]
) -> Verdict:
    """Hold everything planned up to an instant against the records; `seen_at`: when they were first seen."""
    checker = Checker(prefix, shards)
    for record in sorted(records, key=place_of):
        if record.topic == f"{prefix}.ledger":
            checker.ledger(record)
        elif record.topic == f"{prefix}.events":
            checker.event(record)
    tally = checker.tally(-1, cutoff)
    fires = [record for record in records if record.topic.startswith(f"{prefix}.jobs.")]
    for record in fires:
        tally.fire(record, seen_at.get(place_of(record)))
    for record in sorted(records, key=place_of):
        if record.topic == f"{prefix}.events":
            tally.event(record)
    if tally.verdict(checker.standings()).doubled:
        for record in fires:
            tally.trace(record)
    return tally.verdict(checker.standings())


def unsettled(prefix: str, shards: int, seen: Iterable[Seen], cutoff: int) -> list[str]:
    """Say which shards are not beyond an instant, or have backlog: a cheap first look."""
    positions: dict[int, Position] = {}
    for record, _ in seen:
        if record.key == CURSOR_KEY and record.topic == f"{prefix}.ledger":
            fact = decode(CURSOR_KEY, record.value)
            if isinstance(fact, Position):
                positions[record.partition] = fact
    told = [f"shard {number} has no position" for number in range(shards) if number not in positions]
    for number, one in positions.items():
        if one.cursor.due <= cutoff:
            told.append(f"shard {number} stands {cutoff - one.cursor.due} ms before it")
        if one.backlog:
            told.append(f"shard {number} has {len(one.backlog)} intervals of backlog")
    return told


def disagreements(live: Sequence[Seen], later: Sequence[Record]) -> list[str]:
    """Say what two readers do not agree on; the ledger is left out, since compaction takes from it."""
    first = [record for record, _ in live if not record.topic.endswith(".ledger")]
    second = [record for record in later if not record.topic.endswith(".ledger")]
    ours, theirs = {place_of(one) for one in first}, {place_of(one) for one in second}
    told = []
    if len(ours) != len(first):
        told.append(f"the live reader got {len(first) - len(ours)} records twice")
    if ours - theirs:
        told.append(f"read live but not afterwards: {sorted(ours - theirs)[:5]}")
    if theirs - ours:
        told.append(f"read afterwards but not live: {sorted(theirs - ours)[:5]}")
    return told
