"""The child process: what differs comes back, and nothing it does or suffers wedges the feed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.core.job import JobReader
from dispatcher.core.partitioner import murmur2, shard_of
from dispatcher.core.schedule import ShardBase
from dispatcher.errors import ScheduleUnreadable
from dispatcher.feed.compare import Compared, Comparer, Sighting
from dispatcher.feed.loader import load

SHARDS = 4
SEEN = Sighting(1234, witnessed=True)


def entries(count: int) -> dict[str, dict[str, Any]]:
    return {
        f"job {n}": {"jobName": f"job {n}", "cronTime": f"{n % 60} * * * *", "job": "x", "payload": "ä" * n}
        for n in range(count)
    }


def text_of(jobs: dict[str, dict[str, Any]]) -> bytes:
    return json.dumps({"jobs": list(jobs.values())}, ensure_ascii=False, indent=1).encode()


def bases_of(data: bytes, shards: range = range(SHARDS)) -> tuple[ShardBase, ...]:
    schedule = load(data, "f").schedule
    return tuple(
        ShardBase(
            shard,
            10 + shard,
            schedule.revision,
            tuple(job for name, job in schedule.jobs.items() if shard_of(name, SHARDS) == shard),
        )
        for shard in shards
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "schedule.json"


@pytest.fixture
def comparer(path: Path) -> Iterator[Comparer]:
    made = Comparer(str(path), shards=SHARDS, cap=1_000_000)
    yield made
    made.close()


def test_what_was_added_changed_and_removed_comes_back_by_shard(comparer: Comparer, path: Path) -> None:
    old = entries(60)
    new = {name: dict(entry) for name, entry in old.items()}
    for name in ("job 3", "job 4"):
        del new[name]
    new["job 5"]["priority"] = 9
    new["job 6"] = dict(reversed(new["job 6"].items()))
    new["own key"] = {"jobName": "own key", "every": "1s", "job": "x", "key": "k"}
    path.write_bytes(text_of(new))
    bases = bases_of(text_of(old))
    compared = comparer.compare(bases, SEEN)

    wanted = load(path.read_bytes(), "f").schedule
    assert compared.revision == wanted.revision
    assert compared.refused is None
    assert compared.done is not None
    assert compared.done.jobs == len(new)
    for base, change in zip(bases, compared.changes, strict=True):
        here = {name for name in {*old, *new} if shard_of(name, SHARDS) == base.shard}
        assert (change.shard, change.base, change.revision) == (base.shard, base.change, wanted.revision)
        assert (change.seen, change.witnessed) == (1234, True)
        assert (change.removed_in_all, change.in_force_in_all) == (2, 60)
        assert {job.name for job in change.added} == here & {"own key"}
        assert {job.name for job in change.changed} == here & {"job 5", "job 6"}
        assert set(change.removed) == here & {"job 3", "job 4"}
        for job in (*change.added, *change.changed):
            assert job == wanted.jobs[job.name]
            assert job.key_hash == murmur2(job.key.encode())


def test_a_file_of_other_bytes_and_the_same_jobs_moves_each_revision_on(
    comparer: Comparer, path: Path
) -> None:
    path.write_bytes(text_of(entries(10)) + b"\n")
    changes = comparer.compare(bases_of(text_of(entries(10))), SEEN).changes
    assert [len(change) for change in changes] == [0] * SHARDS
    assert {change.revision for change in changes} == {load(path.read_bytes(), "f").schedule.revision}


def test_shards_that_are_up_to_date_or_not_ready_are_left_alone(comparer: Comparer, path: Path) -> None:
    path.write_bytes(text_of(entries(40)))
    current, *_ = bases_of(path.read_bytes())
    empty = ShardBase(2, 0, "", ())
    (change,) = comparer.compare([current, empty], SEEN).changes
    assert change.shard == 2
    assert {job.name for job in change.added} == {name for name in entries(40) if shard_of(name, SHARDS) == 2}


def test_defaults_are_part_of_what_is_compared(comparer: Comparer, path: Path) -> None:
    bare = text_of(entries(5))
    path.write_bytes(bare.replace(b'{\n "jobs"', b'{\n "defaults": {"priority": 5},\n "jobs"'))
    compared = comparer.compare(bases_of(bare), SEEN)
    assert sum(len(change.changed) for change in compared.changes) == 5


def test_jobs_that_share_a_trigger_share_one_object(comparer: Comparer, path: Path) -> None:
    other = next(f"b{n}" for n in range(100) if shard_of(f"b{n}", SHARDS) == shard_of("a", SHARDS))
    names = ("a", other)
    path.write_bytes(text_of({name: {"jobName": name, "every": "7s", "job": "x"} for name in names}))
    (change,) = comparer.compare([ShardBase(shard_of("a", SHARDS), 0, "", ())], SEEN).changes
    assert len({id(job.trigger) for job in change.added}) == 1
    assert len(change.added) == 2


@pytest.mark.parametrize("data", [b"", b'{"jobs": [', b"\xff", text_of({"a": {"jobName": "a"}})])
def test_an_invalid_file_comes_back_with_the_problems_the_loader_finds(
    comparer: Comparer, path: Path, data: bytes
) -> None:
    path.write_bytes(data)
    compared = comparer.compare([ShardBase(0, 0, "", ())], SEEN)
    assert compared.changes == ()
    assert compared.refused is not None
    with pytest.raises(type(compared.refused)) as refused:
        load(data, str(path))
    assert str(refused.value) == str(compared.refused)


def test_a_job_as_it_is_in_force_counts_as_valid_but_not_twice(comparer: Comparer, path: Path) -> None:
    jobs = entries(3)
    path.write_bytes(json.dumps({"jobs": [*jobs.values(), jobs["job 1"]]}, ensure_ascii=False).encode())
    refused = comparer.compare(bases_of(text_of(jobs)), SEEN).refused
    assert refused is not None
    assert "the name is taken" in str(refused)


def test_a_file_that_cannot_be_read_is_unreadable(comparer: Comparer, path: Path) -> None:
    with pytest.raises(ScheduleUnreadable, match="does not exist"):
        comparer.compare([ShardBase(0, 0, "", ())], SEEN)
    path.write_bytes(b" " * 1_000_001)
    with pytest.raises(ScheduleUnreadable, match="more than the 1000000 allowed"):
        comparer.compare([ShardBase(0, 0, "", ())], SEEN)


def child_of(comparer: Comparer) -> subprocess.Popen[bytes]:
    comparer.prepare()
    child = comparer._spare
    assert child is not None
    return child


def test_a_spare_that_died_is_replaced(comparer: Comparer, path: Path) -> None:
    path.write_bytes(text_of(entries(1)))
    child = child_of(comparer)
    child.kill()
    child.wait()
    assert comparer.compare([ShardBase(0, 0, "", ())], SEEN).refused is None


def test_a_child_that_is_killed_at_work_is_no_wedge(comparer: Comparer, path: Path) -> None:
    path.write_bytes(text_of(entries(1)))
    child = child_of(comparer)
    child.send_signal(signal.SIGSTOP)
    killer = threading.Timer(0.2, child.kill)
    killer.start()
    with pytest.raises(ScheduleUnreadable, match="was ended by signal 9"):
        comparer.compare([ShardBase(0, 0, "", ())], SEEN)
    killer.join()
    assert comparer.compare([ShardBase(0, 0, "", ())], SEEN).refused is None


def test_a_child_that_hangs_is_ended_after_the_limit(path: Path) -> None:
    path.write_bytes(text_of(entries(1)))
    comparer = Comparer(str(path), shards=SHARDS, cap=1_000_000, limit=0.3)
    child_of(comparer).send_signal(signal.SIGSTOP)
    with pytest.raises(ScheduleUnreadable, match=r"took longer than 0\.3 s"):
        comparer.compare([ShardBase(0, 0, "", ())], SEEN)
    comparer.close()


def test_a_comparer_that_was_killed_starts_no_other_child(comparer: Comparer, path: Path) -> None:
    path.write_bytes(text_of(entries(1)))
    child = child_of(comparer)
    comparer.kill()
    assert child.wait(5) == -signal.SIGKILL
    with pytest.raises(ScheduleUnreadable, match="the feed has ended"):
        comparer.compare([ShardBase(0, 0, "", ())], SEEN)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of its input ends the child")
def test_a_child_dies_with_its_parent_even_when_it_cannot_notice(path: Path) -> None:
    code = (
        "import sys, time; from dispatcher.feed.compare import Comparer\n"
        "c = Comparer(sys.argv[1], shards=1, cap=1); c.prepare()\n"
        "print(c._spare.pid, c._spare.stdin.fileno(), flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child, question = map(int, parent.stdout.readline().split())
        deadline = time.monotonic() + 10
        outputs = Path(f"/proc/{child}/fd/1"), Path(f"/proc/{child}/fd/2")
        while len({output.readlink() for output in outputs}) > 1:  # until it is ready and waits
            assert time.monotonic() < deadline
        with Path(f"/proc/{parent.pid}/fd/{question}").open("wb"):  # so that the end of input tells nothing
            parent.kill()
            while alive(child):
                assert time.monotonic() < deadline, "the child outlives its parent"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_child_is_left_behind(comparer: Comparer, path: Path) -> None:
    path.write_bytes(text_of(entries(1)))
    pids = []
    for _ in range(2):
        pids.append(child_of(comparer).pid)
        comparer.compare([ShardBase(0, 0, "", ())], SEEN)
    pids.append(child_of(comparer).pid)
    comparer.close()
    assert len(set(pids)) == 3
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_many_jobs_come_back_whole_in_many_frames(comparer: Comparer, path: Path) -> None:
    jobs = {f"n{n}": {"jobName": f"n{n}", "every": "1s", "job": "é" * 40} for n in range(5000)}
    path.write_bytes(text_of(jobs))
    bases = [ShardBase(shard, 0, "", ()) for shard in range(SHARDS)]
    compared: Compared = comparer.compare(bases, SEEN)
    reader = JobReader()
    assert {job.name: job.definition for change in compared.changes for job in change.added} == {
        name: reader.build(
            entry, json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
        ).definition
        for name, entry in jobs.items()
    }
    back = tuple(ShardBase(change.shard, 1, "other", change.added) for change in compared.changes)
    path.write_bytes(b'{"jobs": []}')
    gone = comparer.compare(back, SEEN).changes
    assert sorted(name for change in gone for name in change.removed) == sorted(jobs)
    assert {(change.removed_in_all, change.in_force_in_all) for change in gone} == {(5000, 5000)}


ALIKE: list[dict[str, Any]] = [
    {},
    {"priority": 9},
    {"every": "3s", "cronTime": ...},
    {"timezone": "Europe/Berlin", "dst": {"gap": "skip"}},
    {"timezone": "Europe/Berlin", "dst": {"gap": "run"}},
    {"jitterSeconds": 600},
    {"cronTime": "H H * * *"},
    {"headers": {"a": "b"}},
    {"headers": {"a": "c"}},
    {"topic": "own", "key": "k"},
    {"catchUp": "all", "misfireGraceSeconds": 5, "expiresAfterSeconds": 7},
    {"enabled": False},
    {"job": ..., "payload": ..., "taskName": "y", "taskParams": {"z": 1}},
]


def test_jobs_that_are_alike_come_back_as_the_loader_makes_them(comparer: Comparer, path: Path) -> None:
    jobs = {}
    for n in range(4 * len(ALIKE)):
        fields = {"jobName": f"n{n}", "cronTime": "5 * * * *", "job": "x", "payload": n} | ALIKE[
            n % len(ALIKE)
        ]
        jobs[f"n{n}"] = {name: value for name, value in fields.items() if value is not ...}
    path.write_bytes(text_of(jobs))
    changes = comparer.compare([ShardBase(shard, 0, "", ()) for shard in range(SHARDS)], SEEN).changes
    wanted = load(path.read_bytes(), "f").schedule.jobs
    got = {job.name: job for change in changes for job in change.added}
    assert got == wanted
    assert len({job.delay_ms for job in got.values()}) > 1
