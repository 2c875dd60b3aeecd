"""Traces: from a fire's commit and a run's end to a collector, beside everything else and never in its way.

Whoever fires or runs only puts a reference into a queue. A thread of its own makes spans of it and sends
them, for at most a fifth of its time. What comes faster than that, or while no collector answers, is dropped
and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import structlog

from dispatcher.core.batch import Batch
from dispatcher.core.instant import Instant
from dispatcher.core.run import Delivery
from dispatcher.core.span import Span, fire_spans, run_span, run_traceparent
from dispatcher.ports import End
from dispatcher.service import Deadline, Loop, Looped

MOST_WAITING = 50_000
"""So many fires and runs wait to be sent at the most; one burst is let in whatever its size."""
_AT_ONCE = 512
_GATHER_SECONDS = 0.5
_REST = 4.0
"""It rests this many times as long as it computed."""
_STOP_SECONDS = 1.5


class Exporter(Protocol):
    """Sends spans to a collector."""

    def send(self, spans: Sequence[Span]) -> str | None:
        """Send spans; return why that failed, None when it did not. Takes a bounded time."""
        ...

    def close(self) -> None:
        """Have a sending that waits give up, and send nothing more. Any thread may call it."""
        ...


class TraceCounts(NamedTuple):
    """Spans that were sent, and fires and runs whose spans were dropped."""

    sent: int = 0
    dropped: int = 0


NO_TRACES = TraceCounts()

_Item = tuple[int, Callable[[], Iterator[Span]]]


def counts_of(tracer: Tracer | None) -> TraceCounts:
    """Return what became of spans so far; nothing did where there are none."""
    return NO_TRACES if tracer is None else tracer.counts


class Tracer(Looped):
    """Sends spans of fires and runs: a service. `share` of the traces are kept, the same by all processes."""

    def __init__(self, exporter: Exporter, instance: str, *, share: float = 1.0) -> None:
        self._exporter = exporter
        self._instance = instance
        self._below = round(share * (1 << 64))
        self._lock = threading.Lock()
        self._queue: deque[_Item] = deque()
        self._waiting = self._dropped = self._told = self._sent = 0
        self._spans: Iterator[Span] = iter(())
        self._gathered = False
        self._say = structlog.get_logger()
        self._loop = Loop("traces", self._step, close=self._finish, failed=self._broken)

    # What others tell. Called by the threads that fire and run: nothing here takes long, waits or raises.

    def committed(self, shard: int, batch: Batch, at: Instant) -> None:
        """Take note of a transaction that was committed at an instant."""
        if batch.fires:
            self._put(batch.fires, lambda: fire_spans(batch, shard, at))

    def hand_on(self, traceparent: str, delivery: Delivery, attempt: int) -> str:
        """Return the trace context that a run gives to what it calls: its own span's."""
        return run_traceparent(traceparent, delivery, attempt, self._instance)

    def ended(self, end: End) -> None:
        """Take note of a run's end; what was settled without a run has no span."""
        if end.times is not None:
            self._put(1, lambda: self._run(end))

    def _run(self, end: End) -> Iterator[Span]:
        settled = end.settled
        assert end.times is not None
        span = run_span(end.delivery, settled.attempt, settled.kind, end.handler, end.times, self._instance)
        if span is not None:
            yield span

    def _put(self, count: int, make: Callable[[], Iterator[Span]]) -> None:
        with self._lock:
            if self._waiting and self._waiting + count > MOST_WAITING:
                self._dropped += count
                return
            first = not self._waiting
            self._waiting += count
            self._queue.append((count, make))
        if first:
            self._loop.waiter.wake()

    @property
    def counts(self) -> TraceCounts:
        """What became of spans so far. Any thread may look."""
        with self._lock:
            return TraceCounts(self._sent, self._dropped)

    # The service.

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end, though not for long: a collector that hangs holds nobody up."""
        if not self._loop.join(Deadline(min(_STOP_SECONDS, deadline.left()))):
            self._exporter.close()
            self._loop.join(Deadline(min(_STOP_SECONDS / 5, deadline.left())))
        return True

    # The thread.

    def _step(self) -> float | None:
        if not self._gathered:
            with self._lock:
                if not self._waiting:
                    return None
            self._gathered = True
            return _GATHER_SECONDS
        return max(0.001, self._send() * _REST)

    def _send(self) -> float:
        """Send what is to be had at once; return the seconds of computing it took."""
        began = time.thread_time()
        spans = list(islice(self._kept(), _AT_ONCE))
        self._gathered = len(spans) == _AT_ONCE
        if spans:
            why = self._exporter.send(spans)
            with self._lock:
                if why is None:
                    self._sent += len(spans)
                else:
                    self._dropped += len(spans)
            self._tell(why or "more came than may wait")
        return time.thread_time() - began

    def _kept(self) -> Iterator[Span]:
        """Yield the spans of the traces that are kept, until nothing waits."""
        while True:
            for span in self._spans:
                if span.context.trace % (1 << 64) < self._below:
                    yield span
            with self._lock:
                if not self._queue:
                    return
                count, make = self._queue.popleft()
                self._waiting -= count
            self._spans = make()

    def _tell(self, why: str) -> None:
        """Say how many were dropped since that was last said."""
        with self._lock:
            count, self._told = self._dropped - self._told, self._dropped
        if count:
            self._say.warning("traces.dropped", count=count, why=why)

    def _finish(self) -> None:
        deadline = Deadline(_STOP_SECONDS)
        self._gathered = True
        while self._gathered and deadline.left():
            self._send()
        with self._lock:
            self._dropped += self._waiting
        self._tell("there was no time left for them")
        self._exporter.close()

    def _broken(self, thread: str, error: BaseException) -> None:
        """Say that a defect ended the traces; nothing else ends with them."""
        self._say.error("thread.failed", thread=thread, exc_info=error)
