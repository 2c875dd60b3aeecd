"""A state read on, record by record, against one restored from the whole ledger: they must be the same."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise

import pytest
from shard_world import World, job
from test_ledger_facts import comparable
from test_shard_histories import Shaken

from dispatcher.core.batch import Batch
from dispatcher.core.codec import decode, encode
from dispatcher.core.ledger import Change, Cursor, Fact, JobVersions, Position, Version
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.state import ShardState
from dispatcher.errors import LedgerUnfit

SEEDS = 24
T0 = 1_780_000_000_000
Records = list[tuple[bytes, bytes | None]]


class Recorded(World):
    """A world that keeps every ledger record in order, and where each transaction ends."""

    def __init__(self, world: World) -> None:
        super().__init__(limits=world.limits)
        self.log: Records = []
        self.ends: list[int] = []

    def write(self, batch: Batch) -> None:
        super().write(batch)
        self.log += [(one[2] or b"", one[1]) for one in batch.outgoing if one[0].endswith(".ledger")]
        self.ends.append(len(self.log))


@cache
def history(seed: int) -> tuple[Records, list[int]]:
    """Return what a shard wrote that saw edits in pieces and at once, crashes, outages and backlog."""
    shaken = Shaken(seed)
    shaken.world = Recorded(shaken.world)
    shaken.world.start(shaken.now)
    shaken.world.looked()
    shaken.live(40)
    return shaken.world.log, shaken.world.ends


def restored(records: Records) -> ShardState:
    """Return the state of the last record of each key."""
    latest = dict(records)
    state = ShardState()
    state.restore(decode(key, value) for key, value in latest.items() if value is not None)
    return state


def compacted(records: Records, begin: int, chance: random.Random) -> Records:
    """Return the records from one on without some that later ones supersede; tombstones stay."""
    last = {key: number for number, (key, _) in enumerate(records)}
    share = chance.choice([0.0, 0.5])
    return [
        one
        for number, one in enumerate(records)
        if number >= begin and (last[one[0]] == number or chance.random() < share)
    ]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_at_the_end_of_every_transaction_a_state_read_on_is_the_one_restored(seed: int) -> None:
    records, ends = history(seed)
    state = restored(records[: ends[0]])
    for begin, end in pairwise(ends):
        state.read_on(decode(*one) for one in records[begin:end])
        assert comparable(state) == comparable(restored(records[:end]))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_reading_on_after_compaction_ends_where_a_restore_does(seed: int) -> None:
    records, _ = history(seed)
    chance = random.Random(seed)
    for _ in range(20):
        begin = chance.randrange(len(records))
        state = restored(records[:begin])
        state.read_on(decode(*one) for one in compacted(records, begin, chance))
        assert comparable(state) == comparable(restored(records))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_copy_says_the_same_wherever_its_first_read_ended_and_its_decoding_was_broken_off(
    seed: int,
) -> None:
    records, _ = history(seed)
    chance = random.Random(seed)
    for _ in range(5):
        first, second = sorted(chance.sample(range(len(records)), 2))
        copy = LedgerCopy()
        copy.take(records[:first], first)
        copy.decode(chance.randrange(4))
        copy.take(records[first:second], second)
        copy.take(records[second:], len(records))
        assert comparable(copy.state()) == comparable(restored(records))


def test_a_record_that_cannot_be_read_is_told_once_the_copy_is_decoded_or_grows() -> None:
    copy = LedgerCopy()
    copy.take([(b"job/a", b"{"), (b"job/a", None), (b"cursor", b"{")], 3)
    with pytest.raises(LedgerUnfit, match="cannot be read"):
        copy.state()
    copy = LedgerCopy()
    assert copy.decode()
    with pytest.raises(LedgerUnfit, match="cannot be read"):
        copy.take([(b"owner", b"{")], 1)


def test_a_rehearsed_copy_knows_the_next_instants_of_its_triggers() -> None:
    version = Version(1, "r", job("a", cronTime="7 3 * * *").definition, "digest", T0, T0)
    copy = LedgerCopy()
    copy.rehearse()
    copy.take([encode(JobVersions("a", (version,))), encode(Position(Cursor(T0), "r", 1))], 2)
    copy.rehearse()
    trigger = copy.state().records["a"].job.trigger
    nothing = trigger._memo[0]
    copy.rehearse()
    asked, found = trigger._memo[0]
    assert (asked, found) != nothing
    assert found is not None
    assert asked <= T0 < found


def test_a_job_whose_change_has_lost_its_instant_is_named() -> None:
    version = Version(1, "r", job("a").definition, "digest", None, None)
    facts: list[Fact] = [JobVersions("a", (version,)), Position(Cursor(T0), "r", 1)]
    state = restored([encode(one) for one in facts])
    assert state.without_instant() == ["a"]
    assert restored([encode(one) for one in [*facts, Change(1, T0)]]).without_instant() == []


def test_the_histories_hold_what_makes_the_difference() -> None:
    states = [restored(history(seed)[0][:end]) for seed in range(SEEDS) for end in history(seed)[1]]
    assert any(state._open for state in states), "changes amid their pieces"
    assert any(record.past for state in states for record in state.records.values())
    assert any(state.garbage for state in states)
    assert any(state.garbage & state.records.keys() for state in states), "what an abandoned change left"
    assert any(state.position and state.position.abandoned for state in states)


def test_what_a_ledger_keeps_of_its_changes_does_not_grow() -> None:
    for seed in range(SEEDS):
        state = restored(history(seed)[0])
        assert state.position is not None
        assert len(state.position.abandoned) <= 1
        assert state.unused_changes() == []
        assert state.garbage == set()
        assert state.changes.keys() <= {record.change for record in state.records.values()}
