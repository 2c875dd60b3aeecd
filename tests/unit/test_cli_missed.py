"""What `dispatcher missed` reads and refuses; the cluster is a ledger in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from memory_log import HandClock, MemoryBroker, MemoryLog
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.cli import ledgers
from dispatcher.cli.root import root
from dispatcher.core.codec import encode
from dispatcher.core.instant import to_text
from dispatcher.core.ledger import Cursor, Fact, Identity, Position, Timer
from dispatcher.core.message import TopicNames
from dispatcher.errors import LedgerBroken
from dispatcher.kafka import topics

NOW = 1_795_140_000_000
TOPICS = TopicNames("dispatcher")
IDS = {TOPICS.ledger: "l", TOPICS.commands: "c"}
IN_FORCE = Position(Cursor(NOW), "r1", 1)


def timer(ident: str, due: int, grace_ms: int | None = None) -> Timer:
    return Timer(ident, ident, due, due, 1, "t", 0, b"k", b"v", (), grace_ms)


class Place:
    """One shard's ledger, and the cluster it lies on."""

    def __init__(self, file: Path) -> None:
        self.broker = MemoryBroker(TOPICS, HandClock(NOW))
        self.ids = dict(IDS)
        self.faults: tuple[str, ...] = ()
        self.file = file
        file.write_text('{"jobs": []}', encoding="utf-8")

    def holds(self, *facts: Fact) -> None:
        log = MemoryLog(self.broker)
        log.fence()
        log.commit([(TOPICS.ledger, value, key, 0, None) for key, value in map(encode, facts)])

    def identity(self, _names: object) -> topics.Identity:
        return topics.Identity("cluster", self.ids)

    def preflight(self, _in_force: object, _connection: object, _role: object) -> None:
        if self.faults:
            raise LedgerBroken(self.faults, "dispatcher recover")

    def missed(self, *words: str) -> Result:
        common = ["--bootstrap-servers", "localhost:1", "--schedule", str(self.file), "--at", to_text(NOW)]
        return CliRunner().invoke(root, ["missed", "--shards", "1", *common, *words])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path / "s.json")
    monkeypatch.setattr(ledgers, "KafkaTopics", lambda _connection: place)
    monkeypatch.setattr(ledgers, "preflight", place.preflight)
    monkeypatch.setattr(ledgers, "KafkaShardLog", lambda *_: MemoryLog(place.broker))
    return place


def test_overdue_timers_are_counted(place: Place) -> None:
    place.holds(IN_FORCE, timer("kept", NOW - 99_000), timer("late", NOW - 99_000, 60_000), timer("b", NOW))
    rows = json.loads(place.missed("--json").stdout)
    assert [(row["job"], row["sent"], row["skipped"], row["reason"]) for row in rows] == [
        ("kept", 1, 0, "timer"),
        ("late", 0, 1, "timer"),
    ]
    assert rows[0]["until"] == to_text(NOW - 99_000)


@pytest.mark.parametrize("text", ['{"jobs": [}', None], ids=["invalid", "missing"])
def test_a_file_that_cannot_be_used_is_warned_of_when_a_schedule_is_in_force(
    place: Place, text: str | None
) -> None:
    place.holds(IN_FORCE)
    place.file.unlink() if text is None else place.file.write_text(text, encoding="utf-8")
    result = place.missed()
    assert (result.exit_code, result.stdout) == (0, "nothing was missed\n")
    assert result.stderr.startswith(f"{place.file}:")
    assert "the schedule in force goes on" in result.stderr
    assert place.missed("--in-force").stderr == ""


def test_a_file_that_cannot_be_used_is_refused_when_no_schedule_is_in_force(place: Place) -> None:
    place.file.write_text('{"jobs": [}', encoding="utf-8")
    assert place.missed().exit_code == 3


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Identity("cluster", IDS, 4, "", ""), "set --shards 4"),
        (Identity("other", IDS, 1, "", ""), "connect to the right cluster"),
        (Identity("cluster", {**IDS, TOPICS.commands: "old"}, 1, "", ""), "it was re-created"),
    ],
    ids=["shards", "cluster", "topic"],
)
def test_the_ledger_of_something_else_is_refused(place: Place, found: Identity, told: str) -> None:
    place.holds(IN_FORCE, found)
    result = place.missed()
    assert result.exit_code == 4
    assert told in result.stderr


def test_nothing_is_said_of_a_ledger_that_a_start_would_refuse(place: Place) -> None:
    place.faults = ("the ledger is empty",)
    result = place.missed()
    assert (result.exit_code, result.stdout) == (4, "")
    assert (
        result.stderr
        == "Error: the ledger is empty\nmend with: dispatcher recover, which first says what that costs\n"
    )
