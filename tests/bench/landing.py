"""What readers of committed records get of bursts: when, by the wall clock of this machine.

    python -m bench.landing <bootstrap> <fires> <topic> …

One thread asks again and again where the committed end of every partition is, another reads from the end on.
It says `ready`, reads until `fires` have come, then reads the burst that was planned last once more, several
times, as a reader does that finds it all there; and leaves what it saw as one line of JSON.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_END, Consumer, IsolationLevel, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

_AGAIN = 5
_PAUSE_SECONDS = 0.003
"""Between two questions: asking without pause takes half a core from those that are measured."""
_PATIENCE = 30
Place = tuple[str, int]
Ends = dict[Place, int]


@dataclass(frozen=True)
class Landing:
    """Of one planned instant: how many fires a reader got, the first and the last of them, in milliseconds,
    and when the committed ends of all partitions had first moved, and had all passed it.
    """

    count: int
    first: float
    last: float
    moved: float
    passed: float


@dataclass(frozen=True)
class Seen:
    """The landings by planned instant, and the milliseconds of each reading of the last one anew."""

    landings: Mapping[str, Landing]
    again: tuple[float, ...]


class Watching:
    """The reader in a process of its own. `seen` waits for all fires and returns what it saw."""

    def __init__(self, bootstrap: str, fires: int, topics: Iterable[str]) -> None:
        command = [sys.executable, "-m", "bench.landing", bootstrap, str(fires), *topics]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise AssertionError("the reader did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def seen(self, seconds: float) -> Seen:
        """Wait up to so long, then return what was seen."""
        out, _ = self._process.communicate(timeout=seconds)
        data = json.loads(out)
        return Seen({due: Landing(**one) for due, one in data["landings"].items()}, tuple(data["again"]))


class EndsWatch:
    """Asks for the committed ends of all partitions as often as they are told."""

    def __init__(self, bootstrap: str, places: list[TopicPartition]) -> None:
        self.seen: list[tuple[float, Ends]] = []
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._wanted = {TopicPartition(one.topic, one.partition): _latest() for one in places}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop asking."""
        self._ended.set()
        self._thread.join(_PATIENCE)

    def passage(self, starts: Ends, until: Ends) -> tuple[float, float]:
        """Return when an end was first beyond a start, and when all were at least where they had to be."""
        moved = [at for at, ends in self.seen if any(ends[one] > starts[one] for one in starts)]
        passed = [at for at, ends in self.seen if all(ends[one] >= until[one] for one in until)]
        return moved[0], passed[0]

    def _watch(self) -> None:
        while not self._ended.wait(_PAUSE_SECONDS):
            asked = self._admin.list_offsets(self._wanted, isolation_level=IsolationLevel.READ_COMMITTED)
            try:
                ends = {(one.topic, one.partition): future.result().offset for one, future in asked.items()}
            except KafkaException:  # what it knows of the leaders is old
                self._admin.list_topics(timeout=_PATIENCE)
                continue
            self.seen.append((time.time_ns() / 1e6, ends))


def _latest() -> Any:
    return OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library leaves it so


def main() -> None:
    """Read until everything has come, then the last burst again; say what was seen."""
    bootstrap, fires, *topics = sys.argv[1:]
    consumer = _consumer(bootstrap)
    places = [
        TopicPartition(topic, partition, OFFSET_END)
        for topic in topics
        for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions
    ]
    consumer.assign(places)
    watch = EndsWatch(bootstrap, places)
    while not watch.seen or consumer.poll(1.0) is not None:
        pass
    gc.collect()
    gc.disable()
    print("ready", flush=True)
    batches = _read(consumer, int(fires))
    time.sleep(0.5)  # the ends must have been told once more
    watch.end()
    bursts = _bursts(batches)
    again = [_again(consumer, bursts[max(bursts)]) for _ in range(_AGAIN)]
    landings = {due: _landing(burst, watch) for due, burst in bursts.items()}
    print(json.dumps({"landings": landings, "again": again}), flush=True)


def _consumer(bootstrap: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-landing",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
            "fetch.error.backoff.ms": 10,
            "queued.max.messages.kbytes": 262_144,
        }
    )


def _read(consumer: Consumer, fires: int) -> list[tuple[float, list[Message]]]:
    """Return so many messages as they came, with the milliseconds of each handful."""
    found: list[tuple[float, list[Message]]] = []
    count = 0
    while count < fires:
        first = consumer.poll(1.0)
        if first is None:
            continue
        batch = [one for one in (first, *consumer.consume(2_000, 0.0)) if one.error() is None]
        found.append((time.time_ns() / 1e6, batch))
        count += len(batch)
    return found


def _bursts(batches: list[tuple[float, list[Message]]]) -> dict[str, list[tuple[float, Place, int]]]:
    """Return what came of each planned instant: when, where, at which offset."""
    bursts: dict[str, list[tuple[float, Place, int]]] = {}
    for at, batch in batches:
        for one in batch:
            due: Any = dict(one.headers() or [])["ce_time"]
            place = (one.topic() or "", one.partition() or 0)
            bursts.setdefault(due.decode(), []).append((at, place, one.offset() or 0))
    return bursts


def _landing(burst: list[tuple[float, Place, int]], watch: EndsWatch) -> dict[str, float]:
    starts, until = _span(burst)
    moved, passed = watch.passage(starts, {place: last + 1 for place, last in until.items()})
    first, last = min(at for at, _, _ in burst), max(at for at, _, _ in burst)
    ends = {"moved": min(moved, first), "passed": min(passed, last)}  # a reader proves it as well
    return {"count": len(burst), "first": first, "last": last, **ends}


def _span(burst: list[tuple[float, Place, int]]) -> tuple[Ends, Ends]:
    """Return the first and the last offset of a burst in each partition."""
    first: Ends = {}
    last: Ends = {}
    for _, place, offset in burst:
        first[place] = min(first.get(place, offset), offset)
        last[place] = max(last.get(place, offset), offset)
    return first, last


def _again(consumer: Consumer, burst: list[tuple[float, Place, int]]) -> float:
    """Return the milliseconds that it takes to read a burst which is all there."""
    starts, _ = _span(burst)
    began = time.time_ns() / 1e6
    consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
    return _read(consumer, len(burst))[-1][0] - began


if __name__ == "__main__":
    main()
