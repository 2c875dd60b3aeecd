from __future__ import annotations

import pytest
from shard_world import World, job

from dispatcher.core.batch import Batch
from dispatcher.errors import DispatcherError, Fenced, KafkaUnreachable, TransactionFailed, Unsendable
from dispatcher.produce.culprit import Culprits, Refused

T0 = 1_780_000_000_000 // 60_000 * 60_000


def batch_of(*names: str) -> Batch:
    """Return the batch of one fire of each job."""
    world = World()
    world.start(T0)
    world.offer(map(job, names), revision="r", seen=T0)
    world.run(T0)
    decision = world.shard.decide(T0 + 60_000)
    assert isinstance(decision, Batch)
    assert decision.fires == len(names)
    return decision


def probing() -> tuple[list[bool], Culprits]:
    return [], Culprits()


def blame(culprits: Culprits, batch: Batch, error: DispatcherError, probes: list[bool]) -> Refused | None:
    culprits.trying(batch)
    return culprits.blame(error, lambda: probes.append(True))


def ident(batch: Batch, index: int = 0) -> str:
    return dict(batch.outgoing[index][4] or ())["ce_id"].decode()


def test_a_refused_message_whose_place_is_known_is_blamed_at_once() -> None:
    probes, culprits = probing()
    batch = batch_of("a", "b", "c")
    assert blame(culprits, batch, Unsendable("big", 1), probes) == Refused(ident(batch, 1), "big")
    assert not culprits.isolate
    assert probes == []


@pytest.mark.parametrize("names", ["a", "abc"])
def test_a_refused_message_whose_place_is_not_known_is_looked_for(names: str) -> None:
    probes, culprits = probing()
    assert blame(culprits, batch_of(*names), Unsendable("big"), probes) is None
    assert culprits.isolate
    assert culprits.searching


def test_a_fire_refused_alone_in_a_transaction_that_isolates_is_the_one() -> None:
    probes, culprits = probing()
    batch = batch_of("a")
    assert blame(culprits, batch, Unsendable("big"), probes) is None
    assert blame(culprits, batch, Unsendable("big"), probes) == Refused(ident(batch), "big")


def test_a_refused_ledger_record_is_nobodys_fault() -> None:
    probes, culprits = probing()
    batch = batch_of("a", "b")
    assert blame(culprits, batch, Unsendable("big", len(batch.outgoing) - 1), probes) is None
    assert not culprits.isolate
    assert not culprits.searching


@pytest.mark.parametrize("error", [Fenced("other owner"), KafkaUnreachable("nobody")])
def test_fencing_and_silence_blame_nobody(error: DispatcherError) -> None:
    probes, culprits = probing()
    for _ in range(5):
        assert blame(culprits, batch_of("a"), error, probes) is None
    assert not culprits.searching
    assert probes == []


def test_a_time_out_is_cornered_and_blamed_only_after_a_second_one_and_a_probe() -> None:
    probes, culprits = probing()
    error = TransactionFailed("timed out")
    assert blame(culprits, batch_of("a", "b"), error, probes) is None
    assert culprits.searching
    assert not culprits.isolate
    batch = batch_of("a")
    assert blame(culprits, batch, error, probes) is None
    assert probes == []
    assert blame(culprits, batch, error, probes) == Refused(ident(batch), "timed out")
    assert probes == [True]


def test_time_outs_of_different_fires_alone_are_not_added_up() -> None:
    probes, culprits = probing()
    for name in "abcabc":
        assert blame(culprits, batch_of(name), TransactionFailed("timed out"), probes) is None
    assert probes == []


def test_nobody_is_blamed_when_the_probe_fails_too() -> None:
    culprits = Culprits()

    def failing() -> None:
        raise TransactionFailed("timed out as well")

    batch = batch_of("a")
    culprits.trying(batch)
    assert culprits.blame(TransactionFailed("timed out"), failing) is None
    culprits.trying(batch)
    with pytest.raises(TransactionFailed, match="as well"):
        culprits.blame(TransactionFailed("timed out"), failing)


def test_a_commit_ends_the_search() -> None:
    probes, culprits = probing()
    blame(culprits, batch_of("a", "b"), Unsendable("big"), probes)
    culprits.committed()
    assert not culprits.isolate
    assert not culprits.searching


def test_without_a_batch_there_is_nobody_to_blame() -> None:
    culprits = Culprits()
    assert culprits.blame(Unsendable("big", 0), lambda: None) is None
