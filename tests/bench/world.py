"""Where benchmarks run: a broker, a directory, a scale; and what each of them needs again and again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.process import Dispatcher, ensure_topics
from confluent_kafka.admin import AdminClient

from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames

SHARDS = 4


@dataclass(frozen=True)
class World:
    """One benchmark's surroundings. `scale` shrinks counts, `repeat` is how often sides take turns."""

    bootstrap: str
    directory: Path
    scale: float
    repeat: int
    tell: Callable[[str], None]

    def scaled(self, count: int, least: int = 1) -> int:
        """Return a count at this run's scale."""
        return max(least, round(count * self.scale))

    @contextmanager
    def installation(self) -> Iterator[TopicNames]:
        """Create the topics of an installation of its own; delete them afterwards."""
        names = TopicNames(f"b{uuid.uuid4().hex[:8]}")
        ensure_topics(self.bootstrap, names.prefix)
        try:
            yield names
        finally:
            self._delete(names)

    @contextmanager
    def judged(self) -> Iterator[TopicNames]:
        """Create the topics of an installation; at its end `dispatcher verify` says that nothing is wrong."""
        with self.installation() as names:
            yield names
            self._verify(names)

    def dispatcher(self, names: TopicNames, schedule: Path, *flags: str) -> Dispatcher:
        """Return a dispatcher that is not started yet."""
        return Dispatcher(
            self.bootstrap, names.prefix, schedule, self.directory / f"{names.prefix}.log", *flags
        )

    def _verify(self, names: TopicNames) -> None:
        place = ("--bootstrap-servers", self.bootstrap, "--prefix", names.prefix)
        done = subprocess.run(
            [sys.executable, "-m", "dispatcher", "verify", "--json", *place],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise AssertionError(
                f"verify ended with {done.returncode}: {done.stdout[:4000]} {done.stderr[-2000:]}"
            )
        facts = json.loads(done.stdout)
        counts = ", ".join(f"{facts[name]} {name}" for name in ("planned", "committed", "skipped", "pending"))
        self.tell(f"verify finds nothing wrong: {counts}")

    def _delete(self, names: TopicNames) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        found = [one for one in admin.list_topics(timeout=10).topics if one.startswith(f"{names.prefix}.")]
        for future in admin.delete_topics(found).values():
            future.result()


def lanes(names: TopicNames) -> list[str]:
    """Return the job topics of an installation."""
    return [names.lane(lane) for lane in Lane]


def applied(dispatcher: Dispatcher, seconds: float, *, after: int = 0) -> float:
    """Wait until the schedule is in force in every shard; return when that was seen, by the wall."""
    deadline = time.monotonic() + seconds
    while dispatcher.text()[after:].count("schedule.applied") < SHARDS:
        if time.monotonic() > deadline:
            raise AssertionError(f"not in force within {seconds} s:\n{dispatcher.text()[-2000:]}")
        time.sleep(0.02)
    return time.time()


def wall_ms() -> float:
    """Return the wall clock in milliseconds."""
    return time.time_ns() / 1e6
