"""Reading a path never blocks, and says in words why there is nothing to read."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.errors import ScheduleUnreadable
from dispatcher.feed import file


def test_a_regular_file_gives_its_bytes_and_their_sha256(tmp_path: Path) -> None:
    data = b'{"jobs": []}' * 300_000
    (tmp_path / "s.json").write_bytes(data)
    content = file.read(str(tmp_path / "s.json"))
    assert content.data == data
    assert content.revision == hashlib.sha256(data).hexdigest()
    assert file.revision_of(str(tmp_path / "s.json")) == content.revision


def nothing(path: Path) -> None:
    """Leave the place empty."""


def a_directory(path: Path) -> None:
    path.mkdir()


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


UNREADABLE = {
    "missing": (nothing, "does not exist"),
    "a directory": (a_directory, "is a directory, not a regular file"),
    "a FIFO": (os.mkfifo, "is a FIFO, not a regular file"),
    "a socket": (a_socket, "is a socket or device, not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/null"), "is a device, not a regular file"),
    "a dangling link": (
        lambda path: path.symlink_to("gone.json"),
        "is a link to gone.json, which does not exist",
    ),
    "a looping link": (a_loop, "is a link that leads back to itself"),
    "too large": (lambda path: path.write_bytes(b" " * 2000), "has 2000 bytes, more than the 1000 allowed"),
    "below a file": (lambda path: path.parent.joinpath("below").write_text(""), "does not exist"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.timeout(5)
def test_what_is_not_a_readable_file_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    make, reason = UNREADABLE[kind]
    path = tmp_path / "s.json"
    make(path)
    with pytest.raises(ScheduleUnreadable) as refused:
        file.read(str(path), cap=1000)
    assert str(refused.value).startswith(f"{path}: {reason}")
    with pytest.raises(ScheduleUnreadable):
        file.revision_of(str(path), cap=1000)


def test_a_path_with_a_nul_is_refused_in_words() -> None:
    with pytest.raises(ScheduleUnreadable, match="is no path that can be opened"):
        file.read("a\0b")


def test_the_cap_holds_for_a_sparse_gigabyte_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "s.json").open("wb") as sparse:
        sparse.truncate(1 << 30)
    with pytest.raises(ScheduleUnreadable, match="1073741824 bytes"):
        file.read(str(tmp_path / "s.json"))


def test_a_file_of_exactly_the_cap_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(b"x" * 1000)
    assert len(file.read(str(tmp_path / "s.json"), cap=1000).data) == 1000


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else for the test")
def test_a_file_of_another_user_is_refused_in_words(tmp_path: Path) -> None:
    path = Path("/tmp") / f"dispatcher-{os.getpid()}.json"  # noqa: S108 - pytest's own directory is closed to others
    path.write_text("{}")
    path.chmod(0o600)
    code = (
        "import os, sys; from dispatcher.errors import ScheduleUnreadable; from dispatcher.feed import file\n"
        "os.setuid(65534)\n"
        "try: file.read(sys.argv[1])\n"
        "except ScheduleUnreadable as error: print(error)\n"
    )
    try:
        told = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
    finally:
        path.unlink()
    assert "may not be read by this process" in told.stdout


def test_the_signature_changes_with_what_may_have_changed_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    assert file.signature_of(str(path)) is None
    path.write_text("a")
    first = file.signature_of(str(path))
    assert first == file.signature_of(str(path))
    (tmp_path / "new").write_text("b")
    (tmp_path / "new").rename(path)
    assert file.signature_of(str(path)) not in {None, first}
