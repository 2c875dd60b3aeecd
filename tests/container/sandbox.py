"""Runs a command in the root of an image as an engine would that is told to trust it with nothing.

Usage, as root: sandbox.py ROOT USER [SOURCE:TARGET…] -- COMMAND…, with the environment it is to see. It gets
namespaces of its own for mounts, processes, host name and IPC, but the machine's network; a root, and what is
mounted into it, that cannot be written to; a /tmp of its own; no capability, and no way to gain one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_NEW_MOUNTS, _NEW_NAMES, _NEW_IPC, _NEW_PROCESSES = 0x00020000, 0x04000000, 0x08000000, 0x20000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
_DEATH_SIGNAL, _DROP_BOUNDING, _NO_NEW_PRIVILEGES = 1, 24, 38
_USUAL = [(path, path) for path in map(Path, ("/etc/hosts", "/etc/resolv.conf"))]
"""What every engine puts into a container."""
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    given = [os.fsencode(each) if isinstance(each, str | Path) else each for each in arguments]
    if getattr(_libc, name)(*given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def _mount(source: str | Path, target: Path, kind: str, flags: int, options: str = "") -> None:
    _call("mount", source, target, kind, ctypes.c_ulong(flags), options)


def _bound(source: Path, target: Path) -> None:
    _mount(source, target, "", _BIND | _RECURSIVE)
    _mount("", target, "", _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES)


def _furnish(root: Path, mounts: list[tuple[Path, Path]]) -> None:
    _mount("none", Path("/"), "", _RECURSIVE | _PRIVATE)
    for source, target in mounts:
        place = root / target.relative_to("/")
        (place if source.is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
        if not source.is_dir():
            place.touch()
    _bound(root, root)
    _mount("proc", root / "proc", "proc", _NO_SUID | _NO_DEVICES | _NO_EXEC)
    _mount("tmpfs", root / "tmp", "tmpfs", _NO_SUID | _NO_DEVICES | _NO_EXEC, "mode=1777,size=64m")
    _mount("tmpfs", root / "dev", "tmpfs", _NO_SUID | _NO_EXEC, "mode=755,size=64k")
    for name in ("null", "zero", "random", "urandom"):
        (root / "dev" / name).touch()
        _mount(Path("/dev") / name, root / "dev" / name, "", _BIND)
    for source, target in mounts:
        _bound(source, root / target.relative_to("/"))


def _give_up_rights(user: int, group: int) -> None:
    for capability in range(int(_LAST_CAPABILITY.read_text()) + 1):
        _call("prctl", _DROP_BOUNDING, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call("prctl", _DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)  # last: a change of user forgets it


def main() -> None:
    """Run the command; end with its exit code, or 128 and the signal that ended it."""
    place, who, *mounts = sys.argv[1 : sys.argv.index("--")]
    command = sys.argv[sys.argv.index("--") + 1 :]
    root, (user, group) = Path(place), map(int, who.split(":"))
    _call("unshare", _NEW_MOUNTS | _NEW_NAMES | _NEW_IPC | _NEW_PROCESSES)
    child = os.fork()
    if child:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(child, number))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.exit(code if code >= 0 else 128 - code)
    pairs = [each.split(":") for each in mounts]
    _furnish(root, [*_USUAL, *((Path(source), Path(target)) for source, target in pairs)])
    os.chroot(root)
    os.chdir("/tmp")  # noqa: S108 - the image's own
    _give_up_rights(user, group)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
