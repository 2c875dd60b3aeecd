"""Bad luck on a real Kafka: whatever happens, every planned fire is one record or one recorded skip."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from broker.cluster import Cluster
from broker.history import History, Verdict, millis, read_history
from broker.process import Dispatcher, ensure_topics, until
from broker.tools import committed, create
from dispatcher.core.partitioner import murmur2

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
SECONDS = 60.0


def now() -> int:
    return time.time_ns() // 1_000_000


def job(name: str, **fields: Any) -> dict[str, Any]:
    return {"jobName": name, "every": "1s", "job": "noop", **fields}


@dataclass
class Place:
    """One installation: its topics, its file, its daemons."""

    bootstrap: str
    prefix: str
    directory: Path
    shards: int = 4

    @property
    def file(self) -> Path:
        return self.directory / "schedule.json"

    def install(self, *flags: str) -> None:
        ensure_topics(self.bootstrap, self.prefix, *flags)

    def schedule(self, *jobs: dict[str, Any]) -> None:
        whole = self.file.with_suffix(".new")
        whole.write_text(json.dumps({"jobs": jobs}))
        whole.replace(self.file)

    def daemon(self, name: str = "a", *flags: str) -> Dispatcher:
        log = self.directory / f"{name}.log"
        return Dispatcher(self.bootstrap, self.prefix, self.file, log, "--instance", name, *flags)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {name: one for name, one in os.environ.items() if not name.startswith("DISPATCHER_")}
        return subprocess.run(
            [sys.executable, "-m", "dispatcher", *words,
             "--bootstrap-servers", self.bootstrap, "--prefix", self.prefix],
            capture_output=True, text=True, check=False, timeout=SECONDS, env=environment,
        )  # fmt: skip

    def history(self) -> History:
        return read_history(self.bootstrap, self.prefix)

    def skips(self) -> list[tuple[str, str, int]]:
        """Return (job, reason, count) of every recorded skip."""
        found = []
        for partition in range(self.shards):
            for message in committed(self.bootstrap, f"{self.prefix}.events", partition):
                head = dict(message.headers() or [])
                if head["ce_type"] == b"run.skipped":
                    data = json.loads(message.value() or b"")
                    found.append((text(head["ce_subject"]), data["reason"], data["count"]))
        return found

    def skipped(self, *jobs: str) -> bool:
        return set(jobs) <= {name for name, _, _ in self.skips()}

    def fires(self) -> Counter[tuple[str, int]]:
        return self.history().fires

    def fires_on(self, after: int, *jobs: str) -> bool:
        """Return whether each job has a committed fire planned after an instant."""
        return set(jobs) <= {name for name, at in self.fires() if at > after}

    def settle(self, end: int) -> None:
        """Wait until nothing planned up to an end is still to come: the missed may follow the new."""
        until(lambda: not self.history().judge(end).lost, "what was missed to be settled", SECONDS)


def text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def of_topic(bootstrap: str, topic: str) -> Counter[tuple[str, int]]:
    """Return the fires in the one partition of a job's own topic."""
    heads = [dict(message.headers() or []) for message in committed(bootstrap, topic)]
    return Counter((text(head["ce_subject"]), millis(text(head["ce_time"]))) for head in heads)


@pytest.fixture
def place(kafka: str, prefix: str, tmp_path: Path) -> Place:
    return Place(kafka, prefix, tmp_path)


def is_clean(verdict: Verdict, least: int) -> None:
    assert verdict.clean, verdict
    assert verdict.planned >= least


def noise(size: int) -> str:
    """Return text that no compression makes much smaller."""
    return secrets.token_urlsafe(size)[:size]


def test_fires_that_cannot_be_sent_are_recorded_skips_and_the_others_go_on(place: Place) -> None:
    bootstrap, prefix = place.bootstrap, place.prefix
    create(bootstrap, f"{prefix}.jobs.low", 12, max_message_bytes="50000", retention_ms="604800000")
    place.install()
    tiny = create(bootstrap, f"tiny-{prefix}", max_message_bytes="4000")
    doomed = create(bootstrap, f"doomed-{prefix}")
    late = f"late-{prefix}"
    place.schedule(
        job("good"),
        job("large", priority=1, payload=noise(100_000)),
        job("small", priority=1),
        job("nowhere", topic=f"nowhere-{prefix}"),
        job("ours", topic=f"{prefix}.events"),
        job("tiny-large", topic=tiny, payload=noise(9_000)),
        job("tiny-small", topic=tiny),
        job("late", topic=late),
        job("doomed", topic=doomed),
        job("keyed", key="shared key"),
    )
    with place.daemon() as daemon:
        daemon.says("schedule.applied", SECONDS)
        begun = now()
        bad = ("large", "nowhere", "ours", "tiny-large", "late")
        until(lambda: place.skipped(*bad), "a skip of each", SECONDS)
        create(bootstrap, late)
        until(lambda: bool(of_topic(bootstrap, late)), "fires in the topic made later", SECONDS)
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.delete_topics([doomed])[doomed].result()
        until(lambda: place.skipped("doomed"), "skips of the topic deleted", SECONDS)
        again = now()
        until(lambda: place.fires_on(again, "good", "small", "keyed"), "fires of the others", SECONDS)
        end = now() - 3_000
        place.settle(end)
        assert daemon.terminate() == 0
    history = place.history()
    assert history.gone == {doomed, f"nowhere-{prefix}"}
    verdict = history.judge(end)
    is_clean(verdict, 9 * (end - begun) // 1_000)
    assert verdict.unknown > 0, "what the deleted topic held"
    reasons = {name: reason for name, reason, _ in place.skips()}
    assert all(reason.startswith("unsendable: ") for reason in reasons.values()), reasons
    assert reasons.keys() == {*bad, "doomed"}
    assert f"'nowhere-{prefix}'" in reasons["nowhere"]
    partition = murmur2(b"shared key") % 12
    keyed = [
        one for one in committed(bootstrap, f"{prefix}.jobs.normal", partition) if one.key() == b"shared key"
    ]
    assert len(keyed) == sum(name == "keyed" for name, _ in history.fires)


def test_a_broker_that_is_frozen_and_killed_under_load_costs_no_fire(
    own_cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    place = Place(own_cluster.bootstrap, prefix, tmp_path)
    place.install()
    names = [f"j{number}" for number in range(60)]
    place.schedule(*(job(name, catchUp=("all", "latest", "none")[len(name) % 3]) for name in names))
    with place.daemon() as daemon:
        daemon.says("schedule.applied", SECONDS)
        for frozen in (0.4, 0.5, 0.6, 12.0):
            begun = now()
            until(lambda begun=begun: place.fires_on(begun, *names), "fires", SECONDS)  # type: ignore[misc]  # bound
            own_cluster.pause()
            thaw = threading.Timer(frozen, own_cluster.resume)
            thaw.start()
            thaw.join()
        begun = now()
        until(lambda: place.fires_on(begun, *names), "fires after the last freeze", SECONDS)
        own_cluster.restart()
        again = now()
        until(lambda: place.fires_on(again, *names), "fires after the restart", SECONDS)
        end = now() - 5_000
        place.settle(end)
        assert daemon.terminate() == 0, daemon.text()[-3000:]
    is_clean(place.history().judge(end), 600)


def test_two_daemons_share_the_shards_and_one_hands_over_without_loss(place: Place) -> None:
    place.install()
    place.schedule(*(job(f"j{number}", catchUp="all") for number in range(100)))
    with place.daemon("a") as first, place.daemon("b") as second:
        until(
            lambda: taken(first) >= {0, 1, 2, 3} or taken(first) | taken(second) >= {0, 1, 2, 3},
            "all taken",
            SECONDS,
        )
        until(lambda: bool(taken(first)) and bool(taken(second)), "both at work", SECONDS)
        begun = now()
        until(
            lambda: place.fires_on(begun, *(f"j{number}" for number in range(100))), "fires of all", SECONDS
        )
        assert first.terminate() == 0, first.text()[-3000:]
        until(lambda: taken(second) == {0, 1, 2, 3}, f"the other has all: {taken(second)}", SECONDS)
        again = now()
        until(lambda: place.fires_on(again, *(f"j{number}" for number in range(100))), "fires again", SECONDS)
        end = now() - 3_000
        place.settle(end)
        assert second.terminate() == 0, second.text()[-3000:]
    verdict = place.history().judge(end)
    is_clean(verdict, 200)
    assert verdict.skipped == 0


def taken(daemon: Dispatcher) -> set[int]:
    """Return the shards that a daemon took and has not given up since, by its log."""
    owned: set[int] = set()
    for line in daemon.text().splitlines():
        entry = json.loads(line)
        if entry["event"] == "shard.taken":
            owned.add(entry["shard"])
        elif entry["event"] in {"shards.revoked", "shards.lost", "shards.yielded"}:
            owned -= set(entry["shards"])
    return owned


def test_a_held_file_takes_force_by_a_word(place: Place) -> None:
    place.install("--shards", "2", "--partitions-jobs", "4")
    one = ("--shards", "2", "--partitions-jobs", "4")
    small, large = [job("a")], [job(f"j{number}") for number in range(20)]
    place.schedule(*large, *small)
    with place.daemon("a", *one) as daemon:
        until(lambda: daemon.text().count("schedule.applied") == 2, "both shards applied", SECONDS)
        place.schedule(*small)
        until(lambda: daemon.text().count("schedule.held") == 2, "both shards hold the file", SECONDS)
        adopted = place.command("adopt", "--shards", "2")
        assert adopted.returncode == 0, adopted.stderr
        until(lambda: daemon.text().count("schedule.applied") == 4, "both shards applied", SECONDS)
        again = place.command("adopt", "--shards", "2")
        assert (again.returncode, "no shard holds a file" in again.stderr) == (1, True)
        assert daemon.terminate() == 0
    place.schedule(*large, *small)
    with place.daemon("b", *one) as other:
        until(lambda: other.text().count("schedule.held") == 2, "the relic is held", SECONDS)
        assert "superseded" in other.text()
        adopted = place.command("adopt", "--shards", "2")
        assert adopted.returncode == 0, adopted.stderr
        until(lambda: other.text().count("schedule.applied") == 2, "both shards applied", SECONDS)
        begun = now()
        until(lambda: place.fires_on(begun, "a", "j0", "j19"), "fires of what was adopted", SECONDS)
        assert other.terminate() == 0


def test_a_held_file_that_is_taken_back_is_never_adopted(place: Place) -> None:
    place.install("--shards", "1")
    jobs = [job(f"j{number}") for number in range(20)]
    place.schedule(*jobs)
    with place.daemon("a", "--shards", "1") as daemon:
        daemon.says("schedule.applied", SECONDS)
        place.schedule(jobs[0])
        daemon.says("schedule.held", SECONDS)
        looks = daemon.text().count("schedule.read")
        place.schedule(*jobs)
        again = now()
        until(lambda: place.fires_on(again + 2_000, "j0", "j19"), "the feed has looked", SECONDS)
        assert daemon.text().count("schedule.read") >= looks
        adopted = place.command("adopt", "--shards", "1")
        assert (adopted.returncode, "no shard holds a file" in adopted.stderr) == (1, True), adopted
        assert daemon.terminate() == 0


def test_missed_says_what_the_next_start_really_does(place: Place) -> None:
    place.install()
    start = now() // 1_000 * 1_000 + 12_000
    window = {"startAt": iso(start), "endAt": iso(start + 5_000)}
    place.schedule(
        job("all", catchUp="all", **window),
        job("all-no-grace", catchUp="all", misfireGraceSeconds=0, **window),
        job("latest", misfireGraceSeconds=0, **window),
        job("latest-in-grace", misfireGraceSeconds=3600, **window),
        job("none", catchUp="none", misfireGraceSeconds=0, **window),
        job("none-in-grace", catchUp="none", misfireGraceSeconds=3600, **window),
        job("gone", catchUp="all", **window),
    )
    with place.daemon() as daemon:
        until(lambda: daemon.text().count("schedule.applied") >= 4, "all applied", SECONDS)
        assert daemon.terminate() == 0
    assert now() < start, "the machine is too slow for this test"
    entries = json.loads(place.file.read_text())["jobs"]
    place.schedule(*(entry for entry in entries if entry["jobName"] != "gone"))
    until(lambda: now() > start + 6_000, "the window to pass")
    told = place.command("missed", "--json", "--schedule", str(place.file))
    assert told.returncode == 0, told.stderr
    rows = {row["job"]: (row["sent"], row["skipped"]) for row in json.loads(told.stdout)}
    assert rows == {
        "all": (5, 0), "all-no-grace": (5, 0), "latest": (1, 4), "latest-in-grace": (5, 0),
        "none": (0, 5), "none-in-grace": (5, 0), "gone": (0, 5),
    }  # fmt: skip
    with place.daemon() as daemon:
        until(lambda: now_of(place) == rows, "what was told to come true", SECONDS)
        assert daemon.terminate() == 0
    assert now_of(place) == rows
    assert {reason for name, reason, _ in place.skips() if name == "gone"} == {"removed"}


def now_of(place: Place) -> dict[str, tuple[int, int]]:
    """Return how many fires of each job were sent and skipped so far."""
    sent: Counter[str] = Counter(name for name, _ in place.fires())
    skipped: Counter[str] = Counter()
    for name, _, count in place.skips():
        skipped[name] += count
    return {name: (sent[name], skipped[name]) for name in sent | skipped}


def iso(instant: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant // 1000))


def test_a_change_in_pieces_survives_kills_between_them(place: Place) -> None:
    place.install("--shards", "1")
    flags = ("--shards", "1", "--log-level", "debug")
    steady = [job(f"steady-{number}", catchUp="all") for number in range(5)]
    place.schedule(*steady)
    with place.daemon("a", *flags) as daemon:
        daemon.says("schedule.applied", SECONDS)
        place.schedule(*steady, *(job(f"j{number}", every="3600s") for number in range(12_000)))
        for _ in range(2):
            at = len(daemon.text())
            daemon.says('"kind": "change.piece"', SECONDS, after=max(0, at - 1))
            daemon.kill()
            daemon.start()
        until(lambda: '"jobs": 12005' in daemon.text(), "the change whole", SECONDS)
        begun = now()
        until(lambda: place.fires_on(begun, *(f"steady-{number}" for number in range(5))), "fires", SECONDS)
        end = now() - 3_000
        place.settle(end)
        assert daemon.terminate() == 0, daemon.text()[-3000:]
    history = place.history()
    assert len(history.jobs) == 12_005
    is_clean(history.judge(end), 1)


def test_kills_in_the_middle_of_a_backlog_lose_and_double_nothing(place: Place) -> None:
    place.install()
    flags = ("--batch-messages", "40", "--log-level", "debug")
    place.schedule(*(job(f"j{number}", catchUp="all", misfireGraceSeconds=0) for number in range(300)))
    with place.daemon("a", *flags) as daemon:
        until(lambda: daemon.text().count("schedule.applied") == 4, "all applied", SECONDS)
        daemon.kill()
        back = now() + 7_000
        until(lambda: now() > back, "a backlog")
        for _ in range(2):
            at = len(daemon.text())
            daemon.start()
            daemon.says('"kind": "backlog"', SECONDS, after=at)
            daemon.kill()
        daemon.start()
        begun = now()
        until(lambda: now_settled(place, begun), "everything settled", SECONDS)
        end = now() - 5_000
        place.settle(end)
        assert daemon.terminate() == 0, daemon.text()[-3000:]
    verdict = place.history().judge(end)
    is_clean(verdict, 2_000)
    assert verdict.skipped == 0


def now_settled(place: Place, begun: int) -> bool:
    """Return whether nothing planned before an instant is still to come, and later fires are there."""
    history = place.history()
    return not history.judge(begun).lost and len({name for name, at in history.fires if at > begun}) == 300


def test_a_job_too_large_for_its_lane_takes_force_and_can_be_edited(place: Place) -> None:
    place.shards = 1
    place.install("--shards", "1")
    place.schedule(job("good"), job("huge", payload=noise(1_500_000)))
    with place.daemon("a", "--shards", "1") as daemon:
        until(lambda: place.skipped("huge"), "a skip of the huge one", 15)
        place.schedule(job("good", payload=1), job("huge", payload=noise(1_400_000)))
        until(lambda: daemon.text().count("schedule.applied") == 2, "the edit", SECONDS)
        begun = now()
        until(lambda: place.fires_on(begun, "good"), "fires of the other", SECONDS)
        assert daemon.terminate() == 0
