from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.offsets import LIMIT_BYTES, MARK_BYTES, Past, Progress

ENOUGH = 100_000


Told = int | str | None
"""How many lives count; `h`: none, but some handed it back, `l`: and left it running; None: it is done."""


def told(past: Past | None) -> Told:
    if past is None:
        return None
    assert past.known or not past.begun
    assert past.unended or not past.begun
    return past.begun or (("l" if past.unended else "h") if past.known else 0)


def taken(progress: Progress, *offsets: int) -> list[Told]:
    return [told(progress.take(offset)) for offset in offsets]


# Tables: what happened to 10, 11, … and what is committed of it.


@pytest.mark.parametrize(
    ("story", "committed"),
    [
        ("", (10, "")),
        ("take 10", (10, "")),
        ("take 10, begun 10", (10, "aA")),
        ("take 10, begun 10, begun 10", (10, "aA")),
        ("take 10, back 10", (10, "ah")),
        ("take 10, begun 10, back 10", (10, "ah")),
        ("take 10, begun 10, left 10", (10, "al")),
        ("take 10, left 10, back 10", (10, "ah")),
        ("take 10, begun 10, back 10, back 10", (10, "ah")),
        ("take 10, back 10, done 10", (11, "")),
        ("take 10, done 10, back 10", (11, "")),
        ("take 10, done 10", (11, "")),
        ("take 10, begun 10, done 10", (11, "")),
        ("take 10, take 11, done 11", (10, "awd")),
        ("take 10, take 11, done 11, done 10", (12, "")),
        ("take 10, take 11, take 12, done 11, begun 12", (10, "awdA")),
        ("take 10, take 11, take 12, take 13, done 11, done 12", (10, "aw2d")),
        ("take 10, take 11, take 12, begun 10, begun 11, begun 12", (10, "a3A")),
        ("take 13", (13, "")),
        ("take 10, take 15, done 15", (10, "aw5d")),
        ("take 10, take 15, take 16, begun 10, begun 15", (10, "a6A")),
        ("take 10, take 15, done 10", (15, "")),
        ("take 10, done 10, reached 12", (12, "")),
        ("take 10, reached 12", (10, "")),
        ("take 10, reached 12, done 10", (12, "")),
        ("take 10, reached 12, take 12, done 12", (10, "aw2d")),
        ("reached 14", (14, "")),
        ("reached 14, reached 12", (14, "")),
        ("begun 10, done 10", (10, "")),
        ("take 10, done 10, done 10, begun 10", (11, "")),
    ],
)
def test_what_is_committed(story: str, committed: tuple[int, str]) -> None:
    progress = Progress(10)
    for step in story.split(", ") if story else ():
        verb, offset = step.split()
        if verb in ("back", "left"):
            progress.handed_back(int(offset), ended=verb == "back")
        else:
            getattr(progress, verb)(int(offset))
    assert progress.commit() == committed


@pytest.mark.parametrize(
    ("metadata", "counts"),
    [
        ("", [0, 0, 0, 0]),
        ("aw2d", [0, None, None, 0]),
        ("aAwC", [1, 0, 3, 0]),
        ("a3I", [9, 9, 9, 0]),
        ("aAdA", [1, None, 1, 0]),
        ("aAhd", [1, "h", None, 0]),
        ("a3h", ["h", "h", "h", 0]),
        ("alhB", ["l", "h", 2, 0]),
        ("awwdd", [0, 0, None, None]),
        ("add", [None, None, 0, 0]),
        # Whatever cannot be read tells nothing.
        ("a", [0, 0, 0, 0]),
        ("b3d", [0, 0, 0, 0]),
        ("a3x", [0, 0, 0, 0]),
        ("a3", [0, 0, 0, 0]),
        ("a0d2d", [0, 0, 0, 0]),
        ("a-1d", [0, 0, 0, 0]),
        ("a٣d", [0, 0, 0, 0]),
        ("a9d\n", [0, 0, 0, 0]),
        ("a" + "9" * 5000 + "d", [0, 0, 0, 0]),
        ("committed by hand on 2026-11-20", [0, 0, 0, 0]),
        ("\x00\uffff", [0, 0, 0, 0]),
    ],
)
def test_what_another_life_left(metadata: str, counts: list[Told]) -> None:
    progress = Progress(10, metadata)
    assert not progress.dirty
    assert taken(progress, 10, 11, 12, 13) == counts


def test_what_is_known_ahead_survives_before_it_is_delivered_again() -> None:
    progress = Progress(10, "aA3dw2B")
    assert progress.commit() == (10, "aA3dw2B")
    assert taken(progress, 10) == [1]
    assert progress.commit() == (10, "aA3dw2B")
    progress.done(10)
    assert progress.commit() == (14, "aw2B")
    assert taken(progress, 11, 12, 13, 14, 15) == [None, None, None, 0, 2]
    progress.begun(15)
    assert progress.commit() == (14, "awCB")


def test_beginnings_are_counted_to_nine() -> None:
    metadata = ""
    for life in range(12):
        progress = Progress(5, metadata)
        assert taken(progress, 5) == [min(9, life)]
        progress.begun(5)
        assert progress.commit()[0] == 5
        metadata = progress.commit()[1]


def test_lives_that_hand_back_leave_the_count_as_it_was() -> None:
    metadata = ""
    for life in range(24):  # every other one is killed
        progress = Progress(5, metadata)
        assert taken(progress, 5) == [min(9, life // 2) or ("h" if life else 0)]
        progress.begun(5)
        if not life % 2:
            progress.handed_back(5, ended=True)
        metadata = progress.commit()[1]


def test_an_unread_text_of_another_tool_is_no_reason_to_commit() -> None:
    progress = Progress(10, "by hand")
    assert not progress.dirty
    progress.take(10)
    assert not progress.dirty
    progress.done(10)
    assert progress.dirty


def test_dirty_until_it_is_committed() -> None:
    progress = Progress(0)
    progress.take(0)
    progress.take(1)
    progress.done(1)
    assert progress.dirty
    assert progress.commit() == (0, "awd")
    assert progress.dirty
    progress.done(0)
    progress.committed()
    assert progress.dirty, "what happened since is not committed"
    progress.commit()
    progress.committed()
    assert not progress.dirty
    progress.reached(3)
    assert progress.dirty


def test_a_record_delivered_twice_is_taken_once() -> None:
    progress = Progress(10)
    assert taken(progress, 10, 11, 10, 11) == [0, 0, None, None]
    progress.done(10)
    progress.done(11)
    assert progress.take(11) is None
    assert progress.commit() == (12, "")


def test_a_topic_made_anew_is_read_from_its_beginning() -> None:
    progress = Progress(10, "aA3d")
    progress.take(10)
    assert taken(progress, 0, 1, 10, 11) == [0, 0, 0, 0]
    progress.done(0)
    assert progress.dirty
    assert progress.commit() == (1, "")


def test_one_slow_run_holds_up_nothing() -> None:
    progress = Progress(0)
    progress.take(0)
    progress.begun(0)
    for offset in range(1, ENOUGH):
        assert progress.take(offset) == Past()
        assert progress.room()
        progress.done(offset)
    assert progress.commit() == (0, f"aA{ENOUGH - 1}d")


@pytest.mark.parametrize("apart", [2, 5, 12, 102, 1002])
def test_room_ends_at_three_quarters_of_the_limit(apart: int) -> None:
    progress = Progress(0)
    offset = 0
    while progress.room():
        progress.take(offset)
        if offset % apart:
            progress.done(offset)
        offset += 1
    size = len(progress.commit()[1])
    assert 0.65 * (LIMIT_BYTES - MARK_BYTES) <= size <= 0.75 * (LIMIT_BYTES - MARK_BYTES) + 1
    for held in range(0, offset, apart):
        progress.done(held)
    assert progress.room()
    assert progress.commit() == (offset, "")


def test_what_another_life_left_never_shuts_a_partition() -> None:
    full = Progress(0)
    for offset in range(3_900):
        full.take(offset)
        if offset % 2:
            full.done(offset)
    start, metadata = full.commit()
    assert len(metadata) > 0.9 * LIMIT_BYTES
    progress = Progress(start, metadata)
    assert progress.room()
    for offset in range(3_900):
        while not progress.room():
            for held in range(offset):
                progress.done(held)
        progress.take(offset)


def test_a_mark_fits_beside_the_longest_text() -> None:
    progress = Progress(0)
    for offset in range(10_000):
        progress.take(offset)
        if offset % 2:
            progress.done(offset)
    assert LIMIT_BYTES - MARK_BYTES - 2 < len(progress.commit()[1]) <= LIMIT_BYTES - MARK_BYTES


def test_beginnings_are_forgotten_before_ends() -> None:
    progress = Progress(0, limit=11)
    taken(progress, *range(20))
    for offset in range(0, 12, 2):
        progress.begun(offset)
    for offset in range(14, 20):
        progress.done(offset)
    assert progress.commit() == (0, "a14w6d")
    for offset in range(1, 14, 2):
        progress.done(offset)
    assert progress.commit() == (0, "awdwdwdwdwd")
    resumed = Progress(*progress.commit())
    assert taken(resumed, *range(8, 16)) == [0, None, 0, 0, 0, 0, 0, 0]
    assert taken(progress, 8, 9) == [None, None], "this life forgets nothing"


# An oracle: sets instead of runs, against chance in orders of ends, crashes and gaps.


@dataclass
class Oracle:
    """What a partition's lives know, kept plainly. `exact` unless the text may be cut."""

    records: list[int]
    limit: int
    exact: bool
    progress: Progress = field(init=False)
    done: set[int] = field(default_factory=set)
    begun: dict[int, int] = field(default_factory=dict)
    handed: dict[int, str] = field(default_factory=dict)
    kept: tuple[tuple[int, str], set[int], dict[int, int], dict[int, str]] = ((0, ""), set(), {}, {})

    def __post_init__(self) -> None:
        self.live()

    def live(self) -> None:
        committed, self.done, self.begun = self.kept[0], set(self.kept[1]), dict(self.kept[2])
        self.handed = dict(self.kept[3])
        self.progress = Progress(*committed, limit=self.limit)
        self.hand: set[int] = set()
        self.began: set[int] = set()
        self.coming = [offset for offset in self.records if offset >= committed[0]]
        self.position = committed[0]
        assert {offset for offset in self.records if offset < committed[0]} <= self.done

    def deliver(self) -> None:
        if not self.coming:
            return
        offset = self.coming.pop(0)
        self.position = offset + 1
        past = self.progress.take(offset)
        if past is None:
            assert offset in self.done, "what is not decided is never skipped"
            return
        if self.exact:
            assert offset not in self.done, "what is done is not run again"
            count = min(9, self.begun.get(offset, 0))
            assert told(past) == (count or self.handed.get(offset, 0))
        self.done.discard(offset)
        self.begun[offset] = past.begun
        if not past.known:
            self.handed.pop(offset, None)
        self.hand.add(offset)

    def begin(self, offset: int) -> None:
        self.progress.begun(offset)
        if offset not in self.began:
            self.began.add(offset)
            self.begun[offset] += 1

    def hand_back(self, offset: int, how: str) -> None:
        self.progress.handed_back(offset, ended=how == "h")
        self.begun[offset] -= offset in self.began
        self.began.discard(offset)
        self.handed[offset] = how

    def end(self, offset: int) -> None:
        self.progress.done(offset)
        self.hand.discard(offset)
        self.done.add(offset)

    def commit(self) -> None:
        committed = self.progress.commit()
        assert len(committed[1]) <= self.limit
        assert all(offset in self.done for offset in self.records if offset < committed[0])
        if self.hand:
            assert self.progress._longest() >= len(committed[1])
            assert committed[0] == min(self.hand)
            assert self.progress.room() is False or len(committed[1]) <= 0.75 * self.limit
        else:
            assert committed[0] >= self.position
            assert self.progress.room()
        self.progress.committed()
        assert not self.progress.dirty
        self.kept = (committed, set(self.done), dict(self.begun), dict(self.handed))

    def drain(self) -> None:
        while self.coming:
            self.deliver()
        end = self.records[-1] + 3
        self.progress.reached(end)
        self.position = end
        for offset in sorted(self.hand, reverse=True):
            self.end(offset)
        self.commit()
        assert self.kept[0] == (end, ""), "nothing is left: the lag is 0"
        assert self.done == set(self.records)


STEPS = ["begin", "back", "end", "end", "end", "commit", "reach", "crash"]


def live_through(chance: random.Random, limit: int, *, exact: bool) -> None:
    records = sorted(chance.sample(range(400), chance.randint(1, 300)))
    oracle = Oracle(records, limit, exact)
    for _ in range(chance.randint(1, 600)):
        hand = sorted(oracle.hand)
        match chance.choice(["deliver"] * 6 + STEPS):
            case "deliver":
                for _ in range(chance.randint(1, 5)):
                    oracle.deliver()
            case "begin" if hand:
                oracle.begin(chance.choice(hand))
            case "back" if hand:
                oracle.hand_back(chance.choice(hand), chance.choice("hl"))
            case "end" if hand:
                oracle.end(chance.choice(hand))
            case "commit":
                oracle.commit()
            case "reach":
                following = oracle.coming[0] if oracle.coming else records[-1] + 3
                oracle.position = chance.randint(oracle.position, max(oracle.position, following))
                oracle.progress.reached(oracle.position)
            case "crash" if chance.random() < 0.3:
                oracle.live()
    oracle.drain()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_lives_keep_what_they_know(seed: int) -> None:
    live_through(random.Random(seed), 4_096, exact=True)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60))
def test_no_limit_loses_anything(seed: int, limit: int) -> None:
    live_through(random.Random(seed), limit, exact=False)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**40), st.lists(st.tuples(st.sampled_from("wABCDEFGHIhld"), st.integers(1, 10**6))))
def test_a_text_reads_as_it_was_written(start: int, runs: list[tuple[str, int]]) -> None:
    text = "".join(f"{length}{letter}" for letter, length in runs)
    offset, metadata = Progress(start, f"a{text}").commit()
    again = Progress(offset, metadata)
    assert again.commit() == (offset, metadata)
    at = start
    for letter, length in runs:
        if at >= offset:
            (found,) = taken(Progress(offset, metadata), at)
            expected: Told = None if letter == "d" else "wABCDEFGHI".find(letter)
            assert found == (letter if letter in "hl" else expected)
        at += length
    assert taken(Progress(offset, metadata), max(at, offset)) == [0]


@given(st.text())
def test_no_metadata_is_an_error(metadata: str) -> None:
    assert Progress(7, metadata).commit()[0] >= 7
