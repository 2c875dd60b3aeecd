"""Reading the schedule file without ever blocking, whatever lies at its path."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dispatcher.errors import ScheduleUnreadable

DEFAULT_CAP = 64 * 1024 * 1024
"""The largest schedule file that is read, in bytes."""

Signature = tuple[int, int, int, int, int]
"""Device, inode, size, modification and change time: a file that differs in one of them may have changed."""

_CHUNK = 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file and their SHA-256 in hex, which is a schedule's revision."""

    data: bytes
    revision: str


def read(path: str, cap: int = DEFAULT_CAP) -> Content:
    """Return what the file holds. Raises ScheduleUnreadable, naming the file and the reason; never blocks."""
    digest = sha256()
    chunks = []
    for chunk in _chunks(path, cap):
        digest.update(chunk)
        chunks.append(chunk)
    return Content(b"".join(chunks), digest.hexdigest())


def revision_of(path: str, cap: int = DEFAULT_CAP) -> str:
    """Return the SHA-256 of what the file holds without keeping it. Raises as `read` does."""
    digest = sha256()
    for chunk in _chunks(path, cap):
        digest.update(chunk)
    return digest.hexdigest()


def signature_of(path: str) -> Signature | None:
    """Return the signature of the file the path leads to, None when there is none to be had."""
    try:
        facts = Path(path).stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _chunks(path: str, cap: int) -> Iterator[bytes]:
    with _opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        seen = 0
        while chunk := _next(path, descriptor):
            seen += len(chunk)
            if max(seen, size) > cap:
                break
            yield chunk
        if max(seen, size) > cap:
            raise ScheduleUnreadable(
                f"{path}: has {max(seen, size)} bytes, more than the {cap} allowed; "
                "make it smaller or raise the cap"
            )


@contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise ScheduleUnreadable(f"{path}: {_reason(path, error)}") from error
    try:
        mode = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if mode != stat.S_IFREG:
            kind = _KINDS.get(mode, "something else")
            raise ScheduleUnreadable(f"{path}: is {kind}, not a regular file; put the schedule there")
        yield descriptor
    finally:
        os.close(descriptor)


def _next(path: str, descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError as error:
        raise ScheduleUnreadable(f"{path}: {_reason(path, error)}") from error


def _reason(path: str, error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return f"is no path that can be opened ({error})"
    match error.errno:
        case errno.ENOENT if Path(path).is_symlink():
            return f"is a link to {_target(path)}, which does not exist"
        case errno.ENOENT | errno.ENOTDIR:
            return "does not exist"
        case errno.ELOOP:
            return "is a link that leads back to itself"
        case errno.EACCES | errno.EPERM:
            return "may not be read by this process; check its permissions and those of its directories"
        case errno.ENXIO:
            return "is a socket or device, not a regular file; put the schedule there"
        case _:
            return f"cannot be read: {error.strerror or error}"


def _target(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:  # it went away in between: the reason given stays true
        return "something"
