"""Dead letters on a real broker: listed, shown, tried again with their marks, dropped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from broker.process import Dispatcher
from broker.tools import committed, eventually, installed
from dispatcher.cli.root import root
from dispatcher.core.command import Command, decode_command
from dispatcher.core.dead_letter import letter
from dispatcher.core.instant import from_text
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.partitioner import shard_of
from dispatcher.core.run import Delivery

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

T = from_text("2026-11-20T02:00:00Z")


class Place:
    """An installation with dead letters, and no dispatcher."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap = bootstrap
        self.names = installed(bootstrap, prefix)
        self._producer = Producer({"bootstrap.servers": bootstrap})

    def write(self, *records: Outgoing) -> None:
        for topic, value, key, partition, headers in records:
            told = list[tuple[str, str | bytes | None]](headers or [])
            self._producer.produce(topic, value, key, partition, headers=told)
        assert self._producer.flush(10) == 0

    def die(self, job: str, *, attempts: int = 3, reason: str = "it timed out", **more: Any) -> str:
        """File a dead letter of a job; return its fire."""
        fire = f"{job}@2026-11-20T02:00:00Z"
        headers = [("ce_id", fire.encode()), *self.headers(job, attempts), *more.get("headers", [])]
        topic = more.get("topic", f"{self.names.prefix}.jobs.low")
        delivery = Delivery(topic, 1, 7, T, job.encode(), b'{"job":"noop"}', headers)
        self.write(letter(self.names, 12, delivery, reason=reason, attempts=attempts, at=T, by="w-1"))
        return fire

    def poison(self) -> None:
        delivery = Delivery(f"{self.names.prefix}.jobs.low", 5, 9, T, None, b"hello", [])
        self.write(letter(self.names, 12, delivery, reason="no fire", attempts=1, at=T + 1, by="w-1"))

    @staticmethod
    def headers(job: str, attempt: int) -> list[tuple[str, bytes]]:
        return [
            ("ce_type", b"dispatcher.fire"),
            ("ce_subject", job.encode()),
            ("attempt", b"%d" % attempt),
            ("not_after", b"2026-11-20T03:00:00Z"),
        ]

    def run(self, *words: str) -> Result:
        common = ["--bootstrap-servers", self.bootstrap, "--prefix", self.names.prefix]
        return CliRunner().invoke(root, [*words, *common])

    def listed(self, *words: str) -> list[dict[str, Any]]:
        done = self.run("dead", "list", "--json", *words)
        assert done.exit_code == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def fires(self, *words: str) -> list[str]:
        return [one["fire"] for one in self.listed(*words)]

    def commands(self) -> list[tuple[int, Command]]:
        return [
            (shard, decode_command(message.value()))
            for shard in range(4)
            for message in committed(self.bootstrap, self.names.commands, shard)
        ]

    @contextmanager
    def answering(self, refuse: str = "") -> Iterator[None]:
        """Answer commands as shards do; those about a fire that has `refuse` in it are refused."""
        stop, answered = threading.Event(), set[str]()

        def answer() -> None:
            while not stop.wait(0.05):
                for shard, command in self.commands():
                    if command.id not in answered:
                        answered.add(command.id)
                        no = bool(refuse) and refuse in (command.fire or "")
                        kind = "command.refused" if no else "command.obeyed"
                        headers = [("ce_id", f"{kind}/{shard}/{command.id}".encode())]
                        value = b'{"done":true,"why":"no such topic"}'
                        self.write((self.names.events, value, None, shard, headers))

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def place(kafka: str, prefix: str) -> Place:
    return Place(kafka, prefix)


def test_letters_are_listed_until_they_are_settled(place: Place) -> None:
    first, second = place.die("a"), place.die("b", reason="No Route to host")
    place.poison()
    assert place.fires() == [first, second, None]
    assert place.fires("--job", "b") == [second]
    assert place.fires("--reason", "no route") == [second]
    assert place.fires("--since", "2026-11-20T02:00:00.001Z") == [None]
    dropped = place.run("dead", "drop", second)
    assert dropped.stdout == "1 letters are dropped\n", dropped.stderr
    assert place.fires() == [first, None]
    every = place.listed("--all")
    assert [(one["fire"], one["settled"] and one["settled"]["how"]) for one in every] == [
        (first, None),
        (second, "dropped"),
        (None, None),
    ]
    table = place.run("dead", "list").stdout
    assert f"{first}\t3\t{every[0]['letter']}\tit timed out" in table


def test_a_letter_is_shown_whole_by_its_fire_or_its_place(place: Place) -> None:
    fire = place.die("a", headers=[("odd", b"\xff")])
    facts = json.loads(place.run("dead", "show", fire, "--json").stdout)
    assert (facts["reason"], facts["attempts"], facts["by"]) == ("it timed out", 3, "w-1")
    assert facts["from"] == {"topic": f"{place.names.prefix}.jobs.low", "partition": 1, "offset": 7}
    assert (facts["key"], facts["value"]) == ("a", {"job": "noop"})
    assert facts["headers"]["odd"] == "\\xff"
    bare = facts["letter"].partition("[")[2].replace("]", "")
    for name in (facts["letter"], bare, f"{place.names.prefix}.jobs.low[1]@7"):
        shown = place.run("dead", "show", name)
        assert "it timed out" in shown.stdout, name
        assert '{"job":"noop"}' in shown.stdout
    assert place.run("dead", "show", "nobody").exit_code == 1


def test_a_retry_keeps_the_fire_and_settles_its_letter_in_one_transaction(place: Place) -> None:
    fire = place.die("a")
    with place.answering():
        done = place.run("dead", "retry", fire)
    assert (done.exit_code, done.stdout) == (0, f"{fire} is tried again, as attempt 4\n"), done.stderr
    ((shard, command),) = place.commands()
    assert (shard, command.type, command.id) == (shard_of("a", 4), "retry", f"retry/{fire}/4")
    assert (command.job, command.fire, command.attempt, command.origin) == ("a", fire, 4, "user")
    assert command.parcel is not None
    assert (command.parcel.topic, command.parcel.key) == (f"{place.names.prefix}.jobs.low", b"a")
    assert command.parcel.value == b'{"job":"noop"}'
    kept = dict(command.parcel.headers)
    assert kept.keys() == {"ce_id", "ce_type", "ce_subject", "attempt"}, "it is meant to run: no not_after"
    (settled,) = place.listed("--all")
    assert settled["settled"]["how"] == "retried"
    again = place.run("dead", "retry", fire)
    assert again.exit_code == 1
    assert f"there is no letter {fire} that is not settled" in again.stderr
    markers = eventually(place.commands)
    assert len(markers) == 1, "nothing was asked twice"


def test_what_is_no_fire_is_not_tried_again_and_the_rest_is(place: Place) -> None:
    fires = {place.die(f"job {number}") for number in range(7)}
    place.poison()
    place.die("ledger", topic=f"{place.names.prefix}.ledger")
    planned = place.run("dead", "retry", "--all", "--dry-run")
    assert planned.exit_code == 1
    assert place.commands() == []
    with place.answering():
        done = place.run("dead", "retry", "--all", "--yes", "--rate", "100")
    assert done.exit_code == 1
    assert "it is no fire" in done.stderr
    assert "which is no lane" in done.stderr
    assert done.stdout.count("is tried again, as attempt 4") == 7
    assert {command.fire for _, command in place.commands()} == fires
    assert len(place.listed()) == 2


def test_many_are_only_touched_by_those_who_are_sure(place: Place) -> None:
    place.die("a")
    assert place.run("dead", "retry").exit_code == 2
    assert place.run("dead", "drop", "--all", "--json").exit_code == 2
    asked = place.run("dead", "drop", "--all")
    assert "1 letters: drop them? [y/N]" in asked.stdout
    assert asked.exit_code == 1
    assert len(place.listed()) == 1


def test_a_letter_whose_retry_is_refused_is_filed_again(place: Place) -> None:
    good, bad = place.die("good"), place.die("bad")
    with place.answering(refuse="bad"):
        done = place.run("dead", "retry", "--all", "--yes", "--json")
    assert done.exit_code == 1
    facts = json.loads(done.stdout)
    assert [one["fire"] for one in facts["retried"]] == [good]
    assert facts["refused"] == {f"retry/{bad}/4": "no such topic"}
    (left,) = place.listed()
    assert (left["fire"], left["attempts"], left["reason"], left["by"]) == (bad, 3, "it timed out", "w-1")
    assert place.run("dead", "show", bad).exit_code == 0


def test_without_a_dispatcher_the_command_waits_and_that_is_said(place: Place) -> None:
    fire = place.die("a")
    done = place.run("dead", "retry", fire, "--timeout", "0.5")
    assert done.exit_code == 1
    assert "1 were not answered within 0.5 s; they will be when a dispatcher runs" in done.stderr
    assert len(place.commands()) == 1
    assert place.listed() == []


def test_a_fire_that_succeeded_is_tried_again_from_its_lane(place: Place) -> None:
    fire = "fine@2026-11-20T02:00:00Z"
    lane = TopicNames(place.names.prefix).prefix + ".jobs.high"
    for attempt in (2, 1):
        headers = [("ce_id", fire.encode()), *place.headers("fine", attempt)]
        place.write((lane, b'{"job":"%d"}' % attempt, b"fine", 3, headers))
    with place.answering():
        done = place.run("retry", fire)
    assert (done.exit_code, done.stdout) == (0, f"{fire} is tried again, as attempt 3\n"), done.stderr
    ((_, command),) = place.commands()
    assert command.parcel is not None
    assert (command.parcel.topic, command.parcel.value) == (lane, b'{"job":"2"}')
    lacking = place.run("retry", "other@2026-11-20T02:00:00Z")
    assert lacking.exit_code == 1
    assert "was found neither in the lanes nor among the dead letters" in lacking.stderr


def test_a_fire_that_died_is_tried_again_from_its_letter(place: Place) -> None:
    fire = place.die("a")
    with place.answering():
        assert place.run("retry", fire).exit_code == 0
        assert place.listed() == []
        more = place.run("retry", fire)
    assert more.exit_code == 0, "a letter that is settled still holds the message"
    assert sorted(command.attempt or 0 for _, command in place.commands()) == [4, 5]


def test_the_same_id_has_a_fire_tried_again_once_and_settles_no_later_letter(
    place: Place, tmp_path: Path
) -> None:
    schedule = tmp_path / "schedule.json"
    schedule.write_text('{"jobs": [{"jobName": "a", "at": "2026-01-01T00:00:00Z", "job": "noop"}]}')
    fire, lane = place.die("a"), f"{place.names.prefix}.jobs.low"

    def attempts() -> list[bytes]:
        sent = [one for number in range(12) for one in committed(place.bootstrap, lane, number)]
        return [dict(one.headers() or [])["attempt"] for one in sent]  # type: ignore[misc] # they have one

    def retried(*words: str) -> str:
        done = place.run("retry", fire, *words, "--timeout", "60")
        assert done.exit_code == 0, done.stderr
        return done.stdout

    with Dispatcher(place.bootstrap, place.names.prefix, schedule, tmp_path / "log") as dispatcher:
        eventually(lambda: dispatcher.text().count("schedule.applied") >= 4, 60)
        assert retried("--id", "x") == f"{fire} is tried again, as attempt 4\n"
        eventually(lambda: attempts() == [b"4"], 60)
        assert place.listed() == []
        assert retried("--id", "x") == f"{fire} was tried again by this id before: nothing is done\n"
        place.die("a", attempts=4)
        told = json.loads(retried("--id", "x", "--json"))
        assert told["retried"] == [{"fire": fire, "attempt": None, "repeated": True}]
        (left,) = place.listed()
        assert (left["fire"], left["attempts"]) == (fire, 4), "it stays to be looked at"
        assert attempts() == [b"4"]
        retried("--id", "y")
        eventually(lambda: len(attempts()) == 2, 60)
        assert place.listed() == []
        assert dispatcher.terminate() == 0
    assert place.run("retry", fire, "--id", "a b").exit_code == 2


def test_a_dispatcher_sends_the_fire_of_a_letter_again(place: Place, tmp_path: Path) -> None:
    schedule = tmp_path / "schedule.json"
    schedule.write_text('{"jobs": [{"jobName": "a", "at": "2026-01-01T00:00:00Z", "job": "noop"}]}')
    fire = place.die("a")
    lane = f"{place.names.prefix}.jobs.low"
    with Dispatcher(place.bootstrap, place.names.prefix, schedule, tmp_path / "log") as dispatcher:
        eventually(lambda: dispatcher.text().count("schedule.applied") >= 4, 60)
        done = place.run("dead", "retry", "--all", "--yes", "--timeout", "60")
        assert (done.exit_code, done.stdout) == (0, f"{fire} is tried again, as attempt 4\n"), done.stderr
        sent = eventually(lambda: [one for n in range(12) for one in committed(place.bootstrap, lane, n)], 60)
        assert dispatcher.terminate() == 0
    (message,) = sent
    headers = dict(message.headers() or [])
    assert (headers["ce_id"], headers["attempt"]) == (fire.encode(), b"4")
    assert (message.key(), message.value()) == (b"a", b'{"job":"noop"}')
    assert place.listed() == []
