"""One installation under torture: its topics, its file, its replicas, and what was done to it."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from broker.process import ensure_topics
from confluent_kafka.admin import AdminClient

from torture.load import schedule
from torture.points import CLOCK, HITS, LIMITS, WHERE
from torture.reading import now
from torture.replica import Replica

SMALL = '{"piece": 25, "stage_from": 40, "stale_hold_ms": 3000}'
"""Limits so small that a small load has changes in pieces, and bursts that are staged."""


@dataclass(frozen=True)
class Fault:
    """What was done, and when, in milliseconds."""

    name: str
    at: int


@dataclass
class Shape:
    """How large an installation is."""

    replicas: int = 2
    shards: int = 2
    scale: int = 1
    """How many times the least load."""


class Site:
    """An installation: faults are noted by whoever brings them."""

    def __init__(self, bootstrap: str, prefix: str, directory: Path, shape: Shape) -> None:
        self.bootstrap, self.prefix, self.shards = bootstrap, prefix, shape.shards
        self._scale = shape.scale
        self.directory = directory / prefix
        self.directory.mkdir()
        self.file = self.directory / "schedule.json"
        self.hits_file, self.clock_file = self.directory / "hits", self.directory / "clock"
        self.clock_file.write_text("0")
        self.edits = 0
        self.most_ahead = 0
        """The furthest that the clock was ahead, in milliseconds."""
        self.faults: list[Fault] = []
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        flags = ("--shards", str(shape.shards), "--partitions-jobs", str(2 * shape.shards))
        ensure_topics(bootstrap, prefix, *flags)
        self.edit()
        arguments = (
            *("--bootstrap-servers", bootstrap, "--prefix", prefix, "--schedule", str(self.file)),
            *("--lock-dir", str(self.directory), *flags),
        )
        variables = {HITS: str(self.hits_file), CLOCK: str(self.clock_file), LIMITS: SMALL}
        names = [f"r{number}" for number in range(shape.replicas)]
        self.replicas = [Replica(name, self.directory, arguments, variables) for name in names]

    def start(self) -> None:
        """Start every replica that is not there."""
        for replica in self.replicas:
            replica.start()

    def edit(self, text: str | None = None) -> None:
        """Replace the schedule as a whole, by its next edit unless a text is given."""
        with self._lock:
            if text is None:
                self.edits += 1
                text = self.text()
            whole = self.file.with_suffix(".new")
            whole.write_text(text)
            whole.replace(self.file)

    def text(self) -> str:
        """Return the schedule of the present edit."""
        return schedule(self.edits, self._scale)

    def note(self, name: str) -> None:
        """Note a fault that happens now."""
        self.faults.append(Fault(name, now()))

    def kill(self, replica: Replica) -> None:
        """Kill -9 and start again at once."""
        if replica.running:
            self.note("kill")
            replica.kill()
        replica.start()

    def fail(self, replica: Replica, point: str, nth: int, end: str = "kill") -> None:
        """Start a replica that dies, or stops, at a failpoint; it must be down."""
        self.asked[point] += 1
        replica.start({WHERE: f"{point}:{nth}:{end}"})

    def hits(self) -> Counter[str]:
        """Return how often each failpoint was hit."""
        return Counter(self.hits_file.read_text().split()) if self.hits_file.exists() else Counter()

    def set_clock(self, offset: int) -> None:
        """Make the wall clock of every replica wrong by so many milliseconds."""
        whole = self.clock_file.with_suffix(".new")
        whole.write_text(str(offset))
        whole.replace(self.clock_file)
        self.most_ahead = max(self.most_ahead, offset)

    def heal(self) -> None:
        """Let frozen replicas go on, start the dead ones, set the clock right, and bring a valid file."""
        for replica in self.replicas:
            replica.send(signal.SIGCONT)
        self.set_clock(0)
        self.edit()
        self.start()

    def remove(self) -> None:
        """Delete its topics: a broker that holds many is slow to start."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        mine = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{self.prefix}.")]
        for future in admin.delete_topics(mine).values():
            future.result()

    def stop(self) -> list[str]:
        """Stop every replica in good order; return what was wrong with that, and with ends in between."""
        wrong = []
        for replica in self.replicas:
            code = replica.terminate()
            if code != 0:
                wrong.append(f"{replica.log} ended with {code} on SIGTERM")
            odd = [code for code in replica.ends if code not in (-signal.SIGKILL, 4)]
            if odd:
                wrong.append(f"{replica.log} ended by itself with {odd}")
            if replica.stuck:
                wrong.append(
                    f"{replica.log}: {replica.stuck} times SIGTERM did not end it; its threads are there"
                )
            if broken := replica.says('"thread.failed"'):
                wrong.append(f"{replica.log} tells of {broken} threads that failed")
        return wrong


def pick(chance: random.Random, site: Site) -> Replica:
    """Return one of the replicas that are there; one that is not is started."""
    site.start()
    return chance.choice(site.replicas)
