"""Group A, the dispatcher's own process: signals, too little memory, no descriptor left, no process left."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from broker.process import Dispatcher, until
from broker.test_daemon_faults import Place, job
from confluent_kafka import Producer

from faults.running import Running, beats, running

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
BRISK = ("--poll-seconds", "1", "--removal-share", "1")


@pytest.fixture(scope="module")
def scene(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A dispatcher that goes through one fault after the other; the judge comes in the end."""
    place = Place(kafka, "process-faults", tmp_path_factory.mktemp("process"))
    place.install()
    with running(place, *BRISK) as scene:
        yield scene


def edited(scene: Running, name: str) -> None:
    """Add a job to the file."""
    scene.place.schedule(*beats(), job(name, every="1h"))


def test_f04_a_storm_of_sighup_and_a_sigterm_amid_a_reload_end_well(scene: Running) -> None:
    at = scene.at
    for _ in range(300):
        scene.daemon.send(signal.SIGHUP)
    edited(scene, "after-the-storm")
    scene.tells("schedule.applied", after=at)
    scene.beats_on()
    scene.place.schedule(*beats(), *(job(f"many-{number}", every="1h") for number in range(20_000)))
    until(lambda: len(scene.children) == 1 and busy(scene.children[0]), "the file is being read")
    assert scene.daemon.terminate() == 0, scene.daemon.text()[-3000:]
    scene.place.schedule(*beats())
    scene.daemon.start()
    scene.beats_on()


def waits(pid: int) -> bool:
    """Return whether a process waits to be asked something."""
    return "pipe_read" in Path(f"/proc/{pid}/wchan").read_text()


def busy(pid: int) -> bool:
    """Return whether a process has begun to work: waiting for a question costs no processor time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"
    except OSError:
        return False


@pytest.mark.long
def test_f04_a_sigterm_before_it_is_ready_ends_it_at_once(scene: Running) -> None:
    with Dispatcher("127.0.0.1:9", "nobody", scene.place.file, scene.place.directory / "early.log") as early:
        early.says("kafka.unreachable")
        assert early.terminate(5) in (0, -signal.SIGTERM)


def test_f05_a_loading_child_without_memory_is_told_and_the_next_one_loads(scene: Running) -> None:
    at = scene.at
    until(lambda: len(scene.children) == 1 and waits(scene.children[0]), "a child that waits")
    resource.prlimit(scene.children[0], resource.RLIMIT_AS, (1, 1))
    scene.place.schedule(*beats(), *(job(f"heavy-{number}", every="1h") for number in range(2_000)))
    told = scene.tells("schedule.unreadable", after=at)
    assert "memory" in told["reason"].lower(), told
    scene.beats_on()
    scene.daemon.send(signal.SIGHUP)
    scene.tells("schedule.applied", after=at)
    assert len(scene.told("schedule.unreadable", after=at)) == 1
    scene.place.schedule(*beats())


def test_f06_without_a_descriptor_left_it_fires_on_says_so_and_recovers(scene: Running) -> None:
    scene.beats_on()
    at = scene.at
    with scene.limited(resource.RLIMIT_NOFILE, scene.lowest_free_descriptor), scene.unhurried():
        edited(scene, "no-descriptor")
        told = scene.tells("schedule.unreadable", after=at)
        assert "Too many open files" in told["reason"], told
        scene.beats_on()
        fence(scene)
        scene.tells("transaction.failed", after=at)
    assert len(scene.told("schedule.unreadable", after=at)) == 1
    scene.daemon.send(signal.SIGHUP)
    scene.tells("schedule.applied", after=at)
    scene.beats_on()


def fence(scene: Running, shard: int = 0) -> None:
    """Make the producer of a shard powerless, as a stranger with its transactional id does."""
    stranger = Producer({
        "bootstrap.servers": scene.place.bootstrap, "transactional.id": f"{scene.place.prefix}-shard-{shard}",
    })  # fmt: skip
    stranger.init_transactions(20)


def test_f19_a_stranger_that_fences_a_shard_is_named_and_there_is_no_tug_of_war(scene: Running) -> None:
    at = scene.at
    fence(scene, 1)
    told = scene.tells("transaction.failed", after=at)
    assert told["kind"] in ("Fenced", "TransactionFailed"), told  # the latter amid a transaction
    assert f"{scene.place.prefix}-shard-1" in told["error"]
    scene.beats_on()
    scene.beats_on()
    failed = scene.told("transaction.failed", after=at)
    assert len(failed) <= 3, failed
    assert {entry["shard"] for entry in failed} == {1}


@contextmanager
def no_more_processes(scene: Running) -> Iterator[None]:
    """Put the dispatcher into a control group that has as many processes and threads as it may."""
    group = pids_group()
    if group is None:
        pytest.skip("no control group for processes may be made here")
    try:
        for pid in (scene.daemon.pid, *scene.children):
            (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text((group / "pids.current").read_text())
        yield
    finally:
        (group / "pids.max").write_text("max")
        for left in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):  # it may have ended just now
                (group.parent / "cgroup.procs").write_text(left)
        group.rmdir()


def pids_group() -> Path | None:
    """Make a control group that limits processes, by either version; None where that is not allowed."""
    for home in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        group = home / f"dispatcher-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            if (group / "pids.max").exists():
                return group
            group.rmdir()
    return None


def test_f06_without_a_process_or_thread_left_it_fires_on_says_so_and_recovers(scene: Running) -> None:
    scene.beats_on()
    at = scene.at
    with no_more_processes(scene), scene.unhurried():
        edited(scene, "no-process")
        scene.tells("schedule.unreadable", after=at)
        scene.beats_on()
        fence(scene)
        scene.tells("transaction.failed", after=at)
    scene.daemon.send(signal.SIGHUP)
    scene.tells("schedule.applied", after=at)
    scene.beats_on()
