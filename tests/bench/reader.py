"""A live reader: notes when each committed record became visible to it, by the wall clock of this machine.

    python -m bench.reader <bootstrap> <file> <expect> <shards> <topic> …

It reads the partitions of the shards named (`0,2/4`: the first and the third of four). It says `ready` once
it has seen the end of every partition, reads until `expect` fires have come or its standard input ends, and
leaves one line per record in the file: microseconds, type, subject, time.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import OFFSET_END, Consumer, KafkaError, Message, TopicPartition

FETCH_WAIT_MS = 10
_PATIENCE = 60


class Row(NamedTuple):
    """One record as it was seen: when (milliseconds), its CloudEvents type, subject and time."""

    at: float
    kind: str
    subject: str
    time: str


class Reader:
    """A reader in a process of its own. `rows` ends it and returns what it saw."""

    def __init__(
        self, bootstrap: str, topics: Iterable[str], file: Path, expect: int = 0, shards: str = "0/1"
    ) -> None:
        self._file = file
        command = [sys.executable, "-m", "bench.reader", bootstrap, str(file), str(expect), shards, *topics]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
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

    def rows(self, seconds: float = 0) -> list[Row]:
        """Wait up to so long for what is expected, then end; return what was seen."""
        assert self._process.stdin is not None
        if seconds:
            self._process.wait(seconds)
        self._process.stdin.close()
        self._process.wait(_PATIENCE)
        return [
            Row(int(at) / 1000, *rest)
            for at, *rest in (
                line.split("\t") for line in self._file.read_text(encoding="utf-8").split("\n") if line
            )
        ]


def main() -> None:
    """Read until told to end."""
    bootstrap, file, expect, shards, *topics = sys.argv[1:]
    chosen, of = (part.split(",") for part in shards.split("/"))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "fetch.error.backoff.ms": 10,
            "queued.max.messages.kbytes": 262_144,
        }
    )
    places = [
        TopicPartition(topic, partition, OFFSET_END)
        for topic in topics
        for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions
        if str(partition % int(of[0])) in chosen
    ]
    consumer.assign(places)
    ended = threading.Event()
    threading.Thread(target=_await_end, args=(ended,), daemon=True).start()
    gc.collect()
    gc.disable()
    rows = read(consumer, len(places), int(expect), ended)
    with Path(file).open("w", encoding="utf-8") as out:
        out.writelines(f"{at}\t{kind}\t{subject}\t{time_}\n" for at, kind, subject, time_ in rows)


def read(
    consumer: Consumer, places: int, expect: int, ended: threading.Event
) -> list[tuple[int, str, str, str]]:
    """Collect records until there are enough or it was told to end."""
    seen: list[tuple[int, list[Message]]] = []
    fires, ends, ready = 0, set(), False
    while not ended.is_set() and (not expect or fires < expect):
        first = consumer.poll(0.1)
        if first is None:
            continue
        batch = [first, *consumer.consume(2_000, 0.0)]
        at = time.time_ns() // 1_000
        good = [message for message in batch if message.error() is None]
        if good:
            seen.append((at, good))
            fires += len(good)
        if not ready:
            ends |= {(one.topic(), one.partition()) for one in batch if _is_end(one)}
            ready = len(ends) == places
            if ready:
                print("ready", flush=True)
    return [(at, *_what(message)) for at, batch in seen for message in batch]


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _what(message: Message) -> tuple[str, str, str]:
    headers = dict(message.headers() or [])
    kind, subject, moment = (headers.get(name) for name in ("ce_type", "ce_subject", "ce_time"))
    return _text(kind), _text(subject), _text(moment)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else ""


def _await_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main()
