from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
from collector import Collector
from processes import eventually
from run_world import FIRE, delivery, read
from shard_world import World, job
from structlog.testing import capture_logs

from dispatcher.cli.tracing import traces
from dispatcher.core.batch import Batch
from dispatcher.core.message import Outgoing, TopicNames, fire_in
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.core.settling import Settler
from dispatcher.core.span import Span, child_of, context_of, fire_spans, run_context, run_span, to_traceparent
from dispatcher.errors import InvalidSettings
from dispatcher.observe import tracing
from dispatcher.observe.otlp import OtlpExporter
from dispatcher.observe.tracing import TraceCounts, Tracer
from dispatcher.ports import End
from dispatcher.service import Deadline
from dispatcher.settings import load

T = 1_795_140_000_000
PARENT = "00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01"
MINUTE = 60_000


def fired(count: int = 1) -> Batch:
    """A committed batch with that many fires, planned for T."""
    world = World()
    world.start(T - MINUTE)
    world.offer([job(f"job-{number:05}") for number in range(count)], revision="r" * 64, seen=T - MINUTE)
    world.run_until(T - MINUTE, T)
    found = [batch for batch in world.batches if batch.fires]
    assert found[0].fires == count
    return found[0]


def end(outcome: Outcome, traceparent: str = PARENT, times: tuple[int, int] | None = (T, T + 5)) -> End:
    one = delivery(traceparent=traceparent.encode())
    settled = Settler(TopicNames("d"), "w", 4, 12).ended(read(one), outcome, T, T + 5)
    return End(one, settled, "http", times)


# Spans as values.


def test_a_fire_is_told_from_its_planned_instant_to_its_commit() -> None:
    (span,) = fire_spans(fired(), 3, T + 20)
    assert (span.name, span.start, span.end, span.parent, span.error) == ("fire", T, T + 20, None, None)
    assert span.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "t.jobs.normal",
        "messaging.destination.partition.id": span.attributes["messaging.destination.partition.id"],
        "messaging.message.id": "job-00000@2026-11-20T02:00:00Z",
        "messaging.kafka.message.key": "job-00000",
        "dispatcher.job": "job-00000",
        "dispatcher.attempt": 1,
        "dispatcher.shard": 3,
        "dispatcher.kind": "fires",
        "dispatcher.planned": "2026-11-20T02:00:00Z",
        "dispatcher.revision": "r" * 64,
    }


def test_the_span_of_a_fire_is_the_one_that_its_message_names() -> None:
    batch = fired()
    (span,) = fire_spans(batch, 0, T)
    (headers,) = [dict(one[4]) for one in batch.outgoing if one[4] and fire_in(one[4])]
    assert to_traceparent(span.context).encode() == headers["traceparent"]


def test_a_fire_that_was_missed_for_long_has_no_span_as_long_as_that() -> None:
    batch = fired()
    (span,) = fire_spans(batch, 0, T + 3_600_000)
    assert span.start == batch.decided


def test_each_fire_of_a_batch_has_a_span_and_what_else_is_in_it_has_none() -> None:
    batch = fired(7)
    assert len({span.context for span in fire_spans(batch, 0, T)}) == 7 < len(batch.outgoing)


def test_a_fire_that_is_tried_again_is_a_child_of_the_first_one() -> None:
    batch = fired()
    again: list[Outgoing] = [
        (*one[:4], [(name, b"2" if name == "attempt" else value) for name, value in one[4] or ()])
        for one in batch.outgoing
    ]
    (first,), (second,) = fire_spans(batch, 0, T), fire_spans(replace(batch, outgoing=again), 0, T)
    assert second.parent == first.context
    assert second.context.trace == first.context.trace
    assert second.context.span != first.context.span


@pytest.mark.parametrize(
    ("outcome", "word", "error"),
    [
        (Succeeded(), "succeeded", None),
        (Failed("no", final=True), "dead", "dead"),
        (Cancelled("asked"), "cancelled", None),
    ],
)
def test_a_run_is_a_child_of_its_fire(outcome: Outcome, word: str, error: str | None) -> None:
    one = end(outcome)
    span = run_span(one.delivery, 1, one.settled.kind, "http", (T, T + 5), "w")
    assert span is not None
    assert (span.name, span.start, span.end, span.error) == ("run", T, T + 5, error)
    assert span.parent == context_of(PARENT)
    assert span.attributes["dispatcher.outcome"] == word
    assert span.attributes["messaging.message.id"] == FIRE
    assert span.attributes["messaging.kafka.offset"] == 42
    assert span.attributes["messaging.operation.type"] == "process"


@pytest.mark.parametrize("told", [None, b"", b"yesterday", b"\xff", b"9999999-01-01T00:00:00Z"])
def test_a_message_that_tells_no_instant_has_a_span_all_the_same(told: bytes | None) -> None:
    batch = fired()
    topic, value, key, partition, headers = batch.outgoing[0]
    others = [one for one in headers or () if one[0] != "ce_time"]
    odd: Outgoing = (topic, value, key, partition, others if told is None else [*others, ("ce_time", told)])
    (span,) = fire_spans(replace(batch, outgoing=[odd]), 0, T + 20)
    assert (span.start, span.end) == (T + 20, T + 20)


def test_what_a_run_hands_on_names_its_own_span() -> None:
    tracer = Tracer(Kept(), "w")
    one = delivery(traceparent=PARENT.encode())
    span = run_span(one, 2, "succeeded", "http", (T, T), "w")
    assert span is not None
    assert tracer.hand_on(PARENT, one, 2) == to_traceparent(span.context)
    assert run_context(PARENT, one, 2, "w") != run_context(PARENT, one, 3, "w")
    assert run_context(PARENT, one, 2, "w") != run_context(PARENT, one, 2, "other")


@pytest.mark.parametrize(
    "traceparent",
    ["", "00-1-2-01", PARENT.upper(), f"{PARENT}-x", f"00-{'0' * 32}-00f067aa0ba902b7-01",
     f"00-0123456789abcdef0123456789abcdef-{'0' * 16}-01", "\u0661" * 55],
)  # fmt: skip
def test_a_context_that_is_none_makes_no_span_and_is_handed_on_as_it_is(traceparent: str) -> None:
    one = delivery(traceparent=traceparent.encode())
    assert run_span(one, 1, "succeeded", "http", (T, T), "w") is None
    assert Tracer(Kept(), "w").hand_on(traceparent, one, 1) == traceparent


def test_a_child_has_an_id_that_follows_from_what_it_is() -> None:
    parent = context_of(PARENT)
    assert parent is not None
    assert child_of(parent, "a", 1) == child_of(parent, "a", 1) != child_of(parent, "a", 2)


# The tracer.


class Kept:
    """Keeps what it is sent; may hang, refuse, or break."""

    def __init__(self, answer: str | None = None) -> None:
        self.answer = answer
        self.spans: list[Span] = []
        self.batches: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.broken = False
        self.entered = threading.Event()

    def send(self, spans: Sequence[Span]) -> str | None:
        self.entered.set()
        self.go_on.wait(20)
        if self.broken:
            raise ZeroDivisionError
        self.batches.append(len(spans))
        self.spans += spans
        return self.answer

    def close(self) -> None:
        self.go_on.set()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is gathered for a moment alone."""
    monkeypatch.setattr(tracing, "_GATHER_SECONDS", 0.02)


def running(exporter: Kept, share: float = 1.0) -> Tracer:
    tracer = Tracer(exporter, "w", share=share)
    tracer.start()
    return tracer


def stopped(tracer: Tracer) -> TraceCounts:
    tracer.stop()
    assert tracer.join(Deadline(5))
    return tracer.counts


def test_fires_and_runs_are_sent() -> None:
    exporter = Kept()
    tracer = running(exporter)
    tracer.committed(0, fired(), T)
    tracer.ended(end(Succeeded()))
    tracer.ended(end(Succeeded(), times=None))  # nothing ran
    assert stopped(tracer) == TraceCounts(2, 0)
    assert [span.name for span in exporter.spans] == ["fire", "run"]


def sent(tracer: Tracer, count: int) -> bool:
    return tracer.counts.sent == count


def test_what_comes_later_is_sent_too() -> None:
    exporter = Kept()
    tracer = running(exporter)
    for count in range(1, 4):
        tracer.ended(end(Succeeded()))
        assert eventually(partial(sent, tracer, count))
    assert stopped(tracer) == TraceCounts(3, 0)


def test_a_burst_is_sent_in_pieces() -> None:
    exporter = Kept()
    tracer = running(exporter)
    tracer.committed(0, fired(1200), T)
    assert eventually(lambda: tracer.counts.sent == 1200)
    assert exporter.batches == [512, 512, 176]
    stopped(tracer)


def test_what_a_collector_refuses_is_counted_and_told() -> None:
    with capture_logs() as lines:
        tracer = running(Kept("it said 503"))
        tracer.committed(0, fired(3), T)
        assert stopped(tracer) == TraceCounts(0, 3)
    assert lines == [{"event": "traces.dropped", "log_level": "warning", "count": 3, "why": "it said 503"}]


def test_a_collector_that_hangs_costs_spans_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST_WAITING", 100)
    monkeypatch.setattr(tracing, "_STOP_SECONDS", 0.2)
    exporter, batch = Kept(), fired(30)
    exporter.go_on.clear()
    tracer = running(exporter)
    tracer.committed(0, batch, T)
    assert exporter.entered.wait(5)
    began = time.monotonic()
    for _ in range(1000):
        tracer.committed(0, batch, T)
    told = time.monotonic() - began
    began = time.monotonic()
    tracer.stop()
    assert tracer.join(Deadline(5))
    assert time.monotonic() - began < 2
    assert told < 0.5
    assert tracer.counts.dropped >= 30 * 997


def test_a_burst_larger_than_may_wait_is_let_in_while_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST_WAITING", 10)
    tracer = running(Kept())
    tracer.committed(0, fired(30), T)
    assert stopped(tracer) == TraceCounts(30, 0)


def test_a_defect_in_it_ends_the_traces_alone() -> None:
    exporter = Kept()
    exporter.broken = True
    with capture_logs() as lines:
        tracer = running(exporter)
        tracer.ended(end(Succeeded()))
        assert eventually(lambda: any(line["event"] == "thread.failed" for line in lines))
        tracer.ended(end(Succeeded()))
        stopped(tracer)


def test_a_share_is_the_same_traces_for_fires_and_runs_and_about_as_many_as_asked_for() -> None:
    exporter, batch = Kept(), fired(600)
    tracer = running(exporter, share=0.25)
    tracer.committed(0, batch, T)
    for span in fire_spans(batch, 0, T):
        tracer.ended(end(Succeeded(), to_traceparent(span.context)))
    stopped(tracer)
    fires = {span.context.trace for span in exporter.spans if span.name == "fire"}
    runs = {span.context.trace for span in exporter.spans if span.name == "run"}
    assert fires == runs
    assert 90 < len(fires) < 210


def test_it_rests_longer_than_it_computes() -> None:
    tracer = Tracer(Kept(), "w")
    tracer.committed(0, fired(600), T)
    began = time.thread_time()
    assert tracer._step() == tracing._GATHER_SECONDS
    rest = tracer._step()
    took = time.thread_time() - began
    assert rest is not None
    assert 0.001 <= rest <= tracing._REST * took
    assert rest > took  # most of it was computing


# To a collector.


def test_a_collector_is_told_in_its_protocol() -> None:
    with Collector() as collector:
        exporter = OtlpExporter(collector.endpoint, "dispatcher", "a-1")
        one = end(Failed("no", final=True))
        run = run_span(one.delivery, 1, "dead", "http", (T, T + 5), "w")
        assert run is not None
        assert exporter.send([*fire_spans(fired(), 2, T + 20), run]) is None
        exporter.close()
    fire, ran = collector.spans
    assert collector.paths == ["/v1/traces"]
    assert (fire.service, fire.name, fire.parent, fire.kind) == ("dispatcher", "fire", "", 4)  # a producer
    assert (fire.start, fire.end) == (T * 1_000_000, (T + 20) * 1_000_000)
    assert fire.attributes["dispatcher.shard"] == 2
    assert (ran.name, ran.kind, ran.status) == ("run", 5, (2, "dead"))  # a consumer; an error
    assert f"00-{ran.trace}-{ran.parent}-01" == PARENT


def test_a_path_of_its_own_is_kept() -> None:
    with Collector() as collector:
        exporter = OtlpExporter(f"{collector.endpoint}/otlp/traces", "dispatcher", "a-1")
        assert exporter.send(list(fire_spans(fired(), 2, T))) is None
        exporter.close()
    assert collector.paths == ["/otlp/traces"]


def test_a_refusal_of_the_collector_is_told() -> None:
    with Collector(status=400) as collector:
        exporter = OtlpExporter(collector.endpoint, "dispatcher", "a-1")
        assert exporter.send(list(fire_spans(fired(), 2, T))) == "the collector did not take them"
        exporter.close()


def test_a_sending_that_hangs_ends_when_it_is_told_to_be_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_STOP_SECONDS", 0.2)
    with Collector() as collector:
        collector.go_on.clear()
        tracer = Tracer(OtlpExporter(collector.endpoint, "dispatcher", "a-1"), "w")
        tracer.start()
        tracer.committed(0, fired(), T)
        assert eventually(lambda: collector.paths)
        began = time.monotonic()
        tracer.stop()
        assert tracer.join(Deadline(5))
        assert time.monotonic() - began < 2


# The settings.


def test_traces_are_off_unless_asked_for() -> None:
    with traces(load({}).settings, "dispatcher") as tracer:
        assert tracer is None


def test_who_asks_for_traces_gets_them() -> None:
    with Collector() as collector:
        settings = load({"otlp_endpoint": collector.endpoint, "instance": "a-1"}).settings
        with traces(settings, "dispatcher") as tracer:
            assert tracer is not None
            tracer.committed(0, fired(), T)
    assert [span.service for span in collector.spans] == ["dispatcher"]


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://a:4317", "http://", "http://user:word@a:1"])
def test_an_address_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidSettings, match="otlp_endpoint"):
        load({"otlp_endpoint": endpoint})


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dispatcher.observe.otlp", None)
    settings = load({"otlp_endpoint": "http://localhost:4318"}).settings
    with pytest.raises(InvalidSettings, match=r"kafka-cron-dispatcher\[tracing\]"), traces(settings, "x"):
        pass


def test_nobody_else_imports_what_traces_need() -> None:
    code = "import sys, dispatcher.cli.run, dispatcher.cli.work; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
