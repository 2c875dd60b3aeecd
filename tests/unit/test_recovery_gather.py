"""What a look at an installation takes a fire for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.kafka.recovery_gather import Gathered

PLACE: Any = SimpleNamespace(topic=lambda: "t", partition=lambda: 1, offset=lambda: 2)


def heads(ident: bytes, time: bytes) -> dict[str, bytes]:
    return {"ce_id": ident, "ce_time": time}


def test_the_latest_planned_fire_counts_and_none_that_was_asked_for() -> None:
    found = Gathered()
    found.note_fire(PLACE, heads(b"a!x", b"2026-11-20T12:00:00Z"))
    assert found.sent is None
    for second in (b"1", b"3", b"2"):
        time = b"2026-11-20T12:00:0%bZ" % second
        found.note_fire(PLACE, heads(b"a@" + time, time))
    assert found.sent is not None
    assert (found.sent.fire, found.sent.place) == ("a@2026-11-20T12:00:03Z", "t[1]@2")


@pytest.mark.parametrize("order", ["abc", "cab", "bca"])
def test_of_fires_planned_for_one_instant_one_is_told_in_whatever_order_they_come(order: str) -> None:
    found, time = Gathered(), b"2026-11-20T12:00:00Z"
    for name in order:
        found.note_fire(PLACE, heads(name.encode() + b"@" + time, time))
    assert found.sent is not None
    assert found.sent.fire == "a@2026-11-20T12:00:00Z"


@pytest.mark.parametrize("headers", [{}, {"ce_id": b"a@x"}, {"ce_id": b"a@x", "ce_time": b"\xff"}])
def test_what_cannot_be_read_is_nobody_s(headers: dict[str, bytes]) -> None:
    found = Gathered()
    found.note_fire(PLACE, headers)
    assert found.sent is None
