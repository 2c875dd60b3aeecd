"""Random histories of a shard's thread: commits in doubt, silence, crashes, edits; counted by arithmetic."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import Any

import pytest
from memory_log import Commit
from shard_world import TOPICS, with_limits
from test_shard_histories import Shaken
from test_shard_thread import Bench, change_to

from dispatcher.core.command import Command
from dispatcher.core.shard import Shard
from dispatcher.errors import DispatcherError, KafkaUnreachable, TransactionFailed

HISTORIES = 200


class Seen:
    """What readers of committed records see of a bench, in the words of a `World`."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @property
    def fires(self) -> list[str]:
        return self._bench.broker.ids()

    @property
    def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        found = []
        for topic, value, _, _, headers in self._bench.broker.committed:
            if topic == TOPICS.events:
                head = {name: text.decode() for name, text in headers or ()}
                found.append((head["ce_type"], head.get("ce_subject", ""), json.loads(value or b"")))
        return found

    def events_of(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        return [(subject, data) for found, subject, data in self.events if found == kind]

    @property
    def shard(self) -> Shard:
        assert self._bench.thread._shard is not None
        return self._bench.thread._shard


class Stormy(Shaken):
    """A thread to which things happen at random."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        batch, piece = self.chance.choice([(1, 1), (3, 2), (5, 50), (100, 3)])
        limits = with_limits(
            batch=batch, piece=piece, heartbeat_ms=7_000, behind_ms=2_000, first_look_ms=1_000,
            **self.budget(), **self.staging(),
        )  # fmt: skip
        self.bench = Bench(limits)
        self.world = Seen(self.bench)  # type: ignore[assignment]  # what the arithmetic looks at
        self.revision = self.latest = self.told = 0
        self.jobs = {}
        self.looked = 0
        self.bench.rest()

    @property
    def now(self) -> int:  # type: ignore[override]  # the clock says it
        return self.bench.clock.now

    def live(self, steps: int) -> None:
        for _ in range(steps):
            things = [self.work] * 3 + [self.edit, self.storm, self.fall, self.drop, self.set_clock]
            self.chance.choice(things)()
        for faults in (self.broker.commits, self.broker.fencing, self.broker.asking, self.broker.reading):
            faults.clear()
        self.bench.rest(20_000)
        self.bench.clock.pass_(2_001)
        self.bench.rest(20_000)
        while self.owes():
            self.bench.clock.pass_(1_000)
            self.bench.rest(20_000)

    @property
    def broker(self) -> Any:
        return self.bench.broker

    def work(self) -> None:
        until = self.now + self.chance.randrange(1, 9_000)
        while self.now < until:
            if self.looked != self.bench.recompares and self.bench.thread.base is not None:
                self.offer()
            wait = self.bench.step()
            self.bench.clock.pass_(
                min(until - self.now, round(wait * 1000)) if wait else self.chance.choice([0, 1, 40])
            )

    def storm(self) -> None:
        for _ in range(self.chance.randrange(1, 4)):
            self.broker.commits.append(self.chance.choice(list(Commit)))
        nobody: list[DispatcherError | None] = [
            None, KafkaUnreachable("nobody answers"), TransactionFailed("not now"),
        ]  # fmt: skip
        for faults in (self.broker.fencing, self.broker.asking, self.broker.reading):
            if self.chance.random() < 0.4:
                faults.extend(self.chance.choices(nobody[: 3 if faults is self.broker.fencing else 2], k=3))

    def owes(self) -> bool:
        """Return whether there is backlog: it may wait for its budget."""
        position = self.world.shard.state.position
        return position is not None and bool(position.backlog)

    def drop(self) -> None:
        self.told += 1
        command = Command("drop-missed", f"d{self.told}", until=self.now)
        self.bench.thread.post(partial(Shard.take, command=command, next_offset=self.told))

    def fall(self) -> None:
        self.bench.clock.pass_(self.chance.choice([1, 500, 20_000]))
        self.bench.crash()

    def staging(self) -> dict[str, int]:
        """Return how bursts are staged: not at all, few fires, or some."""
        return {
            "stage_ahead_ms": self.chance.choice([0, 600, 1_500]), "stage_rate": 10,
            "stage_from": self.chance.choice([1, 2, 4]), "stage_most": self.chance.choice([2, 50_000]),
        }  # fmt: skip

    def set_clock(self) -> None:
        """Have the wall clock set by less than anybody would hold a shard for."""
        self.latest = max(self.latest, self.now)
        self.bench.clock.jump(self.chance.choice([-3_000, -700, -300, 300, 700, 3_000]))

    def edit(self, *, witnessed: bool = True) -> None:
        del witnessed
        for name in self.chance.sample("abcdef", 3):
            if self.chance.random() < 0.25:
                self.jobs.pop(name, None)
            else:
                self.jobs[name] = self.some_job(name)
        self.revision += 1
        self.looked = -1

    def offer(self) -> None:
        """Bring what the file holds, as the feed does."""
        self.looked = self.bench.recompares
        base = self.bench.thread.base
        if base is not None and base.revision != f"r{self.revision}" and self.revision:
            change = change_to(base, self.jobs.values(), f"r{self.revision}", self.now)
            self.bench.thread.post(partial(Shard.offer, change=change))
        self.bench.thread.post(partial(Shard.looked, revision=f"r{self.revision}"))


@pytest.mark.parametrize("block", range(4))
def test_no_history_of_faults_loses_or_doubles_a_fire(block: int) -> None:
    applied = fires = staged = landed = 0
    for seed in range(block * HISTORIES // 4, (block + 1) * HISTORIES // 4):
        stormy = Stormy(seed)
        stormy.live(40)
        assert stormy.faults() == [], f"seed {seed}"
        applied += len(stormy.world.events_of("schedule.applied"))
        fires += len(stormy.world.fires)
        staged += len(stormy.broker.stagings)
        landed += len(stormy.broker.landings)
    assert applied > HISTORIES / 4
    assert fires > HISTORIES * 5
    assert landed > HISTORIES * 2
    assert staged - landed > HISTORIES / 10, "too few were given up"
