"""Who else may change the schedule: modes and owners of the file, its links and its directories."""

from __future__ import annotations

import grp
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from dispatcher.clock import SystemClock
from dispatcher.feed import sight
from dispatcher.feed.sight import Lookout
from dispatcher.feed.trust import Trust, distrust

STRANGER, GROUP = 54_321, 54_322
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def schedule(tmp_path: Path) -> Path:
    """A schedule in a directory of its own, both as they should be."""
    directory = tmp_path / "schedule"
    directory.mkdir(mode=0o755)
    file = directory / "schedule.json"
    file.write_text('{"jobs": []}')
    file.chmod(0o644)
    return file


@pytest.mark.parametrize("mode", [0o400, 0o444, 0o600, 0o640, 0o644, 0o755])
def test_a_file_that_its_owner_alone_may_write_is_trusted(schedule: Path, mode: int) -> None:
    schedule.chmod(mode)
    assert distrust(str(schedule)) is None


@pytest.mark.parametrize("mode", [0o666, 0o777, 0o602, 0o646])
def test_a_file_that_everybody_may_write_is_not(schedule: Path, mode: int) -> None:
    schedule.chmod(mode)
    assert f"the file {schedule} may be written by others" in str(distrust(str(schedule)))
    assert "schedule_trust" in str(distrust(str(schedule)))


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o703])
def test_a_directory_that_everybody_may_write_is_not(schedule: Path, mode: int) -> None:
    schedule.parent.chmod(mode)
    assert f"the directory {schedule.parent} may be written by others" in str(distrust(str(schedule)))


def test_a_directory_above_counts_as_much(schedule: Path) -> None:
    schedule.parent.parent.chmod(0o777)
    assert f"the directory {schedule.parent.parent} may be" in str(distrust(str(schedule)))


def test_a_sticky_directory_gives_no_name_away(schedule: Path) -> None:
    schedule.parent.chmod(0o1777)
    assert distrust(str(schedule)) is None


@needs_root
def test_a_group_with_others_in_it_is_not_trusted_and_a_users_own_is(schedule: Path) -> None:
    schedule.chmod(0o664)
    assert distrust(str(schedule)) is None, "root's group is root's alone"
    os.chown(schedule, 0, GROUP)
    assert f"may be written by group {GROUP}; chmod g-w it" in str(distrust(str(schedule))).replace(
        ": whoever may change the schedule decides what is run", ""
    )
    schedule.chmod(0o644)
    assert distrust(str(schedule)) is None


@needs_root
def test_a_users_own_group_is_trusted_as_long_as_nobody_else_is_in_it(
    schedule: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule.chmod(0o664)
    own = grp.getgrgid(0)
    for members, trusted in (
        ([], True),
        (["root"], True),
        (["mallory"], False),
        (["root", "mallory"], False),
    ):
        found = grp.struct_group((own.gr_name, "x", 0, members))
        monkeypatch.setattr(grp, "getgrgid", lambda _, found=found: found)
        assert (distrust(str(schedule)) is None) == trusted


@needs_root
def test_a_strangers_file_link_or_directory_is_not_trusted(schedule: Path) -> None:
    link = schedule.parent / "link.json"
    link.symlink_to(schedule.name)
    assert distrust(str(link)) is None
    os.chown(link, STRANGER, -1, follow_symlinks=False)
    assert f"the link {link} belongs to user {STRANGER}" in str(distrust(str(link)))
    os.chown(schedule, STRANGER, -1)
    assert f"the file {schedule} belongs to user {STRANGER}" in str(distrust(str(schedule)))
    os.chown(schedule, 0, -1)
    os.chown(schedule.parent, STRANGER, -1)
    assert f"the directory {schedule.parent} belongs to user {STRANGER}" in str(distrust(str(schedule)))


@needs_root
def test_roots_file_is_trusted_by_whoever_reads_it(schedule: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65_532)
    assert distrust(str(schedule)) is None


def test_where_a_link_leads_is_looked_at_too(schedule: Path, tmp_path: Path) -> None:
    """A ConfigMap's way: schedule.json → ..data/schedule.json, ..data → a directory with a date."""
    volume = tmp_path / "volume"
    (volume / "..2026").mkdir(parents=True)
    real = volume / "..2026" / "schedule.json"
    real.write_bytes(schedule.read_bytes())
    (volume / "..data").symlink_to("..2026")
    shown = volume / "schedule.json"
    shown.symlink_to("..data/schedule.json")
    assert distrust(str(shown)) is None
    real.chmod(0o666)
    assert f"the file {real} may be written by others" in str(distrust(str(shown)))
    real.chmod(0o644)
    real.parent.chmod(0o777)
    assert f"the directory {real.parent} may be written by others" in str(distrust(str(shown)))


def test_a_mount_of_its_own_that_is_read_only_is_trusted_as_who_mounted_it(
    schedule: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So Kubernetes mounts ConfigMaps: mode 0777, read-only, a mount of its own."""
    mount = schedule.parent
    mount.chmod(0o777)
    real = os.statvfs
    changes = {"flag": os.ST_RDONLY, "mount": True}

    class Facts:
        def __init__(self, path: Path) -> None:
            self.f_flag = changes["flag"] if path == mount else real(path).f_flag

    monkeypatch.setattr(os, "statvfs", Facts)
    monkeypatch.setattr(Path, "is_mount", lambda path: changes["mount"] and path == mount)
    assert distrust(str(schedule)) is None
    changes["mount"] = False
    assert distrust(str(schedule)) is not None
    changes.update(mount=True, flag=0)
    assert distrust(str(schedule)) is not None


def test_what_is_not_there_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    assert distrust(str(tmp_path / "absent.json")) is None


def test_a_file_that_others_may_change_counts_as_unreadable_until_it_is_mended(schedule: Path) -> None:
    lookout = Lookout(str(schedule), 1_000, SystemClock(), Trust.REFUSE)
    good = lookout.look(settle_ms=0)
    schedule.chmod(0o666)
    bad = lookout.look(settle_ms=0)
    assert (bad.revision, good.error) == ("", "")
    assert "may be written by others" in bad.error
    schedule.chmod(0o644)
    assert lookout.look(settle_ms=0).revision == good.revision


def test_it_is_let_pass_with_a_warning_or_without(schedule: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule.chmod(0o666)
    told: list[str] = []
    monkeypatch.setattr(sight, "_log", Mock(warning=lambda event, **_: told.append(event)))
    warned = Lookout(str(schedule), 1_000, SystemClock(), Trust.WARN)
    assert warned.look(settle_ms=0).revision
    assert warned.look(settle_ms=0).revision
    assert told == ["schedule.untrusted"]
    assert Lookout(str(schedule), 1_000, SystemClock(), Trust.OFF).look(settle_ms=0).revision
    assert told == ["schedule.untrusted"]
