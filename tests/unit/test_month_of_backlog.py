"""Ten thousand jobs after a month without a dispatcher, with crashes in the middle: counted by arithmetic."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from shard_world import TOPICS, World, job, with_limits

from dispatcher.core.batch import Batch, Rest
from dispatcher.core.instant import from_text

JOBS = 10_000
HOUR = 3_600_000
T0 = from_text("2026-10-20T12:00:30Z")
END = T0 + 31 * 24 * HOUR
CAP = 500
POLICIES = ("none", "latest", "all")


class Counted(World):
    """A world that keeps of each fire only what arithmetic needs: there are millions."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(limits=with_limits(**limits))
        self.count: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.last: dict[str, str] = {}

    def write(self, batch: Batch) -> None:
        """Take a batch in; the fires of each job must come in the order in which they were planned."""
        messages = [one for one in batch.outgoing if one[0] not in (TOPICS.ledger, TOPICS.events)]
        for *_, headers in messages:
            name, _, planned = dict(headers or ())["ce_id"].decode().partition("@")
            assert planned > self.last.get(name, ""), f"{name} at {planned} after {self.last[name]}"
            self.first.setdefault(name, planned)
            self.last[name] = planned
            self.count[name] += 1
        super().write(batch)
        self.fires.clear()
        self.messages.clear()
        self.batches.clear()


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_a_month_of_ten_thousand_jobs_survives_crashes() -> None:
    chance = random.Random(7)
    policies = {f"j{number:05d}": POLICIES[number % 3] for number in range(JOBS)}
    jobs = [
        job(name, every="1h", catchUp=policy, jitterSeconds=number % 2 * 900)
        for number, (name, policy) in enumerate(policies.items())
    ]
    world = Counted(batch=2_000, piece=100_000, catch_up_most=CAP)
    world.start(T0)
    world.offer(jobs, revision="r1", seen=T0)
    world.run(T0)
    now, crashes = END, 0
    restart(world, now)
    while not isinstance(decided := world.shard.decide(now), Rest):
        if chance.random() > 0.03:
            world.commit(decided, now)
            continue
        crashes += 1
        if chance.random() < 0.5:
            world.write(decided)
        restart(world, now)
    assert crashes > 15
    check(world, {one.name: one.delay_ms for one in jobs}, policies)


def restart(world: World, now: int) -> None:
    """Start anew from the ledger."""
    world.start(now)
    world.looked()


def check(world: Counted, delays: dict[str, int], policies: dict[str, str]) -> None:
    """Check what became of the fires of jobs that are due every hour, by their numbers and their ends."""
    skips: dict[str, list[tuple[str, int, int, int]]] = {}
    for name, data in world.events_of("run.skipped"):
        after, until = from_text(data["after"]), from_text(data["until"])
        skips.setdefault(name, []).append((data["reason"], data["count"], after, until))
    for name, policy in policies.items():
        first, last = (T0 // HOUR + 1) * HOUR, (END - delays[name] - 1) // HOUR * HOUR
        missed = (last - first) // HOUR + 1
        fresh = ((END - 1) // HOUR * HOUR - last) // HOUR  # planned before the end, due after it
        kept = {"none": 0, "latest": 1, "all": CAP - fresh}[policy]
        within = last + delays[name] > END - 60_000
        kept = max(kept, int(within))
        assert world.count[name] == kept, name
        if kept:
            assert from_text(world.last[name]) == last
            assert from_text(world.first[name]) == last - (kept - 1) * HOUR
        [(reason, count, after, until)] = skips[name]
        assert reason == {"none": "missed", "latest": "coalesced", "all": "capped"}[policy]
        assert count == missed - kept
        assert after < first
        assert last - kept * HOUR <= until < last - (kept - 1) * HOUR
