"""However a file is edited, its new content takes force once, by an event and not by the poll."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from feed_world import Sink, feeding, revision_of, schedule

FIRST = schedule("first")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Sink]]:
    path = tmp_path_factory.mktemp("edits") / "schedule.json"
    path.write_text(FIRST)
    sink = Sink()
    with feeding(path, sink):
        sink.until(lambda: sink.in_force(FIRST))
        yield path, sink


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def over_the_old_bytes(path: Path, text: str) -> None:
    with path.open("r+") as file:
        file.write(text)
        file.truncate()


def truncated_first(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.flush()
        file.write(text[: len(text) // 2])
        file.flush()
        file.write(text[len(text) // 2 :])


def renamed_into_place(path: Path, text: str) -> None:
    beside = path.with_suffix(".tmp")
    beside.write_text(text)
    beside.rename(path)


def from_another_directory(path: Path, text: str) -> None:
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "new").write_text(text)
    (elsewhere / "new").rename(path)


def vim_with_backupcopy_no(path: Path, text: str) -> None:
    swap, probe, backup = (
        path.parent / ".schedule.json.swp",
        path.parent / "4913",
        path.parent / "schedule.json~",
    )
    swap.write_text("")
    probe.write_text("")
    probe.unlink()
    path.rename(backup)
    path.write_text(text)
    backup.unlink()
    swap.unlink()


def vim_with_backupcopy_yes(path: Path, text: str) -> None:
    backup = path.parent / "schedule.json~"
    shutil.copy(path, backup)
    path.write_text(text)
    backup.unlink()


def removed_and_written(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def sed(path: Path, text: str) -> None:
    line = text.replace("\n", "\\n")
    subprocess.run(["sed", "-i", "-z", f"s|.*|{line}|", str(path)], check=True)


def cp(path: Path, text: str) -> None:
    source = path.with_suffix(".source")
    source.write_text(text)
    subprocess.run(["cp", "-p", str(source), str(path)], check=True)


def mv(path: Path, text: str) -> None:
    source = path.with_suffix(".source")
    source.write_text(text)
    subprocess.run(["mv", str(source), str(path)], check=True)


def git_checkout(path: Path, text: str) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *identity, *words], cwd=path.parent, check=True, capture_output=True)

    old = path.read_text()
    git("init")
    git("add", path.name)
    git("commit", "-m", "old")
    (path.parent / "blob").write_text(text)
    blob = subprocess.run(
        ["git", "hash-object", "-w", "blob"], cwd=path.parent, check=True, capture_output=True, text=True
    ).stdout.strip()
    git("update-index", "--cacheinfo", f"100644,{blob},{path.name}")
    git("commit", "-m", "new")
    assert path.read_text() == old
    git("checkout", "HEAD", "--", path.name)


EDITS: list[Callable[[Path, str], None]] = [
    in_place,
    over_the_old_bytes,
    truncated_first,
    renamed_into_place,
    from_another_directory,
    vim_with_backupcopy_no,
    vim_with_backupcopy_yes,
    removed_and_written,
    sed,
    cp,
    mv,
    git_checkout,
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_takes_force_once(edit: Callable[[Path, str], None], world: tuple[Path, Sink]) -> None:
    path, sink = world
    if edit is git_checkout and shutil.which("git") is None:
        pytest.skip("git is not installed")
    text = schedule("first", edit.__name__.replace("_", "-"))
    before = len(sink.changes)
    began = time.time() * 1000
    edit(path, text)
    assert path.read_text() == text
    sink.until(lambda: sink.in_force(text))
    assert sink.names == {"first", edit.__name__.replace("_", "-")}
    assert [change.revision for change in sink.changes[before:]] == [revision_of(text)] * 2
    assert all(
        change.witnessed and began - 1 <= change.seen <= time.time() * 1000
        for change in sink.changes[before:]
    )
    assert not sink.refusals
