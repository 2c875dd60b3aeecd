"""Which directories are watched, and which events wake."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify import InotifyObserver

from dispatcher.feed.watcher import Watcher, places_of

WAIT = 5.0


def config_map(root: Path, version: str, text: str = "{}") -> Path:
    """Lay out a directory as a kubelet does; return the path of the file."""
    (root / version).mkdir(parents=True)
    (root / version / "schedule.json").write_text(text)
    flip(root, version)
    path = root / "schedule.json"
    if not path.is_symlink():
        path.symlink_to("..data/schedule.json")
    return path


def flip(root: Path, version: str) -> None:
    (root / "..data_tmp").symlink_to(version)
    (root / "..data_tmp").rename(root / "..data")


def test_a_plain_file_is_watched_by_its_name_in_its_directory(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    assert places_of(str(root / "s.json")) == {str(root): {"s.json"}}
    assert places_of(str(root / "x" / ".." / "s.json")) == {str(root): {"s.json"}}


def test_a_relative_path_counts_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert places_of("s.json") == {str(tmp_path.resolve()): {"s.json"}}


def test_each_link_on_the_way_is_watched_where_it_lies(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    path = config_map(root, "..2026_a")
    assert places_of(str(path)) == {
        str(root): {"schedule.json", "..data"},
        str(root / "..2026_a"): {"schedule.json"},
    }


def test_a_link_to_a_directory_above_is_watched(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "real").mkdir()
    (root / "link").symlink_to(root / "real")
    assert places_of(str(root / "link" / "s.json")) == {str(root): {"link"}, str(root / "real"): {"s.json"}}


def test_dangling_and_looping_links_are_watched_as_far_as_they_lead(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "c").symlink_to("gone/d")
    assert places_of(str(root / "a")) == {str(root): {"a", "b"}}
    assert places_of(str(root / "c")) == {str(root): {"c"}, str(root / "gone"): {"d"}}


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Woken:
    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> None:
        self._event.set()

    def within(self, seconds: float) -> bool:
        woken = self._event.wait(seconds)
        self._event.clear()
        return woken


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return config_map(tmp_path.resolve() / "map", "..v1")


@pytest.fixture
def watcher(path: Path, woken: Woken) -> Iterator[Watcher]:
    made = Watcher(str(path), woken)
    made.refresh()
    assert made.watching
    yield made
    made.stop()


def test_writing_renaming_and_removing_wake(watcher: Watcher, path: Path, woken: Woken) -> None:
    real = path.resolve()
    real.write_text("[]")
    assert woken.within(WAIT)
    (real.parent / "new").write_text("{}")
    (real.parent / "new").rename(real)
    assert woken.within(WAIT)
    real.unlink()
    assert woken.within(WAIT)


def test_a_swap_of_the_link_wakes_and_the_new_directory_is_watched(
    watcher: Watcher, path: Path, woken: Woken
) -> None:
    config_map(path.parent, "..v2")
    assert woken.within(WAIT)
    watcher.refresh()
    woken.within(0.2)
    (path.parent / "..v2" / "schedule.json").write_text("[]")
    assert woken.within(WAIT)


def test_reading_it_and_files_beside_it_do_not_wake(watcher: Watcher, path: Path, woken: Woken) -> None:
    path.read_text()
    (path.resolve().parent / ".schedule.json.swp").write_text("x")
    (path.parent / "4913").write_text("")
    (path.parent / "4913").unlink()
    assert not woken.within(0.3)


def test_a_directory_that_was_replaced_is_watched_anew(tmp_path: Path, woken: Woken) -> None:
    root = tmp_path.resolve() / "dir"
    root.mkdir()
    watcher = Watcher(str(root / "s.json"), woken)
    watcher.refresh()
    root.rename(tmp_path / "old")
    watcher.refresh()
    assert not watcher.watching
    root.mkdir()
    watcher.refresh()
    (root / "s.json").write_text("{}")
    assert woken.within(WAIT)
    watcher.stop()


def test_where_nothing_can_be_watched_it_says_so_and_goes_on(
    path: Path, woken: Woken, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: InotifyObserver) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(InotifyObserver, "start", full)
    watcher = Watcher(str(path), woken)
    watcher.refresh()
    watcher.refresh()
    assert not watcher.watching
    assert capsys.readouterr().out.count("inotify watch limit reached") == 1
    watcher.stop()


def test_stopping_leaves_no_thread_and_no_descriptor(path: Path, woken: Woken) -> None:
    before = (set(threading.enumerate()), open_files())
    watcher = Watcher(str(path), woken)
    watcher.refresh()
    watcher.stop()
    assert (set(threading.enumerate()), open_files()) == before
