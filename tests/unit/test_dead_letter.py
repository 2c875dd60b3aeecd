"""Dead letters: the whole message, the reason, and the marks that settle them."""

from __future__ import annotations

from typing import cast

import pytest

from dispatcher.core.dead_letter import Letter, Mark, letter, mark, read_letter
from dispatcher.core.instant import from_text
from dispatcher.core.log_record import Record
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.partitioner import murmur2
from dispatcher.core.run import Delivery

NAMES = TopicNames("acme")
T = from_text("2026-11-20T02:00:00Z")
FIRE = [
    ("ce_id", b"nightly@2026-11-20T02:00:00Z"),
    ("ce_type", b"dispatcher.fire"),
    ("ce_subject", b"nightly"),
    ("attempt", b"2"),
]
Headers = list[tuple[str, bytes | None]]


def delivery(headers: Headers | None = None, key: bytes | None = b"nightly") -> Delivery:
    told = cast("Headers", FIRE) if headers is None else headers
    return Delivery("acme.jobs.high", 7, 42, T, key, b'{"job":"noop"}', told)


def dead(of: Delivery, partitions: int = 12) -> Outgoing:
    return letter(NAMES, partitions, of, reason="no route to höst", attempts=3, at=T + 1, by="w-1")


def record(sent: Outgoing, offset: int = 5) -> Record:
    topic, value, key, partition, headers = sent
    return Record(topic, partition, offset, T, headers or [], value, key)


def read(of: Delivery) -> Letter:
    found = read_letter(record(dead(of)))
    assert isinstance(found, Letter)
    return found


def test_a_letter_is_the_message_with_what_was_told() -> None:
    topic, value, key, partition, headers = dead(delivery())
    assert (topic, value, key) == ("acme.dead", b'{"job":"noop"}', b"nightly")
    assert partition == murmur2(b"nightly") % 12
    assert headers == [
        *FIRE,
        ("dead_reason", "no route to höst".encode()),
        ("dead_attempts", b"3"),
        ("dead_topic", b"acme.jobs.high"),
        ("dead_partition", b"7"),
        ("dead_offset", b"42"),
        ("dead_at", b"2026-11-20T02:00:00.001Z"),
        ("dead_by", b"w-1"),
    ]


def test_a_message_without_a_key_keeps_its_partition_as_far_as_there_is_one() -> None:
    assert dead(delivery(key=None), 12)[2:4] == (None, 7)
    assert dead(delivery(key=None), 4)[3] == 3


def test_what_is_written_is_read() -> None:
    found = read(delivery())
    assert (found.topic, found.partition, found.offset) == ("acme.jobs.high", 7, 42)
    assert (found.key, found.value, found.headers) == (b"nightly", b'{"job":"noop"}', tuple(FIRE))
    assert (found.reason, found.attempts, found.at, found.by) == ("no route to höst", 3, T + 1, "w-1")
    assert (found.fire, found.job) == ("nightly@2026-11-20T02:00:00Z", "nightly")
    assert found.place == (murmur2(b"nightly") % 12, 5)


def test_a_mark_lies_beside_its_letter_and_names_it() -> None:
    found = read(delivery())
    sent = mark(NAMES, found, "retried", attempt=4, at=T + 9)
    assert sent[:4] == ("acme.dead", None, b"nightly", found.place[0])
    assert read_letter(record(sent, 6)) == Mark(found.place, "retried", T + 9, found.fire, 4)


def test_a_letter_that_dies_again_is_told_of_once() -> None:
    """A message that was a letter, or a mark, before carries nothing of that on."""
    first = record(dead(delivery()))
    stale: Headers = [*first.headers, ("dead_settled", b"dropped")]
    again = letter(NAMES, 12, delivery(stale), reason="again", attempts=9, at=T, by="w")
    found = read_letter(record(again))
    assert isinstance(found, Letter)
    assert (found.reason, found.attempts, found.headers) == ("again", 9, tuple(FIRE))


def test_headers_without_a_value_are_kept() -> None:
    bare: Headers = [*FIRE, ("empty", None)]
    assert read(delivery(bare)).headers[-1] == ("empty", None)


def test_text_that_is_no_text_does_not_stop_a_letter() -> None:
    sent = letter(NAMES, 12, delivery(), reason="half \ud800", attempts=1, at=T, by="w\ud800")
    found = read_letter(record(sent))
    assert isinstance(found, Letter)
    assert found.reason == "half ?"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("dead_reason", b"only that")],
        [("dead_settled", b"dropped"), ("dead_letter", b"five"), ("dead_at", b"2026-11-20T02:00:00Z")],
        [("dead_settled", b"\xff")],
        [("dead_settled", b"dropped"), ("dead_letter", None)],
    ],
)
def test_what_somebody_else_wrote_there_is_nothing(headers: list[tuple[str, bytes]]) -> None:
    assert read_letter(Record("acme.dead", 0, 1, T, headers, b"{}")) is None


def _without(name: str) -> Headers:
    return [header for header in FIRE if header[0] != name]


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (delivery(), None),
        (delivery(_without("ce_id")), "it is no fire"),
        (delivery(_without("ce_subject")), "it is no fire"),
        (delivery(_without("ce_type")), "it is no fire"),
        (delivery(key=b"\xff"), "not UTF-8"),
        (delivery([*FIRE, ("x", b"\xff")]), "not UTF-8"),
        (delivery([*_without("ce_id"), ("ce_id", b"n" * 601)]), "longer than 600"),
        (delivery()._replace(value=None), "no value"),
    ],
)
def test_only_fires_can_be_fired_again(of: Delivery, why: str | None) -> None:
    told = read(of).why_not_retried()
    assert told is None if why is None else why in (told or "")
