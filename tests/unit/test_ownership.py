"""Who has a shard, by which word, and when it ends: every order of what may be noted."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from dispatcher.produce import ownership
from dispatcher.produce.ownership import Ownership, _Word
from dispatcher.service import Deadline


class FakeHost:
    """A host whose shards have no threads; it counts how often each was started."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.idle: set[int] = set()
        """Those whose threads were told to do nothing more."""
        self.starts: list[int] = []

    def take(self, shards: list[int]) -> None:
        self.starts += [shard for shard in shards if shard not in self.running]
        self.running.update(shards)

    def give_up(self, shards: list[int], deadline: Deadline) -> None:
        assert deadline.left()
        self.running.difference_update(shards)
        self.idle.difference_update(shards)

    def owned(self) -> list[int]:
        return sorted(self.running)


class Desk:
    """An ownership whose thread is the test."""

    def __init__(self) -> None:
        self.host = FakeHost()
        self.ownership = Ownership(self.host, failed=lambda _, error: pytest.fail(str(error)))

    def work(self) -> set[int]:
        """Perform what was noted; return which shards run."""
        while self.ownership._step() is not None:
            pass
        return self.host.running


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_start_takes_at_once_what_its_instance_had(desk: Desk) -> None:
    desk.ownership.ours_before(2)
    desk.ownership.ours_before(3)
    assert desk.work() == {2, 3}


def test_the_group_catches_up_without_a_second_start(desk: Desk) -> None:
    desk.ownership.ours_before(2)
    desk.work()
    desk.ownership.assigned([1, 2])
    assert desk.work() == {1, 2}
    assert desk.host.starts == [2, 1]
    assert desk.ownership.fenced(2), "it is the group's now, so it is taken back"


@pytest.mark.parametrize("given", [[], [1]])
def test_once_the_group_has_spoken_the_ledger_says_nothing_more(desk: Desk, given: list[int]) -> None:
    desk.ownership.assigned(given)
    desk.ownership.ours_before(2)
    assert desk.work() == set(given)


def test_a_shard_of_the_ledgers_word_ends_when_it_is_fenced_and_is_not_taken_back(desk: Desk) -> None:
    desk.ownership.ours_before(2)
    desk.work()
    with capture_logs() as told:
        assert not desk.ownership.fenced(2)
        assert desk.work() == set()
    assert [entry["event"] for entry in told] == ["shards.yielded"]
    assert "DISPATCHER_INSTANCE" in told[0]["advice"]


def test_twins_that_the_group_has_not_answered_yet_do_not_take_a_shard_in_turns(desk: Desk) -> None:
    desk.ownership.ours_before(2)
    desk.work()
    desk.ownership.fenced(2)
    desk.work()
    desk.ownership.ours_before(2)  # the twin's claim, which bears the same name
    assert desk.work() == set()
    desk.ownership.assigned([2])
    assert desk.work() == {2}


def test_a_shard_of_the_groups_word_is_taken_back_when_it_is_fenced(desk: Desk) -> None:
    desk.ownership.assigned([2])
    desk.work()
    assert desk.ownership.fenced(2)
    assert desk.work() == {2}
    assert desk.host.starts == [2], "its own thread goes on"


def test_what_was_fenced_and_then_given_by_the_group_begins_anew(desk: Desk) -> None:
    desk.ownership.ours_before(2)
    desk.work()
    desk.ownership.fenced(2)
    desk.ownership.assigned([2])
    with capture_logs() as told:
        assert desk.work() == {2}
    assert desk.host.starts == [2, 2], "the thread that was fenced does nothing more"
    assert "shards.yielded" not in [entry["event"] for entry in told]


def test_the_same_holds_when_the_group_gave_it_between_the_question_and_the_note(desk: Desk) -> None:
    desk.ownership.ours_before(2)
    desk.work()
    desk.ownership.assigned([2])
    desk.ownership._note(_Word.FENCED, [2])
    assert desk.work() == {2}
    assert desk.host.starts == [2, 2]


@pytest.mark.parametrize("first", ["ours_before", "assigned"])
def test_revoking_ends_a_shard_whosesoever_word_it_was(desk: Desk, first: str) -> None:
    words: dict[str, Callable[[], None]] = {
        "ours_before": lambda: desk.ownership.ours_before(2),
        "assigned": lambda: desk.ownership.assigned([2]),
    }
    words[first]()
    desk.work()
    desk.ownership.revoked([2])
    assert desk.work() == set()
    assert not desk.ownership.fenced(2)


def test_a_lost_session_ends_every_shard(desk: Desk) -> None:
    desk.ownership.ours_before(1)
    desk.work()
    desk.ownership.assigned([2, 3])
    assert desk.work() == {1, 2, 3}
    desk.ownership.lost([2, 3])
    assert not desk.ownership.fenced(2), "it may be another's by now"
    assert desk.work() == set()
    desk.ownership.assigned([2])
    assert desk.work() == {2}


def test_a_stop_ends_what_either_word_gave(desk: Desk) -> None:
    desk.ownership.start()
    desk.ownership.ours_before(1)
    desk.ownership.stop()
    assert desk.ownership.join(Deadline(5))
    assert desk.host.running == set()


def test_in_whatever_order_words_are_noted_and_performed_the_groups_last_one_holds() -> None:
    """Every thread that was told to do nothing more has ended, and what the group gave last runs."""
    words = ("ours_before", "assigned", "revoked", "lost", "fenced")
    for order in itertools.product(words, repeat=5):
        chance = random.Random(str(order))
        desk = Desk()
        assigned = False
        for word in order:
            if word == "fenced":
                if 2 in desk.host.running - desk.host.idle and not desk.ownership.fenced(2):
                    desk.host.idle.add(2)
            elif word == "ours_before":
                desk.ownership.ours_before(2)
            else:
                getattr(desk.ownership, word)([2])
                assigned = word == "assigned"
            if chance.random() < 0.5:
                desk.work()
        desk.work()
        assert desk.host.idle == set(), order
        if assigned:
            assert desk.host.running == {2}, order
        elif order[-1] in {"revoked", "lost"}:
            assert desk.host.running == set(), order


def test_memory_is_given_back_once_some_seconds_after_the_last_move(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[set[int]] = []
    monkeypatch.setattr(ownership, "give_back", lambda: given.append(set(desk.host.running)))
    step = desk.ownership._step
    assert step() is None
    desk.ownership.assigned([1, 2])
    assert (step(), step()) == (0, 10.0)
    desk.ownership.revoked([1])
    assert (step(), step()) == (0, 10.0)
    assert given == []
    assert (step(), step()) == (None, None)
    assert given == [{2}]
