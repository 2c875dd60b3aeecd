"""The wire form of a fire, header by header."""

from __future__ import annotations

import re

import pytest
from shard_world import World, job

from dispatcher.core.instant import from_text
from dispatcher.core.job import Lane
from dispatcher.core.ledger import Timer
from dispatcher.core.message import MessageMaker, TopicNames, fire_id, message_of, timer_of, traceparent
from dispatcher.core.partitioner import murmur2, shard_of

T = from_text("2026-11-20T02:00:00Z")
NAMES = TopicNames("acme")
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
}
"""Hashes that Kafka's own test of `Utils.murmur2` lists."""


def maker(shard: int = 3, partitions: int | None = 12) -> MessageMaker:
    return MessageMaker(NAMES, shard, lambda _: partitions)


def test_a_fire_is_a_cloud_event_in_binary_mode() -> None:
    nightly = job("nightly", payload={"b": 1, "a": 2}, priority=7)
    topic, value, key, _, headers = maker().fire(nightly, T, "abc123")
    assert topic == "acme.jobs.high"
    assert key == b"nightly"
    assert (
        value
        == b'{"jobName":"nightly","job":"noop","payload":{"b":1,"a":2},"priority":7,"cronTime":"* * * * *"}'
    )
    assert headers == [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"dispatcher.fire"),
        ("ce_source", b"/acme/shards/3"),
        ("ce_id", b"nightly@2026-11-20T02:00:00Z"),
        ("ce_subject", b"nightly"),
        ("ce_time", b"2026-11-20T02:00:00Z"),
        ("content-type", b"application/json"),
        ("attempt", b"1"),
        ("shard", b"3"),
        ("revision", b"abc123"),
        ("traceparent", traceparent(b"nightly", murmur2(b"nightly"), b"%016x" % T)),
    ]


def test_the_trace_context_is_of_the_fire_and_of_w3c_form() -> None:
    fires = [("a", T), ("a", T), ("b", T), ("a", T + 1)]
    one, same, *others = (dict(maker().fire(job(n), at, "r")[4] or ())["traceparent"] for n, at in fires)
    assert one == same
    assert len({one, *others}) == 3
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", one)


def test_headers_follow_the_fire_and_never_the_one_made_before() -> None:
    one = maker()
    seen = []
    for planned, revision in [(T, "r1"), (T + 500, "r1"), (T + 500, "r2"), (T, "r1")]:
        head = dict(one.fire(job("a"), planned, revision)[4] or ())
        seen.append((head["ce_time"], head["ce_id"], head["revision"]))
    assert seen == [
        (b"2026-11-20T02:00:00Z", b"a@2026-11-20T02:00:00Z", b"r1"),
        (b"2026-11-20T02:00:00.500Z", b"a@2026-11-20T02:00:00.500Z", b"r1"),
        (b"2026-11-20T02:00:00.500Z", b"a@2026-11-20T02:00:00.500Z", b"r2"),
        (b"2026-11-20T02:00:00Z", b"a@2026-11-20T02:00:00Z", b"r1"),
    ]


def test_headers_of_one_message_are_no_others() -> None:
    one = maker()
    first = one.fire(job("a", headers={"team": "bi"}), T, "r")[4]
    second = one.fire(job("b"), T, "r")[4]
    assert first is not second
    assert "team" not in dict(second or ())


@pytest.mark.parametrize(
    ("expires", "text"), [(90, b"2026-11-20T02:01:30Z"), (0.25, b"2026-11-20T02:00:00.250Z"), (None, None)]
)
def test_not_after_is_the_planned_instant_and_the_expiry(expires: float | None, text: bytes | None) -> None:
    fields = {} if expires is None else {"expiresAfterSeconds": expires}
    headers = dict(maker().fire(job("a", jitterSeconds=30, **fields), T, "r")[4] or ())
    assert headers.get("not_after") == text


def test_own_headers_come_last_and_in_their_order() -> None:
    headers = maker().fire(job("a", headers={"z": "1", "a": "é"}), T, "r")[4] or []
    assert headers[-2:] == [("z", b"1"), ("a", "é".encode())]


@pytest.mark.parametrize(
    ("priority", "lane"),
    [
        (10, "critical"), (9, "critical"), (8, "high"), (7, "high"), (6, "normal"), (3, "normal"),
        (2, "low"), (0, "low"),
    ],
)  # fmt: skip
def test_a_priority_has_its_lane(priority: int, lane: str) -> None:
    assert maker().fire(job("a", priority=priority), T, "r")[0] == f"acme.jobs.{lane}"


def test_an_own_topic_and_key_are_used() -> None:
    topic, _, key, partition, _ = maker(partitions=7).fire(job("a", topic="orders", key="foobar"), T, "r")
    assert (topic, key) == ("orders", b"foobar")
    assert partition == (JAVA["foobar"] & 0x7FFFFFFF) % 7


@pytest.mark.parametrize(("text", "hashed"), JAVA.items())
@pytest.mark.parametrize("partitions", [1, 4, 12, 50])
def test_the_partition_is_the_one_kafkas_default_partitioner_gives(
    text: str, hashed: int, partitions: int
) -> None:
    assert murmur2(text.encode()) == hashed & 0x7FFFFFFF
    assert (
        maker(partitions=partitions).fire(job("a", key=text), T, "r")[3] == (hashed & 0x7FFFFFFF) % partitions
    )


@pytest.mark.parametrize(("shards", "partitions"), [(4, 12), (4, 4), (3, 12), (1, 12)])
def test_a_shard_writes_only_its_own_partitions_for_default_keys(shards: int, partitions: int) -> None:
    for number in range(200):
        one = job(f"job-{number}")
        shard = shard_of(one.name, shards)
        assert maker(shard, partitions).fire(one, T, "r")[3] % shards == shard


def test_the_value_is_the_same_bytes_for_every_fire() -> None:
    world = World()
    world.start(T)
    world.offer([job("a", payload={"x": 1.10, "ü": "é"})], revision="r", seen=T)
    world.run(T)
    world.run_until(T, T + 300_000)
    values = {message[1] for message in world.messages}
    assert len(world.messages) == 5
    assert values == {world.shard.state.records["a"].job.definition}
    assert "é".encode() in values.pop()  # type: ignore[operator]  # a fire has a value


@pytest.mark.parametrize("topic", ["acme", "acme.ledger", "acme.jobs.high", "acme.mine"])
def test_a_topic_under_the_prefix_is_no_jobs_to_name(topic: str) -> None:
    with pytest.raises(KeyError, match=topic):
        maker().fire(job("a", topic=topic), T, "r")


@pytest.mark.parametrize("topic", ["acmes", "acme-orders", "orders.acme"])
def test_a_topic_that_only_looks_like_the_prefix_is_free(topic: str) -> None:
    assert maker().fire(job("a", topic=topic), T, "r")[0] == topic


def test_a_topic_that_is_not_there_is_told_by_name() -> None:
    with pytest.raises(KeyError, match="orders"):
        maker(partitions=None).fire(job("a", topic="orders"), T, "r")


def test_a_timer_keeps_the_whole_message() -> None:
    one = job("a", jitterSeconds=40, headers={"team": "bi"}, topic="orders")
    message = maker().fire(one, T, "r")
    timer = timer_of(one, T, message, 5_000)
    assert (timer.id, timer.planned, timer.due, timer.grace_ms) == (
        fire_id("a", T),
        T,
        T + one.delay_ms,
        5_000,
    )
    assert isinstance(timer, Timer)
    assert message_of(timer) == message


def test_every_lane_has_a_topic_and_all_lie_under_the_prefix() -> None:
    topics = [NAMES.lane(lane) for lane in Lane]
    assert topics == [f"acme.jobs.{name}" for name in ("critical", "high", "normal", "low")]
    own = [NAMES.shards, NAMES.ledger, NAMES.commands, NAMES.events, NAMES.dead, *topics]
    assert all(map(NAMES.reserves, own))
