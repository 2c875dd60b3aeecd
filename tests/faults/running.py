"""A dispatcher at work, and a reader that notes when each of its fires could be read."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.process import children, spent
from broker.history import millis
from broker.process import Dispatcher, until
from broker.test_daemon_faults import Place, is_clean, job, now
from torture.reading import Live

from dispatcher.core.job import delay_of

JITTER_MS = 1_000
SECONDS = 40.0
BEATING = tuple(f"beat-{number}" for number in range(20))


def beats(*, every: str = "1s", names: Sequence[str] = BEATING) -> list[dict[str, Any]]:
    """Return jobs whose fires are spread over every second; none of them may get lost."""
    return [job(name, every=every, jitterSeconds=1, catchUp="all") for name in names]


@dataclass
class Running:
    """An installation, its one dispatcher, and what was read of it."""

    place: Place
    daemon: Dispatcher
    live: Live

    def late(self, begin: int, end: int | None = None) -> list[int]:
        """Return how late each fire that was due from one instant to another could be read, in order."""
        end = now() - 1_000 if end is None else end
        found = []
        for record, at in self.live.seen(self.place.prefix):
            if ".jobs." not in record.topic:
                continue
            due = due_of(dict(record.headers))
            if begin <= due < end:
                found.append(at - due)
        return sorted(found)

    def beats_on(self, seconds: float = SECONDS) -> None:
        """Wait until each of the beating jobs was fired for an instant that is yet to come."""
        begin = now()

        def beaten() -> bool:
            fired = {
                dict(record.headers)["ce_subject"].decode()
                for record, _ in self.live.seen(self.place.prefix)
                if ".jobs." in record.topic and millis(dict(record.headers)["ce_time"].decode()) > begin
            }
            return fired >= set(BEATING)

        try:
            until(beaten, f"fires after {begin}", seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}, in the log:\n{self.daemon.text()[-3000:]}") from None

    def told(self, *names: str, after: int = 0) -> list[dict[str, Any]]:
        """Return what the log holds under these names behind a position."""
        lines = self.daemon.text()[after:].splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [entry for entry in entries if entry["event"] in names]

    def tells(self, name: str, *, after: int, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait until the log holds an event behind a position; return the first."""
        try:
            until(lambda: bool(self.told(name, after=after)), name, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}, in the log:\n{self.daemon.text()[after:][-3000:]}") from None
        return self.told(name, after=after)[0]

    @property
    def at(self) -> int:
        """The present end of the log."""
        return len(self.daemon.text())

    @property
    def children(self) -> list[int]:
        """The processes that wait to load the file."""
        return children(self.daemon.pid)

    @contextmanager
    def limited(self, kind: int, most: int) -> Iterator[None]:
        """Give the dispatcher less of a resource, for a while."""
        usual = resource.prlimit(self.daemon.pid, kind)
        resource.prlimit(self.daemon.pid, kind, (most, usual[1]))
        try:
            yield
        finally:
            resource.prlimit(self.daemon.pid, kind, usual)

    @contextmanager
    def unhurried(self, most: float = 0.8) -> Iterator[None]:
        """See to it that the dispatcher takes no more than this share of a processor meanwhile."""
        before, began = spent(self.daemon.pid), time.monotonic()
        yield
        share = spent(self.daemon.pid).since(before).total / (time.monotonic() - began)
        assert share < most, f"{share:.2f} of a processor"

    @property
    def lowest_free_descriptor(self) -> int:
        """The number that the dispatcher's next descriptor would get; as a limit it allows none more."""
        taken = {int(one.name) for one in Path(f"/proc/{self.daemon.pid}/fd").iterdir()}
        return next(number for number in range(len(taken) + 1) if number not in taken)


def due_of(head: dict[str, bytes]) -> int:
    """Return when a beating job's fire was due: its planned instant and its jitter."""
    return millis(head["ce_time"].decode()) + delay_of(head["ce_subject"].decode(), JITTER_MS)


@contextmanager
def running(
    place: Place,
    *flags: str,
    jobs: Sequence[dict[str, Any]] | None = None,
    reader: str | None = None,
    make: Callable[[Dispatcher], Dispatcher] = lambda daemon: daemon,
) -> Iterator[Running]:
    """Run a dispatcher with jobs that beat; in the end every fire must be accounted for.

    `reader` is the address by which the judge reads where the dispatcher's own is a bad one.
    """
    good = Place(reader or place.bootstrap, place.prefix, place.directory, place.shards)
    place.schedule(*(jobs if jobs is not None else beats()))
    live = Live(good.bootstrap, [place.prefix])
    begun = now()
    try:
        with make(place.daemon("a", *flags)) as daemon:
            scene = Running(place, daemon, live)
            scene.beats_on()
            yield scene
            scene.beats_on()
            end = now() - 3_000
            until(lambda: good.history().judge(end).clean, f"all up to {end} settled", SECONDS)
            assert daemon.terminate() == 0, daemon.text()[-3000:]
    finally:
        live.stop()
    is_clean(good.history().judge(end), (end - begun) // 1_000)


def is_no_later(quiet: Sequence[int], stormy: Sequence[int]) -> None:
    """Hold the storm against the calm before it, with room for what a shared machine does by itself."""
    middle, worst = median(stormy) - median(quiet), percentile(stormy, 95) - percentile(quiet, 95)
    told = f"median {median(quiet)} and {median(stormy)} ms, p95 {percentile(quiet, 95)} and"
    told += f" {percentile(stormy, 95)} ms, worst {quiet[-1]} and {stormy[-1]} ms"
    print(told)
    assert middle < 100, told
    assert worst < 500, told


def percentile(values: Sequence[int], share: int) -> int:
    return sorted(values)[len(values) * share // 100]
