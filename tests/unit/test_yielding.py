"""A shard that another replica fenced: taken back if it is the group's, else left alone, without a fence."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from memory_log import Commit
from shard_world import job
from structlog.testing import capture_logs
from test_shard_thread import MINUTE, Bench, at

from dispatcher.core.command import Command
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.shard import Shard
from dispatcher.errors import Fenced
from dispatcher.produce.shard_thread import ShardThread


class Two(Bench):
    """Two processes at one ledger: `thread` may have only the ledger's word, `rival` is another one."""

    def __init__(self, *, ours: bool = False, name: str = "b") -> None:
        self.ours = ours
        self.asked: list[int] = []
        super().__init__()
        self.rival = ShardThread(0, replace(self.around(), instance=name), LedgerCopy())

    def another(self, copy: LedgerCopy | None = None) -> ShardThread:
        del copy
        return ShardThread(0, replace(self.around(), fenced=self._fenced), LedgerCopy())

    def _fenced(self, shard: int) -> bool:
        self.asked.append(shard)
        return self.ours

    def rival_takes(self) -> None:
        ours, self.thread = self.thread, self.rival
        self.rest()
        self.thread = ours


def test_a_fenced_shard_of_the_ledgers_word_never_fences_back() -> None:
    bench = Two()
    bench.started(job("a"))
    bench.rival_takes()
    epoch = bench.broker.epoch
    bench.clock.pass_(MINUTE)
    assert bench.step() is None
    bench.thread.post(partial(Shard.take, command=Command("adopt", "x"), next_offset=7))
    for _ in range(5):
        bench.clock.pass_(MINUTE)
        assert bench.step() is None
    assert (bench.broker.epoch, bench.asked) == (epoch, [0])
    assert bench.thread.base is None, "the feed has nothing to bring there"
    bench.thread = bench.rival
    bench.rest()
    bench.is_exact(at("a", 6))


@pytest.mark.parametrize("before", [Commit.LOST, Commit.UNHEARD])
def test_one_that_is_fenced_while_it_finds_its_feet_yields_too(before: Commit) -> None:
    bench = Two()
    bench.started(job("a"))
    bench.broker.commits.append(before)
    bench.broker.fencing.append(Fenced("another producer holds the shard"))
    bench.clock.pass_(MINUTE)
    assert bench.step() is None
    assert bench.asked == [0]
    assert bench.step() is None


def test_one_that_is_fenced_while_it_is_taken_yields_too() -> None:
    bench = Two()
    bench.broker.fencing.append(Fenced("another producer holds the shard"))
    assert bench.step() is None
    assert (bench.step(), bench.asked, bench.broker.transactions) == (None, [0], [])


@pytest.mark.parametrize(("name", "event"), [("b", "shard.was_taken"), ("a", "instance.doubled")])
def test_who_takes_a_shard_back_says_who_had_it_meanwhile(name: str, event: str) -> None:
    bench = Two(ours=True, name=name)
    bench.started(job("a"))
    bench.rival_takes()
    bench.clock.pass_(MINUTE)
    with capture_logs() as told:
        bench.rest()
    found = [entry for entry in told if entry["event"] in {"shard.was_taken", "instance.doubled"}]
    assert [entry["event"] for entry in found] == [event]
    assert ("DISPATCHER_INSTANCE" in found[0].get("advice", "")) == (name == "a")
    bench.is_exact(at("a", 1))


@pytest.mark.parametrize("outcome", [Commit.LOST, Commit.UNHEARD])
def test_who_is_told_to_stop_while_a_transaction_fails_fences_nobody(outcome: Commit) -> None:
    bench = Two(ours=True)
    bench.started(job("a"))
    epoch = bench.broker.epoch
    bench.broker.commits.append(outcome)
    bench.clock.pass_(MINUTE)
    bench.thread.stop()
    assert bench.step() is None
    assert bench.broker.epoch == epoch


@pytest.mark.parametrize("outcome", Commit)
def test_a_claim_whose_outcome_is_in_doubt_is_no_double(outcome: Commit) -> None:
    bench = Two(ours=True)
    bench.broker.commits.append(outcome)
    with capture_logs() as told:
        bench.started(job("a"))
        bench.minutes(1)
    assert not [entry for entry in told if entry["event"] in {"shard.was_taken", "instance.doubled"}]
