"""A long catch-up: fires per second from the first to the last backlog commit, against a plain loop."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median

from broker.process import until

from bench import schedules
from bench.figure import Figure
from bench.harness import alone
from bench.plain import Plain, committed
from bench.world import SHARDS, World, lanes
from dispatcher.core.message import TopicNames

JOBS, SECONDS = 2_000, 300


@dataclass(frozen=True)
class Settling:
    """When backlog was settled, first and last commit, in milliseconds; `fires` between and their rate."""

    first: float
    last: float
    fires: int = 0

    @property
    def rate(self) -> float:
        """Fires a second."""
        return self.fires / (self.last - self.first) * 1000


def measure(world: World) -> list[Figure]:
    """Miss many fires, catch up, send the same by a plain loop; several times in turn."""
    ours: list[float] = []
    theirs: list[float] = []
    ratios: list[float] = []
    for turn in range(world.repeat):
        settling, plain = _turn(world)
        ours.append(settling.rate)
        theirs.append(plain)
        ratios.append(settling.rate / plain)
        world.tell(
            f"turn {turn + 1}: {settling.fires} fires, {settling.rate:,.0f}/s against {plain:,.0f}/s"
            f" = {ratios[-1]:.2f}"
        )
    return [
        Figure(
            "catch-up", "fires per second, against a plain producer loop", median(ratios), "x", 0.7,
            at_least=True,
            beside=f"{median(ours):,.0f}/s against {median(theirs):,.0f}/s by the plain loop (medians)",
            samples=tuple(ratios), facts={"ours": ours, "plain": theirs, "missed": _missed(world)},
        )
    ]  # fmt: skip


def _missed(world: World) -> int:
    return world.scaled(JOBS) * SECONDS


def _turn(world: World) -> tuple[Settling, float]:
    file = world.directory / "schedule.json"
    jobs = world.scaled(JOBS)
    schedules.write(file, (schedules.job(number, every="1s", catchUp="all") for number in range(jobs)))
    with world.judged() as names, world.installation() as copy:
        _leave_behind(world, names, str(file))
        began = time.time() * 1000
        with world.dispatcher(names, file, "--catch-up-per-second", "0") as dispatcher:
            dispatcher.says("shard.taken", 60)
            until(lambda: _settled(world.bootstrap, names) is not None, "the backlog to be settled", 300)
            dispatcher.terminate(30)
        settling = _settled(world.bootstrap, names)
        assert settling is not None
        with Plain(world.bootstrap, names, copy, began) as plain:
            fires = plain.count
            plain.send()  # the first pass is slow: the client has never seen these partitions
            rate = median(plain.send().rate for _ in range(2))
        share = _fires_between(world.bootstrap, names, settling)
        assert fires >= _missed(world), f"{fires} fires, {_missed(world)} were missed"
        return Settling(settling.first, settling.last, share), rate


def _leave_behind(world: World, names: TopicNames, file: str) -> None:
    """Bring the schedule in force by a clock that is behind, so that everything since is missed."""
    command = [sys.executable, "-m", "bench.past", world.bootstrap, names.prefix, file, str(SECONDS)]
    log = world.directory / "past.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        applied = lambda: log.read_text().count("schedule.applied") == SHARDS  # noqa: E731 - one use
        until(applied, "the schedule in force", 60)
        process.terminate()
        process.wait(30)


def _settled(bootstrap: str, names: TopicNames) -> Settling | None:
    """Return when backlog was settled in all shards, by the broker's clock; None while some is left."""
    commits: list[float] = []
    before: dict[int, list[object]] = {}
    opened: set[int] = set()
    for record in committed(bootstrap, names.ledger):
        if record.key() != b"cursor":
            continue
        shard, backlog = record.partition(), json.loads(record.value())["backlog"]
        previous = before.get(shard, [])
        if len(backlog) > len(previous):
            opened.add(shard)
        elif backlog != previous:
            commits.append(record.timestamp()[1])
        before[shard] = backlog
    done = len(opened) == SHARDS and not any(before.values())
    return Settling(min(commits), max(commits)) if done and commits else None


def _fires_between(bootstrap: str, names: TopicNames, settling: Settling) -> int:
    """Count the fires sent after the first backlog commit and up to the last, fresh ones too."""
    return sum(
        settling.first < message.timestamp()[1] <= settling.last
        for topic in lanes(names)
        for message in committed(bootstrap, topic)
    )


if __name__ == "__main__":
    alone(measure)
