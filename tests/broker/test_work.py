"""The whole way on a real Kafka: a schedule is fired, workers run it, and every fire ends once."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from broker.process import until
from broker.test_daemon_faults import Place, job, text
from broker.tools import committed
from broker.working import Worker
from dispatcher.core.message import fire_id

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
SECONDS = 60.0
TERMINAL = {"run.succeeded", "run.dead", "run.cancelled", "run.expired", "run.skipped"}
NIGHTLY = {"jobName": "nightly", "cronTime": "0 0 1 1 *"}


@dataclass
class Shop(Place):
    """An installation with workers."""

    def worker(self, name: str = "w1", *flags: str) -> Worker:
        log = self.directory / f"{name}.log"
        return Worker(self.bootstrap, self.prefix, log, "--instance", name, *flags)

    def ends(self) -> dict[str, list[tuple[str, int]]]:
        """Return type and attempt of every event of a worker, by fire, in order."""
        found: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for head, _ in self.events():
            if "fire" in head and "/workers/" in head["ce_source"]:
                found[head["fire"]].append((head["ce_type"], int(head["attempt"])))
        return found

    def events(self) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        for partition in range(self.shards):
            for message in committed(self.bootstrap, f"{self.prefix}.events", partition):
                heads: dict[str, Any] = dict(message.headers() or [])
                head = {name: text(value) for name, value in heads.items()}
                yield head, json.loads(message.value() or b"{}")

    def open_fires(self) -> list[str]:
        """Return the committed fires without an end."""
        ended = {fire for fire, events in self.ends().items() if any(kind in TERMINAL for kind, _ in events)}
        return sorted({fire_id(name, at) for name, at in self.fires()} - ended)

    def triggered(self, name: str, ident: str) -> str:
        told = self.command("trigger", name, "--id", ident)
        assert told.returncode == 0, told.stderr
        return f"{name}!{ident}"

    def ended(self, fire: str) -> list[str]:
        return [kind for kind, _ in self.ends().get(fire, ()) if kind in TERMINAL]


@pytest.fixture
def shop(kafka: str, prefix: str, tmp_path: Path) -> Shop:
    shop = Shop(kafka, prefix, tmp_path)
    shop.install()
    return shop


def test_the_originals_own_file_runs_to_the_end(shop: Shop) -> None:
    """The example schedule of the original Job Dispatcher as it is; its minutes are not waited for."""
    original = Path(__file__).parents[1] / "unit/seeds/repository.json"
    shop.file.write_bytes(original.read_bytes())
    names = [job["jobName"] for job in json.loads(original.read_text())["jobs"]]
    with shop.daemon() as daemon, shop.worker() as worker:
        daemon.says("schedule.applied", SECONDS)
        fires = {name: shop.triggered(name, "now") for name in names}
        until(lambda: all(shop.ended(fire) for fire in fires.values()), "every fire to end", SECONDS)
        assert daemon.terminate() == 0
        assert worker.terminate() == 0
    kinds = {name: shop.ended(fire) for name, fire in fires.items()}
    assert kinds.pop("UnregisteredExample") == ["run.dead"]
    assert set(map(tuple, kinds.values())) == {("run.succeeded",)}
    results = [data.get("result") for head, data in shop.events() if head.get("ce_subject") == "FrequentEcho"]
    assert json.loads(original.read_text())["jobs"][1]["taskParams"] in results


def test_a_failure_is_fired_again_and_a_hopeless_job_becomes_a_dead_letter_that_can_be_retried(
    shop: Shop,
) -> None:
    backoff = {"type": "fixed", "delayMs": 300}
    shop.schedule(
        {**NIGHTLY, "jobName": "flaky", "job": "rehearse", "payload": {"failBelowAttempt": 3},
         "retry": {"attempts": 3, "backoff": backoff}},
        {**NIGHTLY, "jobName": "doomed", "job": "rehearse", "payload": {"failBelowAttempt": 3},
         "retry": {"attempts": 2, "backoff": backoff}},
    )  # fmt: skip
    with shop.daemon() as daemon, shop.worker() as worker:
        daemon.says("schedule.applied", SECONDS)
        flaky, doomed = shop.triggered("flaky", "a"), shop.triggered("doomed", "b")
        until(lambda: bool(shop.ended(flaky) and shop.ended(doomed)), "both ends", SECONDS)
        assert shop.ends()[flaky] == [("run.retrying", 1), ("run.retrying", 2), ("run.succeeded", 3)]
        assert shop.ends()[doomed] == [("run.retrying", 1), ("run.dead", 2)]
        listed = shop.command("dead", "list", "--json")
        (letter,) = json.loads(listed.stdout)
        assert letter["fire"] == doomed
        again = shop.command("dead", "retry", doomed, "--yes")
        assert again.returncode == 0, again.stderr
        until(lambda: shop.ended(doomed)[-1] == "run.succeeded", "the redrive", SECONDS)
        assert shop.ends()[doomed][-1] == ("run.succeeded", 3)
        assert worker.terminate() == 0
        assert daemon.terminate() == 0


def test_a_killed_worker_hands_over_what_it_had_with_the_same_id(shop: Shop) -> None:
    shop.schedule({**NIGHTLY, "job": "rehearse", "payload": {"waitSeconds": 4}})
    with shop.daemon() as daemon:
        daemon.says("schedule.applied", SECONDS)
        with shop.worker("w1") as first:
            fire = shop.triggered("nightly", "x")
            until(lambda: ("run.started", 1) in shop.ends().get(fire, ()), "the beginning", SECONDS)
            first.kill()
        with shop.worker("w2") as second:
            until(lambda: shop.ended(fire) == ["run.succeeded"], "the end", SECONDS)
            assert second.terminate() == 0
        assert shop.ends()[fire][-1] == ("run.succeeded", 2)
        (last,) = [data for head, data in shop.events() if head["ce_type"] == "run.succeeded"]
        assert last["redelivered"] is True
        assert daemon.terminate() == 0


def test_a_second_signal_ends_a_worker_at_once_and_what_it_ran_is_run_again(shop: Shop) -> None:
    ran = shop.directory / "ran"
    script = f"trap '' TERM; echo $$ >> {ran}; test $(wc -l < {ran}) -gt 1 || sleep 300"
    shop.schedule({**NIGHTLY, "job": "shell", "payload": {"command": ["/bin/sh", "-c", script]}})
    with shop.daemon() as daemon:
        daemon.says("schedule.applied", SECONDS)
        with shop.worker("w1", "--shell-allow", "/bin/sh", "--stop-seconds", "100") as first:
            fire = shop.triggered("nightly", "x")
            until(lambda: ("run.started", 1) in shop.ends().get(fire, ()), "the beginning", SECONDS)
            first.send(signal.SIGTERM)
            first.says("pool.draining", SECONDS)
            later = shop.triggered("nightly", "y")
            assert first.alive(), "it waits for the run to end"
            first.send(signal.SIGTERM)
            assert first.wait(10) == 128 + signal.SIGTERM
        program = Path("/proc", ran.read_text().strip())
        until(lambda: not program.exists(), "its program to end with it", 10)
        with shop.worker("w2", "--shell-allow", "/bin/sh") as second:
            until(lambda: all(map(shop.ended, (fire, later))), "both ends", SECONDS)
            assert second.terminate() == 0
        assert daemon.terminate() == 0
    ends = {head["fire"]: (int(head["attempt"]), data["redelivered"]) for head, data in shop.events()
            if head["ce_type"] == "run.succeeded"}  # fmt: skip
    assert ends.keys() == {fire, later}
    assert ends[fire] == (2, True), "it counts as a life that died"
    assert shop.ended(fire) == shop.ended(later) == ["run.succeeded"]


def test_a_running_fire_is_cancelled_from_the_command_line(shop: Shop) -> None:
    shop.schedule({**NIGHTLY, "job": "rehearse", "payload": {"waitSeconds": 300}})
    with shop.daemon() as daemon, shop.worker() as worker:
        daemon.says("schedule.applied", SECONDS)
        fire = shop.triggered("nightly", "x")
        until(lambda: ("run.started", 1) in shop.ends().get(fire, ()), "the beginning", SECONDS)
        told = shop.command("cancel", fire)
        assert told.returncode == 0, told.stderr
        assert shop.ended(fire) == ["run.cancelled"]
        assert worker.terminate() == 0
        assert daemon.terminate() == 0


def test_poison_is_dead_once_and_the_partition_moves_on(shop: Shop) -> None:
    """F41: not JSON, null, no headers, unknown handler, huge, a schema of the future."""
    lane = f"{shop.prefix}.jobs.normal"
    heads = {
        "ce_specversion": b"1.0", "ce_type": b"dispatcher.fire", "ce_id": b"x@2026-11-20T02:00:00Z",
        "ce_subject": b"x", "ce_time": b"2026-11-20T02:00:00Z", "attempt": b"1",
    }  # fmt: skip
    poison: list[tuple[bytes | None, dict[str, bytes]]] = [
        (b"\xff{", heads), (None, heads), (b"{}", {}), (b'{"job":"unheard-of"}', heads),
        (b'{"job":"noop","payload":"' + b"x" * 900_000 + b'"', heads),
        (b'{"job":"noop"}', {**heads, "ce_specversion": b"9.0"}),
    ]  # fmt: skip
    producer = Producer({"bootstrap.servers": shop.bootstrap})
    for value, headers in poison:
        producer.produce(lane, value, b"x", 3, headers=list(headers.items()))
    producer.produce(lane, b'{"job":"noop"}', b"x", 3, headers=list(heads.items()))
    assert producer.flush(20) == 0
    with shop.worker() as worker:
        until(
            lambda: shop.ended("x@2026-11-20T02:00:00Z").count("run.succeeded") == 1, "the good one", SECONDS
        )
        assert worker.terminate() == 0
    letters = [
        message
        for partition in range(12)
        for message in committed(shop.bootstrap, f"{shop.prefix}.dead", partition)
    ]
    reasons = [text(dict(one.headers() or [])["dead_reason"]) for one in letters]
    assert len(reasons) == len(poison)
    assert [text(dict(one.headers() or [])["dead_offset"]) for one in letters] == [str(n) for n in range(6)]
    for expected in ("not JSON", "no value", "no fire", "unheard-of"):
        assert any(expected in reason for reason in reasons), reasons


def test_two_workers_of_one_name_on_one_machine_are_refused(shop: Shop) -> None:
    with shop.worker("twin") as first:
        first.says("worker.started", SECONDS)
        told = shop.command("work", "--instance", "twin")
        assert told.returncode == 1
        assert "DISPATCHER_INSTANCE" in told.stderr
        assert first.terminate() == 0


def test_a_worker_tells_autoscalers_what_is_wanted(shop: Shop) -> None:
    shop.schedule(*(job(f"j{number}", job="rehearse", payload={"waitSeconds": 0.5}) for number in range(12)))
    with shop.daemon(), shop.worker("w1", "--work-address", "127.0.0.1:0", "--seats-most", "4") as worker:
        worker.says("worker.started", SECONDS)
        served = next(line for line in worker.text().splitlines() if "views.served" in line)
        base = f"http://127.0.0.1:{json.loads(served)['port']}"

        def wanted() -> dict[str, Any]:
            with urllib.request.urlopen(f"{base}/wanted", timeout=5) as answer:  # noqa: S310 - our own server
                found: dict[str, Any] = json.load(answer)
                return found

        until(lambda: wanted()["wantedSeats"] > 4, "more seats than there are", SECONDS)
        assert wanted()["wantedReplicas"] >= 2
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:  # noqa: S310 - the same
            metrics = answer.read().decode()
        assert 'dispatcher_worker_wanted_seats{lane="normal"}' in metrics
        assert "dispatcher_worker_seats 4.0" in metrics
        worker.send(signal.SIGTERM)
        assert worker.wait(30) == 0


def test_topics_that_are_missing_are_told_with_what_mends_them(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    told = Shop(kafka, prefix, tmp_path).command("work", "--instance", "w")
    assert told.returncode == 4
    assert "topics ensure" in told.stderr


def test_a_topic_of_dead_letters_that_is_gone_stops_commits_and_says_so(shop: Shop) -> None:
    """F49: nothing is committed past what cannot be buried; it goes on once the topic is there again."""
    shop.schedule({**NIGHTLY, "job": "unheard-of"})
    admin = AdminClient({"bootstrap.servers": shop.bootstrap})
    with shop.daemon() as daemon, shop.worker() as worker:
        daemon.says("schedule.applied", SECONDS)
        worker.says("partitions.assigned", SECONDS)
        for future in admin.delete_topics([f"{shop.prefix}.dead"]).values():
            future.result()
        fire = shop.triggered("nightly", "x")
        worker.says("outcomes.not_committed", SECONDS)
        assert f"{shop.prefix}.dead" in worker.text()
        assert shop.ended(fire) == []
        shop.install()
        until(lambda: shop.ended(fire) == ["run.dead"], "the end", SECONDS)
        letters = [
            one for number in range(12) for one in committed(shop.bootstrap, f"{shop.prefix}.dead", number)
        ]
        assert len(letters) == 1
        assert worker.terminate() == 0
        assert daemon.terminate() == 0


@pytest.mark.parametrize(("begin", "again"), [("earliest", True), ("latest", False)])
def test_a_group_whose_offsets_have_expired_begins_where_the_operator_says_and_tells(
    shop: Shop, begin: str, *, again: bool
) -> None:
    """F52: no silent skip, no silent replay."""
    shop.schedule({**NIGHTLY, "job": "noop"})
    with shop.daemon() as daemon:
        daemon.says("schedule.applied", SECONDS)
        with shop.worker("w1") as first:
            fire = shop.triggered("nightly", "x")
            until(lambda: shop.ended(fire) == ["run.succeeded"], "the first run", SECONDS)
            assert first.terminate() == 0
        admin = AdminClient({"bootstrap.servers": shop.bootstrap})
        for future in admin.delete_consumer_groups([f"{shop.prefix}.workers"]).values():
            future.result()
        with shop.worker("w2", "--work-begin", begin) as second:
            second.says("no offsets are known", SECONDS)
            other = shop.triggered("nightly", "y")
            until(lambda: shop.ended(other) == ["run.succeeded"], "another run", SECONDS)
            assert len(shop.ended(fire)) == 1 + again
            assert second.terminate() == 0
        assert daemon.terminate() == 0
