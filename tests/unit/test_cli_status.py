"""`dispatcher status`: what is made of ledgers, groups and events, and when something is wrong."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from shard_world import World, job

from dispatcher.cli.status import Row, _next_due, _take_in, _troubles
from dispatcher.core.instant import from_text
from dispatcher.kafka.group import Member, _member
from dispatcher.kafka.live import Seen

T0 = from_text("2026-11-20T12:00:30Z")
MINUTE = 60_000
SOMEBODY = [Member("a", "h", ())]


def world(*names: str) -> World:
    found = World(instance="a")
    found.start(T0)
    if names:
        found.offer([job(name) for name in names], revision="r" * 64, seen=T0)
        found.run(T0)
    return found


def row(found: World, after_minutes: float) -> Row:
    state = found.shard.state
    return Row(0, state, _next_due(state), round(T0 + after_minutes * MINUTE))


def test_a_shard_that_fires_is_well() -> None:
    found = world("a", "b")
    assert row(found, 0.2).cells()[5:] == ("0.0 s", "2026-11-20T12:01:00Z", "well")
    found.run(T0 + MINUTE // 2)
    one = row(found, 0.7)
    assert one.cells() == (
        0, "a", "2026-11-20T12:00:30Z", "r" * 12, 2, "12.0 s", "2026-11-20T12:02:00Z", "well"
    )  # fmt: skip
    assert list(_troubles([one], SOMEBODY)) == []
    facts = one.facts()
    assert (facts["owner"]["instance"], facts["jobs"], facts["overdueSeconds"]) == ("a", 2, 0)
    assert json.loads(json.dumps(facts)) == facts


def test_a_shard_whose_fire_is_missing_is_overdue() -> None:
    assert list(_troubles([row(world("a"), 1.5)], SOMEBODY)) == []
    assert list(_troubles([row(world("a"), 4)], SOMEBODY)) == ["Shard 0: overdue by 150 s."]


def test_a_shard_without_a_schedule_and_a_group_without_members_are_told() -> None:
    assert list(_troubles([row(world(), 1)], [])) == [
        "No dispatcher is in the group: nothing fires.", "Shard 0: no schedule in force."
    ]  # fmt: skip


def event(kind: str, **data: Any) -> Seen:
    head = [("ce_type", f"schedule.{kind}".encode())]
    return Seen("d.events", 0, 0, T0, None, json.dumps(data).encode(), head)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (["refused"], {"refused"}),
        (["refused", "applied"], set()),
        (["held", "refused"], {"held", "refused"}),
        (["held", "released"], set()),
        (["applied", "held"], {"held"}),
    ],
)
def test_the_last_word_on_a_file_counts(events: list[str], told: set[str]) -> None:
    found: dict[str, Any] = {"refused": None, "held": None}
    for kind in events:
        _take_in(found, event(kind, revision="r", problems=["x"], other="y"))
    assert {name for name, one in found.items() if one} == told
    for one in filter(None, found.values()):
        assert one == {"at": "2026-11-20T12:00:30Z", "revision": "r", "problems": ["x"]}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (b"run.dead", b"not json"), (b"schedule.refused", b"not json"), (b"schedule.refused", b"\xff"),
        (b"schedule.held", b"[1]"), (b"\xff", None),
    ],
)  # fmt: skip
def test_other_events_and_what_no_dispatcher_wrote_are_passed_over(kind: bytes, value: bytes | None) -> None:
    found: dict[str, Any] = {"refused": None, "held": None}
    _take_in(found, Seen("d.events", 0, 0, T0, None, value, [("ce_type", kind)]))
    assert found == {"refused": None, "held": None}


@pytest.mark.parametrize(
    ("client", "instance"),
    [
        ("dispatcher-host-1-member-0a1b2c3d", "host-1"),
        ("dispatcher-w1-worker-0a1b2c3d", "w1"),
        ("somebody else", "somebody else"),
    ],
)
def test_members_are_known_by_their_instance(client: str, instance: str) -> None:
    places = [SimpleNamespace(topic="d.shards", partition=number) for number in (1, 0)]
    found: Any = SimpleNamespace(
        client_id=client, host="/10.0.0.1", assignment=SimpleNamespace(topic_partitions=places)
    )
    assert _member(found) == Member(instance, "10.0.0.1", (("d.shards", 0), ("d.shards", 1)))
