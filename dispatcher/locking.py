"""One process for each instance of a machine: the kernel holds a lock for as long as the process lives."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dispatcher.errors import InstanceTaken, InvalidSettings

_SHOWN = 60


def lock_directory(environment: Mapping[str, str]) -> Path:
    """Return where locks lie unless a setting says: the first directory there is of those usual for it.

    systemd may name several directories in RUNTIME_DIRECTORY, separated by colons; the first one counts.
    """
    usual = (environment.get("RUNTIME_DIRECTORY", "").partition(":")[0], environment.get("XDG_RUNTIME_DIR"))
    found = (Path(each) for each in usual if each)
    return next((each for each in found if each.is_dir()), Path(tempfile.gettempdir()))


def lock_file(directory: Path, cluster: str, prefix: str, instance: str) -> Path:
    """Return the file of an instance: its name can be read, and its digest tells it from all others."""
    digest = hashlib.sha256(f"{cluster}\n{prefix}\n{instance}".encode()).hexdigest()[:16]
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", instance)[:_SHOWN]
    return directory / f"dispatcher-{readable}-{digest}.lock"


@contextmanager
def instance_lock(directory: Path, cluster: str, prefix: str, instance: str) -> Iterator[None]:
    """Be the only process of this machine that is `instance` of the installation, while the context lasts.

    The file stays behind: to delete it would let two processes lock two files of one name. Raises
    InstanceTaken when another process is this instance, InvalidSettings when the file cannot be used.
    """
    path = lock_file(directory, cluster, prefix, instance)
    descriptor = _opened(path)
    try:
        _lock(descriptor, path, instance)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidSettings(
            f"the lock {path} cannot be opened: {error.strerror}; with --lock-dir or DISPATCHER_LOCK_DIR give"
            " a directory that this user may write to and no other user does"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidSettings(f"the lock {path} is no regular file; remove it, or give another --lock-dir")
    return descriptor


def _lock(descriptor: int, path: Path, instance: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        written = os.pread(descriptor, 20, 0).strip()
        holder = f"process {written.decode()}" if written.isdigit() else "another process"
        raise InstanceTaken(
            f"{holder} on this machine is instance {instance!r} of this installation already (it holds"
            f" {path}): stop it, or give each replica on one machine a DISPATCHER_INSTANCE of its own"
        ) from error
