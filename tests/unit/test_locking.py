"""The lock of an instance: one process of a machine holds it, and its end, however it comes, frees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.errors import InstanceTaken, InvalidSettings
from dispatcher.locking import instance_lock, lock_directory, lock_file

OURS = ("cluster", "prefix", "host-1")
HOLD = """
import sys, pathlib
from dispatcher.locking import instance_lock
with instance_lock(pathlib.Path(sys.argv[1]), *sys.argv[2:]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(directory: Path, *name: str) -> Iterator[subprocess.Popen[str]]:
    """Let a process of its own hold a lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory), *name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_holds_the_lock_and_what_to_do(tmp_path: Path) -> None:
    with (
        another_process(tmp_path, *OURS) as holder,
        pytest.raises(InstanceTaken) as taken,
        instance_lock(tmp_path, *OURS),
    ):
        pass
    for part in (
        "'host-1'",
        str(lock_file(tmp_path, *OURS)),
        f"process {holder.pid} ",
        "DISPATCHER_INSTANCE",
    ):
        assert part in str(taken.value)


def test_the_end_of_the_holder_frees_the_lock_even_by_kill_9(tmp_path: Path) -> None:
    with another_process(tmp_path, *OURS) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with instance_lock(tmp_path, *OURS):
            assert lock_file(tmp_path, *OURS).read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "other",
    [("cluster 2", "prefix", "host-1"), ("cluster", "prefix2", "host-1"), ("cluster", "prefix", "host/1")],
)
def test_another_cluster_prefix_or_instance_is_another_lock(
    tmp_path: Path, other: tuple[str, str, str]
) -> None:
    with another_process(tmp_path, *other), instance_lock(tmp_path, *OURS):
        assert lock_file(tmp_path, *OURS) != lock_file(tmp_path, *other)


def test_the_file_stays_and_is_its_owners_alone(tmp_path: Path) -> None:
    with instance_lock(tmp_path, *OURS):
        pass
    assert lock_file(tmp_path, *OURS).stat().st_mode & 0o777 == 0o600
    with instance_lock(tmp_path, *OURS):
        pass


def test_a_child_does_not_keep_the_lock_of_its_dead_parent(tmp_path: Path) -> None:
    with instance_lock(tmp_path, *OURS):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with another_process(tmp_path, *OURS):
        child.communicate(b"\n")


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    lock_file(tmp_path, *OURS).symlink_to(target)
    with pytest.raises(InvalidSettings, match="DISPATCHER_LOCK_DIR"), instance_lock(tmp_path, *OURS):
        pass
    assert target.read_text() == "kept"


@pytest.mark.parametrize("there", ["nothing", "a pipe"])
def test_a_place_that_cannot_be_locked_is_told_with_the_setting(tmp_path: Path, there: str) -> None:
    directory = tmp_path / "absent" if there == "nothing" else tmp_path
    if there == "a pipe":
        os.mkfifo(lock_file(tmp_path, *OURS))
    with pytest.raises(InvalidSettings, match=r"lock .*--lock-dir"), instance_lock(directory, *OURS):
        pass


def test_a_long_or_strange_name_makes_a_plain_short_file_name(tmp_path: Path) -> None:
    path = lock_file(tmp_path, "c" * 22, "p" * 180, "../" + "i" * 197)
    assert path.parent == tmp_path
    assert len(path.name) < 120


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RUNTIME_DIRECTORY": "{}/a:{}/b", "XDG_RUNTIME_DIR": "{}/x"}, "a"),
        ({"XDG_RUNTIME_DIR": "{}/x"}, "x"),
        ({"RUNTIME_DIRECTORY": "{}/absent", "XDG_RUNTIME_DIR": "{}/x"}, "x"),
        ({"XDG_RUNTIME_DIR": "{}/absent"}, None),
        ({"RUNTIME_DIRECTORY": ""}, None),
        ({}, None),
    ],
)
def test_the_usual_directory_is_the_first_there_is(
    tmp_path: Path, variables: dict[str, str], expected: str | None
) -> None:
    for name in "abx":
        (tmp_path / name).mkdir()
    environment = {name: value.replace("{}", str(tmp_path)) for name, value in variables.items()}
    found = lock_directory(environment)
    assert found == (Path(tempfile.gettempdir()) if expected is None else tmp_path / expected)
