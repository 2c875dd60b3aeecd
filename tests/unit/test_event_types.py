"""The table of events of the events topic, and the page of all events, keep up with the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from log_calls import sources
from run_world import delivery, read
from simulation.history import live

from dispatcher.cli.root import root
from dispatcher.core.event import Event, encode_event
from dispatcher.core.event_types import EVENT_TYPES, HEADERS
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.core.run import Poison
from dispatcher.core.settling import Settled, Settler

PAGE = Path(__file__).parents[2] / "dispatcher" / "EVENTS.md"
NO_EVENTS = {"backlog.open", "change.piece", "change.step", "schedule.child_missing"}
"""Words in the core that look like types of events and are kinds of transactions."""


def test_every_type_in_the_code_stands_in_the_table() -> None:
    first = "|".join(sorted({name.partition(".")[0] for name in EVENT_TYPES}))
    dotted = re.compile(rf'"((?:{first})\.[a-z]+)"')
    texts = [
        text for name, text in sources().items() if name.startswith("core/") and "event_types" not in name
    ]
    texts.append(sources()["produce/host.py"])
    assert {word for text in texts for word in dotted.findall(text)} - NO_EVENTS == EVENT_TYPES.keys()


def check(outgoing: Outgoing) -> str:
    """Hold an event of the events topic against the table; return its type."""
    _, value, _, _, headers = outgoing
    told = dict(headers or ())
    assert told.keys() <= HEADERS.keys()
    one = EVENT_TYPES[told["ce_type"].decode()]
    members = json.loads(value or b"").keys() - {"v"}
    by_worker = b"/workers/" in told["ce_source"]
    assert set(one.fields) <= members <= {*one.fields, *one.maybe}, one.name
    assert ("worker" if by_worker else "shard") in one.by
    return one.name


def test_events_of_shards_hold_what_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()

    def watched(event: Event, *rest: object) -> Outgoing:
        outgoing = encode_event(event, *rest)  # type: ignore[arg-type] # passed on as they came
        seen.add(check(outgoing))
        return outgoing

    monkeypatch.setattr("dispatcher.core.batch.encode_event", watched)
    for seed in range(60):
        assert live(seed).faults == []
    assert {
        "job.added",
        "job.changed",
        "job.removed",
        "schedule.applied",
        "run.skipped",
        "burst.landed",
    } <= seen
    assert {"run.triggered", "run.cancelled", "command.obeyed", "command.refused"} <= seen


@pytest.mark.parametrize(
    "outcome",
    [Succeeded(), Succeeded({"a": 1}, "out"), Failed("no"), Failed("no", final=True), Cancelled("x")],
)
def test_events_of_workers_hold_what_the_table_says(outcome: Outcome) -> None:
    settler = Settler(TopicNames("d"), "w", 4, 12)
    run = read(delivery(not_after=b"2026-11-20T03:00:00Z"))
    poison = Poison("why", delivery())
    ends: list[Settled] = [
        settler.ended(run, outcome, 1, 2), settler.expired(run, 1), settler.overlapped(run, "other", 1),
        settler.cancelled(run, "why", 1), settler.poisoned(poison, 0, 1),
    ]  # fmt: skip
    for event in [settler.started(run, 1, 2), *(end.outgoing[0] for end in ends)]:
        check(event)
    assert ends[0].attempt == run.attempt


def test_the_page_is_what_the_command_prints() -> None:
    done = CliRunner().invoke(root, ["events"])
    assert done.exit_code == 0
    assert done.output == PAGE.read_text(encoding="utf-8"), "run `make events`"
