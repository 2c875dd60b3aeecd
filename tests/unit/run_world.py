"""Deliveries of fires, as a worker gets them."""

from __future__ import annotations

import json
from typing import Any

from dispatcher.core.offsets import Past
from dispatcher.core.run import Delivery, Poison, Run, RunReader

ENTRY: dict[str, Any] = {"jobName": "nightly", "cronTime": "@daily", "job": "noop"}
FIRE = "nightly@2026-11-20T02:00:00Z"
HEADERS: dict[str, bytes | None] = {
    "ce_specversion": b"1.0", "ce_type": b"dispatcher.fire", "ce_id": FIRE.encode(), "ce_subject": b"nightly",
    "ce_time": b"2026-11-20T02:00:00Z", "attempt": b"1", "shard": b"3",
}  # fmt: skip


def delivery(
    value: bytes | None = json.dumps(ENTRY).encode(), key: bytes | None = b"nightly", **headers: bytes | None
) -> Delivery:
    told = {**HEADERS, **headers}
    return Delivery("d.jobs.normal", 7, 42, 1_000, key, value, list(told.items()))


def read(one: Delivery, past: Past = Past(), *, maybe: bool = False) -> Run:  # noqa: B008 - it is frozen
    run = RunReader(4).read(one, past, maybe=maybe)
    assert isinstance(run, Run), run
    return run


def poison(one: Delivery) -> str:
    found = RunReader(4).read(one)
    assert isinstance(found, Poison), found
    return found.why
