"""Random histories of one shard: crashes, outages, edits, and every fire counted by arithmetic."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from shard_world import World, job, with_limits

from dispatcher.core.batch import Rest
from dispatcher.core.command import Command
from dispatcher.core.instant import from_text
from dispatcher.core.job import Job

T0 = from_text("2026-11-20T12:00:00Z")
HISTORIES = 400


class Shaken:
    """A world to which things happen at random."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        batch, piece = self.chance.choice([(1, 1), (3, 2), (5, 50), (100, 3)])
        self.limits = {"batch": batch, "piece": piece, "heartbeat_ms": 7_000, "behind_ms": 2_000}
        self.world = World(limits=with_limits(**self.limits, **self.budget()))
        self.now = self.latest = T0
        self.revision = self.told = 0
        self.jobs: dict[str, Job] = {}
        self.world.start(self.now)
        self.world.looked()

    def live(self, steps: int) -> None:
        """Let so many things happen, then let all be settled."""
        for _ in range(steps):
            things = [self.work, self.work, self.work, self.edit, self.crash, self.outage, self.step_back]
            self.chance.choice([*things, self.drop])()
        self.now += 1
        self.world.start(self.now)
        self.world.looked()
        while self.world.shard.state.position is not None and self.world.shard.state.position.backlog:
            rest = self.world.run(self.now)
            self.now = max(self.now, rest.until or self.now)
        self.world.run(self.now)

    def budget(self) -> dict[str, int]:
        """Return some rate and cap of what is caught up."""
        return {
            "catch_up_rate": self.chance.choice([0, 1, 20]),
            "catch_up_most": self.chance.choice([0, 1, 9]),
        }

    def drop(self) -> None:
        """Give up what was missed up to some instant; perhaps say it twice."""
        self.told += 1
        until = self.now - self.chance.choice([0, 0, 1_500, 20_000])
        ident = f"d{self.told - self.chance.choice([0, 0, 1])}"
        self.world.shard.take(Command("drop-missed", ident, until=until), self.told)

    def work(self) -> None:
        """Let the shard go on for a while; time passes between its steps."""
        until = self.now + self.chance.randrange(1, 9_000)
        while self.now < until:
            decision = self.world.shard.decide(self.now)
            if isinstance(decision, Rest):
                if self.chance.random() < 0.5:
                    self.world.shard.prepare(self.now)
                self.now = until if decision.until is None else min(until, max(decision.until, self.now + 1))
            else:
                self.world.commit(decision, self.now)
                self.now += self.chance.choice([0, 0, 1, 40])

    def step_back(self) -> None:
        """Have the wall clock set back by less than anybody would hold a shard for."""
        self.latest = max(self.latest, self.now)
        self.now -= self.chance.choice([0, 300, 5_000])

    def crash(self) -> None:
        """Die right before or right after a commit, and start again soon."""
        decision = self.world.shard.decide(self.now)
        if not isinstance(decision, Rest) and self.chance.random() < 0.5:
            self.world.write(decision)
        self.restart(self.chance.randrange(1, 3_000))

    def outage(self) -> None:
        """Be down for longer than every grace."""
        self.restart(self.chance.randrange(5_000, 40_000))

    def restart(self, after: int) -> None:
        """Start again; the file is looked at, or what is missed is settled first."""
        self.now += after
        self.world.limits = with_limits(**self.limits, **self.budget())
        self.world.start(self.now)
        if self.chance.random() < 0.5:
            self.edit(witnessed=False)
        self.world.looked()

    def edit(self, *, witnessed: bool = True) -> None:
        """Change the file: jobs come, go, are re-timed, or only carry something else."""
        if self.world.shard.base() is None:
            return
        for name in self.chance.sample("abcdef", 3):
            if self.chance.random() < 0.25:
                self.jobs.pop(name, None)
            else:
                self.jobs[name] = self.some_job(name)
        self.revision += 1
        seen = self.now - self.chance.randrange(0, 500)
        self.world.offer(self.jobs.values(), revision=f"r{self.revision}", seen=seen, witnessed=witnessed)

    def some_job(self, name: str) -> Job:
        """Return a job of that name with some trigger and policy."""
        chance = self.chance
        old = self.jobs.get(name)
        kept = old is not None and chance.random() < 0.5
        fields = {
            "every": f"{chance.choice([1, 2, 3, 7, 30])}s",
            "jitterSeconds": chance.choice([0, 0, 2, 9, 60]),
            "catchUp": chance.choice(["none", "latest", "all"]),
            "misfireGraceSeconds": chance.choice([0, 3, 60]),
        }
        if kept and old is not None:
            fields["every"] = f"{old.trigger.timing.period_ms // 1000}s"  # type: ignore[union-attr] # all are every
            fields["jitterSeconds"] = old.trigger.jitter_ms // 1000
        return job(name, payload=chance.random(), **fields)

    def faults(self) -> list[str]:
        """Return what is wrong with the history, by arithmetic on the events alone."""
        applied = {
            data["change"]: _ms(data["effectiveFrom"]) for _, data in self.world.events_of("schedule.applied")
        }
        tenures: dict[str, list[list[int]]] = {}
        for kind, name, data in self.world.events:
            if not kind.startswith("job.") or data["change"] not in applied:
                continue
            at = applied[data["change"]]
            if kind != "job.added":
                tenures[name][-1][2] = at
            if kind != "job.removed":
                period = int(data["definition"]["every"].rstrip("s")) * 1000
                tenures.setdefault(name, []).append([period, at, max(self.now, self.latest)])
        planned = {
            (name, instant)
            for name, all_of in tenures.items()
            for period, after, until in all_of
            for instant in range((after // period + 1) * period, until + 1, period)
        }
        done = Counter(self.fires())
        for name, data in self.world.events_of("run.skipped"):
            after, until = _ms(data["after"]), _ms(data["until"])
            inside = [one for one in planned if one[0] == name and after < one[1] <= until]
            done.update(inside)
            if len(inside) != data["count"]:
                yield_ = f"skip of {name} counts {data['count']}, planned were {len(inside)}: {data}"
                return [yield_]
        cursor = self.world.shard.state.cursor()
        lost = [one for one in planned - done.keys() if one[1] + self.delay(one[0]) < cursor.due]
        doubled = [one for one, times in done.items() if times > 1]
        return [
            *(f"lost {one}" for one in lost),
            *(f"doubled {one}" for one in doubled),
            *(f"unexpected {one}" for one in done.keys() - planned),
        ]

    def fires(self) -> list[tuple[str, int]]:
        """Return (job, planned instant) of every committed fire."""
        return [(fire.split("@")[0], _ms(fire.split("@")[1])) for fire in self.world.fires]

    def delay(self, name: str) -> int:
        """Return the longest delay a fire of the job can have."""
        del name
        return 60_000


def _ms(text: str) -> int:
    return from_text(text)


@pytest.mark.parametrize("block", range(4))
def test_no_history_loses_or_doubles_a_fire(block: int) -> None:
    reasons: Counter[str] = Counter()
    for seed in range(block * HISTORIES // 4, (block + 1) * HISTORIES // 4):
        shaken = Shaken(seed)
        shaken.live(40)
        assert shaken.faults() == [], f"seed {seed}"
        reasons.update(data["reason"] for _, data in shaken.world.events_of("run.skipped"))
    assert reasons.keys() >= {"missed", "coalesced", "capped", "dropped", "removed", "retimed"}
