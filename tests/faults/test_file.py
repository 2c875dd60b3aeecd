"""Group E, the schedule file, under a dispatcher at work: whatever becomes of it, fires go out on time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from statistics import median

import pytest
from bench.process import memory
from broker.process import until
from broker.test_daemon_faults import Place, job, now

from faults.running import Running, beats, is_no_later, running

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
ON_TIME_MS = 1_000
"""How late a fire may be read at the median, on a machine that has other things to do."""


@pytest.fixture(scope="module")
def scene(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A dispatcher whose file goes through one fault after the other; the judge comes in the end."""
    place = Place(kafka, "file-faults", tmp_path_factory.mktemp("file"))
    place.install()
    with running(place, "--poll-seconds", "1", "--removal-share", "1") as scene:
        yield scene


@pytest.fixture
def good(scene: Running) -> Iterator[None]:
    """Bring a good file after the fault, and see it take force."""
    yield
    at = scene.at
    scene.place.file.unlink()
    scene.place.schedule(*beats(), job(f"good-{at}", every="1h"))
    scene.tells("schedule.applied", after=at)


def unreadable(scene: Running, at: int, reason: str) -> None:
    """Wait until the file is told to be unreadable, once, while fires go out on time."""
    told = scene.tells("schedule.unreadable", after=at)
    assert reason in told["reason"], told
    begun = now()
    scene.beats_on()
    assert median(scene.late(begun, now())) < ON_TIME_MS
    assert len(scene.told("schedule.unreadable", after=at)) == 1


@pytest.mark.usefixtures("good")
def test_f35_an_error_of_the_disk_is_told_and_fires_go_on(scene: Running) -> None:
    """The memory of a process is a regular file whose first page nobody can read: EIO."""
    at = scene.at
    link = scene.place.file.with_suffix(".link")
    link.symlink_to("/proc/self/mem")
    link.replace(scene.place.file)
    unreadable(scene, at, "Input/output error")


@pytest.mark.usefixtures("good")
def test_f35_a_disk_that_takes_its_time_holds_no_fire_up(scene: Running) -> None:
    at, begun = scene.at, now()
    until(lambda: len(scene.children) == 1, "a child that waits")
    (child,) = scene.children
    os.kill(child, signal.SIGSTOP)
    scene.place.schedule(*beats(), job("slow", every="1h"))
    for _ in range(2):
        scene.beats_on()
    assert not scene.told("schedule.read", after=at)
    assert median(scene.late(begun, now())) < ON_TIME_MS
    os.kill(child, signal.SIGCONT)
    scene.tells("schedule.applied", after=at)


@pytest.mark.usefixtures("good")
def test_f38_a_sparse_gigabyte_is_refused_unread(scene: Running) -> None:
    at, held = scene.at, memory(scene.daemon.pid)
    whole = scene.place.file.with_suffix(".new")
    with whole.open("wb") as file:
        file.truncate(1 << 30)
    whole.replace(scene.place.file)
    with scene.unhurried():
        unreadable(scene, at, "1073741824 bytes")
    assert memory(scene.daemon.pid) - held < 32


NO_INOTIFY = {
    "no instance": ("max_inotify_instances", "raise fs.inotify.max_user_instances"),
    "no watch": ("max_inotify_watches", "raise fs.inotify.max_user_watches"),
}
FEED = """
import json, sys, threading
sys.path[:0] = sys.argv[2:]
from feed_world import Sink, feeding
from pathlib import Path
path, sink = Path(sys.argv[1]), Sink()
with feeding(path, sink, poll=0.2):
    print("ready", flush=True)
    for text in iter(sys.stdin.readline, ""):
        sink.until(lambda: sink.names == set(json.loads(text)))
        print("in force", flush=True)
"""


@pytest.mark.parametrize("kind", NO_INOTIFY)
def test_f36_where_inotify_is_exhausted_the_file_is_polled(tmp_path: Path, kind: str) -> None:
    """A user namespace has limits of its own: nobody else has to do without."""
    limit, told = NO_INOTIFY[kind]
    tests = Path(__file__).parents[1]
    apart = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        f'echo 0 > /proc/sys/user/{limit} && exec "$@"',
        "sh",
    ]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespace may be made here")
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps({"jobs": [job("a")]}))
    with subprocess.Popen(
        [*apart, sys.executable, "-c", FEED, str(file), str(tests / "unit")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as feed:  # fmt: skip
        assert feed.stdin is not None
        assert feed.stdout is not None
        said: list[str] = []
        for names in (["a"], ["a", "b"], ["b"]):
            whole = file.with_suffix(".new")
            whole.write_text(json.dumps({"jobs": [job(name) for name in names]}))
            whole.replace(file)
            print(json.dumps(names), file=feed.stdin, flush=True)
            said += iter(feed.stdout.readline, "in force\n")
        said += feed.communicate(timeout=30)[0]
    assert feed.returncode == 0, "".join(said)
    assert "".join(said).count(told) == 1, "".join(said)


def storm(scene: Running, seconds: float, chance: random.Random) -> None:
    """Swap the file a hundred times a second: valid, invalid, half; a valid one comes last."""
    file = scene.place.file
    whole = file.with_suffix(".storm")
    begun = time.monotonic()
    pause = threading.Event()
    swaps = 0
    while (gone := time.monotonic() - begun) < seconds:
        text = json.dumps({"jobs": [*beats(), job(f"storm-{swaps}", every="1h")]})
        whole.write_text(text[: chance.randrange(len(text))] if chance.random() < 0.3 else text)
        whole.replace(file)
        swaps += 1
        pause.wait(max(0.0, swaps / 100 - gone))
    assert swaps > 80 * seconds, f"only {swaps} swaps"


def storms(scene: Running, seconds: float) -> tuple[list[int], list[int]]:
    """Return how late fires were in so many quiet seconds and in as many of a storm."""
    quiet = now()
    until(lambda: now() > quiet + 1_000 * seconds, "a quiet while", seconds + 10)
    stormy = now()
    storm(scene, seconds, random.Random(37))
    ended = now()
    scene.place.schedule(*beats(), job(f"last-{ended}", every="1h"))
    scene.beats_on()
    until(lambda: sum(in_force(scene).values()) == len(beats()) + 1, "the last file in force")
    return scene.late(quiet, stormy), scene.late(stormy, ended)


def in_force(scene: Running) -> dict[int, int]:
    """Return how many jobs of the file as it is now are in force, by shard, as the log tells."""
    revision = sha256(scene.place.file.read_bytes()).hexdigest()
    applied = {told["shard"]: told for told in scene.told("schedule.applied")}
    return {n: told["jobs"] for n, told in applied.items() if revision.startswith(told["revision"])}


def test_f37_a_storm_of_swaps_makes_no_fire_later(scene: Running) -> None:
    is_no_later(*storms(scene, 3))


@pytest.mark.long
def test_f37_a_minute_of_a_hundred_swaps_a_second_makes_no_fire_later(scene: Running) -> None:
    is_no_later(*storms(scene, 60))
