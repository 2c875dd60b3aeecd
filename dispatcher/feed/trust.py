"""Whether others may change the schedule: whoever can write it decides what workers run.

Every name on the way to the file is looked at, through its links, and every directory above: a name may be
given another file by the owner of its directory and by whoever may write there, and a link by its owner.
Trusted are root, this process's own user, and nobody else. What is fine all the same:

- a directory with the sticky bit, as /tmp has it: only the owner of a name may give it away;
- a group that is the owner's own: of the same name, with nobody else in it;
- a directory that is a mount of its own and read-only here: so ConfigMaps and secrets are mounted, with
  mode 0777, and who mounts is trusted as it is.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from dispatcher.feed.watcher import places_of


class Trust(StrEnum):
    """What becomes of a schedule that others may change."""

    REFUSE = "refuse"
    WARN = "warn"
    OFF = "off"


def distrust(path: str) -> str | None:
    """Return the sentence about who else may change what the path shows; None when nobody may.

    What is not there, or may not be looked at, is left to whoever opens the file.
    """
    try:
        return next(_doubts(path), None)
    except OSError:
        return None


def _doubts(path: str) -> Iterator[str]:
    places = {Path(directory): names for directory, names in places_of(path).items()}
    for directory, names in places.items():
        for name in sorted(names):
            yield from _of_entry(directory / name)
    for directory in dict.fromkeys(above for each in places for above in (each, *each.parents)):
        yield from _of_directory(directory)


def _of_entry(entry: Path) -> Iterator[str]:
    facts = entry.lstat()
    what = "link" if stat.S_ISLNK(facts.st_mode) else "file"
    if not _is_trusted(facts.st_uid):
        yield _sentence(
            f"the {what} {entry} belongs to {_user(facts.st_uid)}", f"chown it to {_user(os.geteuid())}"
        )
    if what == "file" and (who := _writers(facts)):
        yield _sentence(f"the file {entry} may be written by {who}", f"chmod {who[0]}-w it")


def _of_directory(directory: Path) -> Iterator[str]:
    facts = directory.stat()
    if os.statvfs(directory).f_flag & os.ST_RDONLY and directory.is_mount():
        return
    if not _is_trusted(facts.st_uid):
        yield _sentence(
            f"the directory {directory} belongs to {_user(facts.st_uid)}",
            f"chown it to {_user(os.geteuid())}",
        )
    if not facts.st_mode & stat.S_ISVTX and (who := _writers(facts)):
        yield _sentence(f"the directory {directory} may be written by {who}", f"chmod {who[0]}-w it")


def _sentence(what: str, mend: str) -> str:
    return (
        f"{what}: whoever may change the schedule decides what is run; {mend}, or let it pass"
        " with the setting schedule_trust"
    )


def _is_trusted(user: int) -> bool:
    return user in {0, os.geteuid()}


def _writers(facts: os.stat_result) -> str:
    """Return who else may write: `others`, or `group` and its name; nothing when nobody may."""
    if facts.st_mode & stat.S_IWOTH:
        return "others"
    if facts.st_mode & stat.S_IWGRP and not _is_own(facts.st_gid, facts.st_uid):
        return f"group {_group(facts.st_gid)}"
    return ""


def _is_own(group: int, user: int) -> bool:
    """Return whether a group is a user's alone, as systems make one for each user."""
    try:
        found, owner = grp.getgrgid(group), pwd.getpwuid(user)
    except KeyError:
        return False
    return owner.pw_gid == group and found.gr_name == owner.pw_name and set(found.gr_mem) <= {owner.pw_name}


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
