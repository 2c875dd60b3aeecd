"""Facts on their way into the ledger and out of it again, and what is in no ledger of ours."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import World, job, with_limits

from dispatcher.core.batch import Batch
from dispatcher.core.codec import VERSION, decode, encode
from dispatcher.core.command import Command, CommandType
from dispatcher.core.instant import LAST
from dispatcher.core.ledger import (
    Change,
    ChangeGone,
    Cursor,
    Done,
    DoneGone,
    Fact,
    Identity,
    Interval,
    JobVersions,
    Owner,
    Paused,
    PausedGone,
    Position,
    Revision,
    RevisionGone,
    Timer,
    TimerGone,
    Version,
)
from dispatcher.core.state import ShardState
from dispatcher.errors import LedgerUnfit

T0 = 1_780_000_000_000
names = st.text("abcXYZ019._- /", min_size=1, max_size=20)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
instants = st.integers(0, LAST)
maybe = st.none() | instants
lines = st.binary(max_size=60).filter(lambda data: b"\n" not in data)
cursors = st.builds(Cursor, instants, names | st.just(""))
numbers = st.integers(0, 10**9)
versions = st.builds(
    Version,
    change=numbers, revision=words, definition=st.none() | lines.filter(bool), trigger=words,
    effective_from=maybe, timed_from=maybe, origin=st.sampled_from(["file", "api"]),
)  # fmt: skip
facts: st.SearchStrategy[Fact] = st.one_of(
    st.builds(
        Position, cursors, words, numbers, st.lists(numbers).map(tuple), st.none() | numbers,
        st.lists(
            st.builds(Interval, cursors, instants, numbers, names, st.booleans(), st.none() | cursors)
        ).map(tuple),
        maybe,
    ),
    st.builds(JobVersions, names, st.lists(versions, max_size=3).map(tuple)),
    st.builds(
        Timer, names, names, instants, instants, numbers, names, numbers, words.map(str.encode), lines,
        st.lists(st.tuples(words, words.map(str.encode))).map(tuple), maybe,
    ),
    st.builds(
        Timer, names, names, instants, instants, numbers, names, numbers, st.none() | st.binary(max_size=20),
        st.binary(max_size=60), st.lists(st.tuples(words, st.binary(max_size=20))).map(tuple), maybe,
    ),
    st.builds(Paused, names, instants),
    st.builds(PausedGone, names),
    st.builds(Done, names, instants),
    st.builds(DoneGone, names),
    st.builds(TimerGone, names),
    st.builds(Change, numbers, instants),
    st.builds(ChangeGone, numbers),
    st.builds(Revision, names, instants, words),
    st.builds(RevisionGone, names),
    st.builds(Identity, words, st.dictionaries(words, words), numbers, words, words),
    st.builds(Owner, words, instants),
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(facts)
def test_every_fact_comes_out_as_it_went_in(fact: Fact) -> None:
    assert decode(*encode(fact)) == fact


def of_every_kind() -> list[Fact]:
    version = Version(1, "r", b'{"jobName":"a"}', "digest", 5, 5)
    interval = Interval(Cursor(1, "a"), 9, 1, "b", names_done=True, drained=Cursor(4, "c"))
    return [
        Position(Cursor(7, "a"), "r", 3, (2,), 4, (interval,), 6),
        JobVersions("a", (version, version)),
        Timer("a@x", "a", 1, 2, 1, "topic", 0, b"a", b"{}", (("h", b"v"),), 5),
        Timer("a@x#2", "a", 1, 2, 2, "topic", 0, None, b"a\nb", (("h", b"\xff"),)),
        Paused("a", 5),
        Done("retry/a@x/2", 5),
        Change(3, 9),
        Revision("r", 1, "host"),
        Identity("cluster", {"t.ledger": "id"}, 4, "2026f", "7"),
        Owner("host", 1),
    ]


def test_a_position_is_read_from_a_record_of_before_that_says_when_it_was_settled() -> None:
    position = Position(Cursor(7, "a"), "r", 3, (2,), 4)
    key, head, _ = head_of(position)
    assert decode(key, json.dumps({**head, "settledAt": 5}).encode()) == position


def head_of(fact: Fact) -> tuple[bytes, dict[str, Any], bytes]:
    key, value = encode(fact)
    assert value is not None
    head, separator, rest = value.partition(b"\n")
    return key, json.loads(head), separator + rest


OF_THE_FIRST = Timer("a@x", "a", 1, 2, 1, "topic", 0, b"a", b"{}", (("h", b"v"),), 5)


@pytest.mark.parametrize("fact", [*of_every_kind(), *(
    replace(OF_THE_FIRST, **change)
    for change in ({"key": b"\xff"}, {"key": None}, {"value": b"a\nb"}, {"headers": (("h", b"\xff"),)})
)], ids=lambda fact: type(fact).__name__)  # fmt: skip
def test_what_older_dispatchers_would_take_for_something_else_bears_the_format_they_refuse(
    fact: Fact,
) -> None:
    _, head, _ = head_of(fact)
    unknown = isinstance(fact, Paused | Done)
    other = isinstance(fact, Timer) and fact != OF_THE_FIRST
    assert head["v"] == (2 if unknown or other else 1)


def test_a_timer_that_any_dispatcher_reads_is_written_as_ever() -> None:
    assert encode(OF_THE_FIRST)[1] == (
        b'{"v":1,"job":"a","planned":1,"due":2,"attempt":1,"topic":"topic","partition":0,"grace":5,'
        b'"key":"a","headers":[["h","v"]]}\n{}'
    )


@pytest.mark.parametrize("fact", of_every_kind(), ids=lambda fact: type(fact).__name__)
def test_a_newer_format_is_refused_with_what_to_do(fact: Fact) -> None:
    key, head, rest = head_of(fact)
    newer = json.dumps({**head, "v": VERSION + 1}).encode() + rest
    with pytest.raises(LedgerUnfit, match=f"format {VERSION + 1}, .* knows up to {VERSION}; upgrade"):
        decode(key, newer)


@pytest.mark.parametrize("fact", of_every_kind(), ids=lambda fact: type(fact).__name__)
def test_a_record_without_one_of_its_fields_is_refused(fact: Fact) -> None:
    key, head, rest = head_of(fact)
    for field in head:
        less = json.dumps({name: value for name, value in head.items() if name != field}).encode() + rest
        with pytest.raises(LedgerUnfit, match="cannot be read"):
            decode(key, less)


@pytest.mark.parametrize("fact", of_every_kind(), ids=lambda fact: type(fact).__name__)
@pytest.mark.parametrize("wrong", [None, 7, "x", [], {}, [[]], [[1, 2]], {"x": {}}], ids=repr)
def test_a_field_of_another_kind_is_refused_or_at_least_no_accident(fact: Fact, wrong: object) -> None:
    key, head, rest = head_of(fact)
    for field in head:
        try:
            decode(key, json.dumps({**head, field: wrong}).encode() + rest)
        except LedgerUnfit:
            continue


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"cursor", b"job/a", b"timer/a", b"change/1", b"revision/r", b"identity", b"owner",
                     b"paused/a", b"done/a"]),
    st.binary(max_size=80) | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("vx"), inner),
    ).map(lambda data: json.dumps(data).encode()),
)  # fmt: skip
def test_garbage_is_refused_as_such(key: bytes, value: bytes) -> None:
    with pytest.raises(LedgerUnfit, match=r"cannot be read|knows up to"):
        decode(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"cursor", None), (b"identity", None), (b"change/x", None), (b"", b'{"v":1}'), (b"nothing", None),
        (b"\xff\xfe", b'{"v":1}'), (b"change/x", b'{"v":1,"from":1}'), (b"cursor", b"[" * 100_000),
    ],
)  # fmt: skip
def test_records_that_no_dispatcher_writes_are_refused(key: bytes, value: bytes | None) -> None:
    with pytest.raises(LedgerUnfit, match="only a dispatcher may write there"):
        decode(key, value)


def test_a_job_record_cut_short_is_refused_and_never_loses_a_version() -> None:
    version = Version(1, "r", b'{"jobName":"a"}', "digest", 5, 5)
    key, value = encode(JobVersions("a", (version, version)))
    assert value is not None
    with pytest.raises(LedgerUnfit, match="cannot be read"):
        decode(key, value.rpartition(b"\n")[0])


def lived(seed: int) -> dict[bytes, bytes]:
    """Return the ledger of a shard that saw edits, outages and an abandoned change in pieces."""
    chance = random.Random(seed)
    world = World(limits=with_limits(batch=3, piece=2))
    now, asked = T0, 0
    world.start(now)
    for edit in range(4):
        jobs = [
            job(name, every=f"{chance.randrange(1, 4)}s", jitterSeconds=chance.choice([0, 5]), catchUp="all")
            for name in chance.sample("abcdefgh", 5)
        ]
        if world.shard.base() is not None:
            world.offer(jobs, revision=f"r{edit}", seen=now)
        for _ in range(chance.randrange(1, 7)):
            if chance.random() < 0.3:
                asked += 1
                kind: CommandType = chance.choice(("trigger", "pause", "resume"))
                world.shard.take(Command(kind, f"c{asked}", job=chance.choice("abcdefgh")), asked)
            decision = world.shard.decide(now)
            if isinstance(decision, Batch):
                world.commit(decision, now)
            now += chance.randrange(2_000)
        if chance.random() < 0.5:
            now += 60_000
            world.start(now)
    return world.ledger


def seen_of(state: ShardState) -> dict[str, object]:
    return {name: value for name, value in vars(state).items() if name != "_reader"}


@pytest.mark.parametrize("seed", range(25))
def test_a_restore_does_not_depend_on_the_order_of_the_records(seed: int) -> None:
    records = list(lived(seed).items())
    in_order = ShardState()
    in_order.restore(decode(*one) for one in records)
    assert in_order.position is not None
    chance = random.Random(seed)
    for _ in range(5):
        chance.shuffle(records)
        other = ShardState()
        other.restore(decode(*one) for one in records)
        assert comparable(other) == comparable(in_order)


def comparable(state: ShardState) -> dict[str, object]:
    """Return a state's parts; jobs by what they say, for readers share objects each in their own way."""
    parts = seen_of(state)
    parts["records"] = {
        name: (one.version(), [past.version() for past in one.past]) for name, one in state.records.items()
    }
    parts["_open"] = {name: versions for name, (versions, _) in state._open.items()}
    del parts["_unused"]
    return parts


def test_the_histories_hold_every_kind_of_record() -> None:
    kinds = {key.partition(b"/")[0] for seed in range(25) for key in lived(seed)}
    assert kinds == {
        *(b"cursor", b"identity", b"owner", b"job", b"timer", b"change", b"revision", b"paused", b"done")
    }


def test_the_revisions_forgotten_are_the_oldest_in_whatever_order_they_were_restored() -> None:
    world = World()
    world.start(T0)
    for number in reversed(range(1_001)):
        key, value = encode(Revision(f"old{number:04d}", T0 + number, "a"))
        assert value is not None
        world.ledger[key] = value
    world.start(T0 + 5_000)
    world.offer([job("a")], revision="new", seen=T0 + 5_000)
    world.run(T0 + 5_000)
    assert b"revision/old0000" not in world.ledger
    assert b"revision/old1000" in world.ledger
