"""Health: what speaks against a replica's being well, and that a change is told once."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from dispatcher.core.health import Health
from dispatcher.produce.health import Standing, judge
from dispatcher.produce.health_watch import HealthWatch

NOW = 1_000_000


def shard(number: int, silent: int, *, taken: bool = True) -> Standing:
    return Standing(number, taken, NOW - silent)


@pytest.mark.parametrize(
    ("shards", "silence", "reasons"),
    [
        ((), 0, ()),
        ((shard(0, 15_000), shard(1, 0)), 10_000, ()),
        ((shard(0, 15_001),), 0, ("shard 0 could not commit for 15 s",)),
        ((shard(0, 20_000, taken=False),), 0, ("shard 0 could not be taken for 20 s",)),
        ((), 10_001, ("no broker has answered the membership for 10 s",)),
        (
            (shard(1, 40_000), shard(2, 0), shard(3, 50_000, taken=False)), 12_000,
            ("no broker has answered the membership for 12 s", "shard 1 could not commit for 40 s",
             "shard 3 could not be taken for 50 s"),
        ),
    ],
)  # fmt: skip
def test_a_replica_is_well_while_kafka_answers_and_every_shard_is_sure(
    shards: tuple[Standing, ...], silence: float, reasons: tuple[str, ...]
) -> None:
    assert judge(shards, silence, NOW) == Health(reasons)
    assert judge(shards, silence, NOW).healthy == (not reasons)


def test_each_change_is_told_once() -> None:
    bad, worse, good = Health(("a",)), Health(("a", "b")), Health()
    looks = [good, good, bad, bad, worse, good, good, worse]
    watch = HealthWatch(lambda: looks.pop(0), failed=lambda _, error: pytest.fail(str(error)))
    with capture_logs() as told:
        for _ in range(8):
            watch._step()
    assert [(entry["event"], entry.get("reasons")) for entry in told] == [
        ("health.lost", ["a"]), ("health.back", None), ("health.lost", ["a", "b"]),
    ]  # fmt: skip
