"""Noticing that the file may have changed: events of every directory its path leads through.

A path like a ConfigMap's leads through links (`schedule.json` → `..data/schedule.json`, `..data` →
`..2026_01_31`): a swap of any of them changes what the path shows, so each name on the way is watched in
its own directory. Events only wake; what the file holds decides. Where no events are to be had the feed
polls, which it does slowly in any case.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

_log = structlog.get_logger(__name__)
_MOST_LINKS = 40
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]

Places = dict[str, frozenset[str]]
"""Directories to watch, and in each the names that matter."""


def places_of(path: str) -> Places:
    """Return every directory and name by which a path is resolved, through its links, as far as it leads."""
    found: dict[str, set[str]] = {}
    here, *parts = _parts(Path(path).absolute())
    links = 0
    while parts and links <= _MOST_LINKS:
        part = parts.pop(0)
        step = here / part
        target = _target(step)
        if target is not None or not parts:
            found.setdefault(str(here), set()).add(str(part))
        if target is None:
            here = here.parent if str(part) == ".." else step
            continue
        links += 1
        inner = _parts(target)
        if target.is_absolute():
            here = inner.pop(0)
        parts = inner + parts
    return {directory: frozenset(names) for directory, names in found.items()}


def _more_of(error: OSError | RuntimeError) -> str:
    """Return what to do about an error of the kernel's limits."""
    match getattr(error, "errno", None):
        case errno.EMFILE:
            return "raise fs.inotify.max_user_instances, or this process's limit of open files"
        case errno.ENOSPC:
            return "raise fs.inotify.max_user_watches"
        case _:
            return "if that is too slow, lower poll_seconds"


def _parts(path: Path) -> list[Path]:
    return [Path(part) for part in path.parts]


def _target(step: Path) -> Path | None:
    try:
        return step.readlink()
    except OSError:  # no link, or not there at all
        return None


class Watcher:
    """Watches the places of one path and calls `wake` when something happens there.

    `refresh` must be called now and then, by one thread: links and directories come and go. `stop` ends it.
    """

    def __init__(self, path: str, wake: Callable[[], None]) -> None:
        self._path = path
        self._handler = _Handler(wake)
        self._observer: BaseObserver | None = None
        self._watched: dict[str, tuple[int, int]] = {}
        self._complained = False

    @property
    def watching(self) -> bool:
        """Whether events are to be had now."""
        return bool(self._watched)

    def refresh(self) -> None:
        """Watch where the path leads now; a directory that was replaced is watched anew."""
        places = places_of(self._path)
        self._handler.places = places
        wanted = {directory: mark for directory in places if (mark := _mark(directory)) is not None}
        if wanted == self._watched:
            return
        self._drop()
        try:
            self._watch(wanted)
        except (OSError, RuntimeError) as error:
            self._drop()
            if not self._complained:
                self._complained = True
                _log.warning(
                    "schedule.unwatched",
                    file=self._path,
                    reason=str(error),
                    advice=f"changes are found by polling; {_more_of(error)}",
                )

    def stop(self) -> None:
        """End the watching and wait for its threads."""
        self._drop()

    def _watch(self, wanted: dict[str, tuple[int, int]]) -> None:
        if not wanted:
            return
        observer = self._observer = Observer()
        observer.daemon = True
        for directory in wanted:
            observer.schedule(self._handler, directory, event_filter=_EVENTS)
        observer.start()
        self._watched = wanted
        self._complained = False

    def _drop(self) -> None:
        observer, self._observer, self._watched = self._observer, None, {}
        if observer is not None:
            observer.stop()
            if observer.ident is not None:
                observer.join()


class _Handler(FileSystemEventHandler):
    """Wakes for what concerns the names that matter and for what happens to a watched directory itself."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.places: Places = {}
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take one event of the observer's thread."""
        if any(self._matters(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path):
            self._wake()

    def _matters(self, path: str) -> bool:
        directory, name = os.path.split(path)
        return name in self.places.get(directory, ()) or path in self.places


def _mark(directory: str) -> tuple[int, int] | None:
    try:
        facts = Path(directory).stat()
    except OSError:  # not there now; the next refresh looks again
        return None
    return facts.st_dev, facts.st_ino
