"""Several processes at one installation: who takes which shard and when, and that quarrels end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from broker.cluster import Cluster
from broker.history import millis
from broker.process import Dispatcher, until
from broker.test_daemon_faults import Place, is_clean, job, now, taken, text
from broker.test_views import views
from broker.tools import committed
from dispatcher.core.codec import CURSOR_KEY

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
SHARDS = {0, 1, 2, 3}
NAMES = [f"j{number}" for number in range(40)]
SECONDS = 40.0
BRIEF = ("--session-seconds", "3")
"""So that the tests need not wait long for what a dead member had."""


@pytest.fixture
def place(kafka: str, prefix: str, tmp_path: Path) -> Place:
    return installed(Place(kafka, prefix, tmp_path))


def installed(place: Place) -> Place:
    place.install()
    place.schedule(*(job(name, catchUp="all") for name in NAMES))
    return place


def events(daemon: Dispatcher, *names: str) -> list[dict[str, Any]]:
    """Return what a daemon has logged under these names so far."""
    told = [json.loads(line) for line in daemon.text().splitlines() if line.startswith("{")]
    return [entry for entry in told if entry["event"] in names]


def fencings(*daemons: Dispatcher) -> int:
    """Return how often these daemons lost a shard to a fence."""
    failed = [entry for each in daemons for entry in events(each, "transaction.failed")]
    return sum(entry["kind"] == "Fenced" for entry in failed)


def own_all(*daemons: Dispatcher) -> bool:
    """Return whether each shard is owned, and by one of them alone."""
    owned = [taken(each) for each in daemons]
    return set().union(*owned) == SHARDS and sum(map(len, owned)) == len(SHARDS)


def shared(*daemons: Dispatcher) -> bool:
    """Return whether each shard is owned by one of them alone, and each of them owns some."""
    return own_all(*daemons) and all(map(taken, daemons))


def all_fire(place: Place, *more: str) -> int:
    """Wait until all that is planned up to this moment was committed, and later fires too; return it."""
    begun = now()
    until(lambda: place.fires_on(begun, *NAMES, *more), "fires of all", SECONDS)
    until(lambda: place.history().judge(begun).clean, "what was planned before", SECONDS)
    return begun


def test_a_restart_goes_on_before_the_session_of_its_dead_process_is_over(place: Place) -> None:
    with place.daemon("a") as daemon:
        until(lambda: taken(daemon) == SHARDS, "all taken", SECONDS)
        all_fire(place)
        daemon.kill()
        daemon.log.unlink()
        daemon.start()
        until(lambda: len(events(daemon, "shards.assigned")) > 0, "the group's word", SECONDS)
        order = [entry["event"] for entry in events(daemon, "shard.taken", "shards.assigned")]
        assert order == [*["shard.taken"] * 4, "shards.assigned"], "taken once, before the group spoke"
        end = all_fire(place)
        assert daemon.terminate() == 0
    verdict = place.history().judge(end)
    is_clean(verdict, 80)
    assert verdict.skipped == 0


def test_a_second_process_of_one_name_on_one_machine_is_refused(place: Place) -> None:
    with place.daemon("a", "--lock-dir", str(place.directory)) as first:
        until(lambda: taken(first) == SHARDS, "all taken", SECONDS)
        second = Dispatcher(
            place.bootstrap, place.prefix, place.file, place.directory / "second.log",
            *("--instance", "a", "--lock-dir", str(place.directory)),
        )  # fmt: skip
        with second:
            assert second.wait(SECONDS) == 1
        told = second.text()
        for part in ("'a'", f"process {first.pid} ", "DISPATCHER_INSTANCE", str(place.directory)):
            assert part in told
        assert fencings(first) == 0
        assert first.terminate() == 0


def test_two_machines_of_one_name_quarrel_once_and_every_fire_is_committed_once(place: Place) -> None:
    machines = [place.directory / name for name in ("one", "two")]
    for machine in machines:
        machine.mkdir()
    first, second = (
        Dispatcher(
            place.bootstrap, place.prefix, place.file, machine / "log",
            *("--instance", "same", "--lock-dir", str(machine), *BRIEF),
        )
        for machine in machines
    )  # fmt: skip
    with first, second:
        until(lambda: shared(first, second), "two and two", SECONDS)
        all_fire(place)
        settled = fencings(first, second)
        assert settled <= 3 * len(SHARDS)
        quiet = now() + 4_000
        until(lambda: now() > quiet, "a while")
        assert fencings(first, second) == settled, "no tug-of-war"
        second.kill()
        until(lambda: taken(first) == SHARDS, "the first has all", SECONDS)
        second.log.unlink()
        second.start()
        until(lambda: shared(first, second), "two and two again", SECONDS)
        end = all_fire(place)
        assert [each.terminate() for each in (first, second)] == [0, 0]
    doubled = events(first, "instance.doubled")
    assert not doubled or "DISPATCHER_INSTANCE" in doubled[0]["advice"]
    is_clean(place.history().judge(end), 80)


def test_a_twin_that_claims_by_the_ledgers_word_yields_and_both_are_told_what_to_do(place: Place) -> None:
    one, two = (place.directory / name for name in ("one", "two"))
    for machine in (one, two):
        machine.mkdir()
    same = ("--instance", "same", "--session-seconds", "30")
    first = Dispatcher(place.bootstrap, place.prefix, place.file, one / "log", *same, "--lock-dir", str(one))
    twin = Dispatcher(place.bootstrap, place.prefix, place.file, two / "log", *same, "--lock-dir", str(two))
    with first:
        until(lambda: taken(first) == SHARDS, "all taken", SECONDS)
        all_fire(place)
        first.send(signal.SIGSTOP)  # so that the group cannot answer before the twin has claimed
        with twin:
            until(lambda: len(events(twin, "shard.taken")) == 4, "claimed by the ledger's word", SECONDS)
            assert not events(twin, "shards.assigned")
            first.send(signal.SIGCONT)
            until(lambda: bool(events(first, "instance.doubled")), "the first tells of its double", SECONDS)
            until(lambda: own_all(first, twin), "each shard is one's alone", SECONDS)
            end = all_fire(place)
            assert fencings(first, twin) <= 3 * len(SHARDS)
            assert twin.terminate() == 0
        assert first.terminate() == 0
    advice = [entry["advice"] for entry in events(first, "instance.doubled") + events(twin, "shards.yielded")]
    assert len(advice) > 1
    assert all("DISPATCHER_INSTANCE" in text for text in advice)
    is_clean(place.history().judge(end), 80)


def test_a_replica_with_an_older_file_keeps_the_schedule_in_force(place: Place) -> None:
    stale = place.directory / "stale.json"
    stale.write_bytes(place.file.read_bytes())
    with place.daemon("a", *BRIEF) as first:
        until(lambda: first.text().count("schedule.applied") == 4, "the old file", SECONDS)
        place.schedule(*(job(name, catchUp="all", payload="new") for name in [*NAMES, "added"]))
        until(lambda: first.text().count("schedule.applied") == 8, "the new file", SECONDS)
        edited = now()
        log = place.directory / "b.log"
        with Dispatcher(place.bootstrap, place.prefix, stale, log, "--instance", "b", *BRIEF) as second:
            until(lambda: shared(first, second), "shared", SECONDS)
            until(lambda: bool(events(second, "schedule.held")), "the older file is held", SECONDS)
            first.kill()
            until(lambda: taken(second) == SHARDS, "the second has all", SECONDS)
            end = all_fire(place, "added")
            assert not events(second, "schedule.applied")
            assert second.terminate() == 0
    history = place.history()
    is_clean(history.judge(end), 80)
    values = {
        json.loads(one.value or b"").get("payload")
        for one in history.records
        if millis(text(dict(one.headers)["ce_time"])) > edited
    }
    assert values == {"new"}


NEWER = """
import dispatcher.core.codec as codec
line = codec._line
codec.VERSION = 99
codec._line = lambda data, version=99: line(data, 99)
from dispatcher.cli import main
main()
"""


class Newer(Dispatcher):
    """A dispatcher of a version to come: its ledger records carry a number that this code does not know."""

    def __init__(self, place: Place) -> None:
        super().__init__(
            place.bootstrap, place.prefix, place.file, place.directory / "newer.log", "--instance", "newer"
        )
        at = self._command.index("dispatcher")
        self._command[at - 1 : at + 1] = ["-c", NEWER]


def is_refused(daemon: Dispatcher) -> None:
    """Fail unless a daemon ended because of a ledger record that is too new for it, and said so."""
    assert daemon.wait(SECONDS) == 4, daemon.text()[-3000:]
    for part in ("format 99", "knows up to 2", "upgrade"):
        assert part in daemon.text()


def test_a_ledger_record_of_a_newer_version_is_refused_and_nothing_is_written(place: Place) -> None:
    ledger = f"{place.prefix}.ledger"
    producer = Producer({"bootstrap.servers": place.bootstrap})
    producer.produce(ledger, b'{"v":99,"due":0}', CURSOR_KEY, 2)
    assert producer.flush(10) == 0
    with place.daemon("a") as daemon:
        is_refused(daemon)
        assert CURSOR_KEY.decode() in daemon.text()
    assert len(committed(place.bootstrap, ledger, 2)) == 1


def test_in_a_mixed_group_the_newer_version_gets_every_shard(place: Place) -> None:
    with Newer(place) as newer:
        until(lambda: taken(newer) == SHARDS, "all taken", SECONDS)
        all_fire(place)
        with place.daemon("older") as older:
            is_refused(older)
        until(lambda: taken(newer) == SHARDS, "the newer has all", SECONDS)
        end = all_fire(place)
        assert newer.terminate() == 0
    is_clean(place.history().judge(end), 80)


@pytest.mark.long
def test_a_broker_that_is_silent_costs_the_shards_and_the_claim_to_be_well_until_it_is_back(
    own_cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    place = installed(Place(own_cluster.bootstrap, prefix, tmp_path))
    with place.daemon("a", "--address", "127.0.0.1:0") as daemon:
        until(lambda: taken(daemon) == SHARDS, "all taken", SECONDS)
        here = views(daemon)
        all_fire(place)
        assert (here.code("/health"), here.code("/ready")) == (200, 200)
        own_cluster.pause()
        try:
            until(lambda: bool(events(daemon, "health.lost")), "health is lost", SECONDS)
            until(lambda: bool(events(daemon, "shards.lost")), "the session is over", SECONDS)
            assert taken(daemon) == set()
            assert (here.code("/health"), here.code("/ready")) == (200, 503), "it lives, and is not ready"
            assert "no broker has answered" in here.json("/health")["reasons"][0]
            assert (here.metric("dispatcher_healthy"), here.metric("dispatcher_ready")) == (0, 0)
        finally:
            own_cluster.resume()
        until(lambda: taken(daemon) == SHARDS, "all taken again", 30)
        until(lambda: bool(events(daemon, "health.back")), "health is back", 30)
        until(lambda: here.code("/ready") == 200, "it is ready again", 30)
        assert "no broker has answered" in events(daemon, "health.lost")[0]["reasons"][0]
        end = all_fire(place)
        assert daemon.terminate() == 0
    is_clean(place.history().judge(end), 80)
