"""Zones: every change of clocks in the packaged data is in the tables, and nothing else."""

from __future__ import annotations

import struct
import zoneinfo
from importlib.resources import files

import oracle
import pytest

from dispatcher.core.instant import from_text
from dispatcher.core.zone import load_zone, tzdata_version, zone_keys
from dispatcher.errors import InvalidCron

HORIZON = 2_145_916_800  # 2038


def written_changes(key: str) -> list[tuple[int, int, int]]:
    """The changes of offset that the zone's file lists between 1970 and 2038 (RFC 9636)."""
    data = files("tzdata").joinpath("zoneinfo").joinpath(*key.split("/")).read_bytes()
    counts = struct.unpack(">6l", data[20:44])
    place = 44 + counts[3] * 5 + counts[4] * 6 + counts[5] + counts[2] * 8 + counts[1] + counts[0]
    _, _, _, times, types, _ = struct.unpack(">6l", data[place + 20 : place + 44])
    place += 44
    instants = struct.unpack(f">{times}q", data[place : place + 8 * times])
    kinds = data[place + 8 * times : place + 9 * times]
    offsets = [offset for offset, _, _ in struct.iter_unpack(">lbb", data[place + 9 * times :][: 6 * types])]
    found = []
    before = offsets[0]
    for at, kind in zip(instants, kinds, strict=True):
        if offsets[kind] != before and 0 < at < HORIZON:
            found.append((at, before, offsets[kind]))
        before = offsets[kind]
    return found


def table_changes(key: str, end: int) -> list[tuple[int, int, int]]:
    zone = load_zone(key)
    found = []
    at = 0
    while at < end:
        change = zone.around(at)[1]
        if change.before != change.after and change.at < end:
            found.append((change.at, change.before, change.after))
        at = change.at
    return found


@pytest.mark.parametrize("first", ["A", "B-D", "E", "F-O", "P-Z"])
def test_tables_hold_every_change_that_the_data_lists(first: str) -> None:
    low, _, high = first.partition("-")
    keys = [key for key in sorted(zone_keys()) if low <= key[0] <= (high or low)]
    for key in keys:
        written = written_changes(key)
        end = written[-1][0] + 1 if written else 0
        assert table_changes(key, end) == written, key


@pytest.mark.parametrize("key", ["Europe/Berlin", "Africa/Casablanca", "Asia/Gaza", "America/St_Johns"])
def test_far_changes_follow_the_rule_of_the_data(key: str) -> None:
    found = [at for at, _, _ in table_changes(key, 4_133_980_800) if at >= 4_070_908_800]
    assert found == oracle.changes(key, 2099, 2100)


def test_offsets_are_right_at_random_instants_of_all_centuries() -> None:
    random = oracle.seeded(11)
    for _ in range(400):
        key = random.choice(sorted(zone_keys()))
        at = random.choice([random.randrange(0, HORIZON), random.randrange(0, 250_000_000_000)])
        last, change = load_zone(key).around(at)
        assert last.at <= at < change.at
        assert last.after == oracle.offset(key, at), (key, at)


@pytest.mark.parametrize(
    ("key", "instant", "wall", "showing", "jumped"),
    [
        ("Europe/Berlin", "2026-10-24T23:59:59.999Z", "2026-10-25T01:59:59+02:00", "only", False),
        ("Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00+02:00", "first", False),
        ("Europe/Berlin", "2026-10-25T00:59:59Z", "2026-10-25T02:59:59+02:00", "first", False),
        ("Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00+01:00", "second", False),
        ("Europe/Berlin", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00+01:00", "only", False),
        ("Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T01:59:59+01:00", "only", False),
        ("Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00", "only", True),
        ("Europe/Berlin", "2026-03-29T01:00:01Z", "2026-03-29T03:00:01+02:00", "only", False),
        ("Australia/Lord_Howe", "2026-04-04T14:45:00Z", "2026-04-05T01:45:00+11:00", "first", False),
        ("UTC", "2026-04-04T14:45:00Z", "2026-04-04T14:45:00+00:00", "only", False),
    ],
)
def test_an_instant_is_shown_with_its_place_in_a_change(
    key: str,
    instant: str,
    wall: str,
    showing: str,
    jumped: bool,  # noqa: FBT001 - a column of the table
) -> None:
    local = load_zone(key).local(from_text(instant))
    assert (local.wall.isoformat(), local.showing, local.jump is not None) == (wall, showing, jumped)


def test_the_host_has_no_say_in_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "ZoneInfo", None)
    assert load_zone("Antarctica/Macquarie").around(1_790_000_000)[0].after == 36_000


def test_every_listed_zone_loads_and_unlisted_names_never_do() -> None:
    assert {"UTC", "Europe/Berlin", "US/Eastern", "Etc/GMT+5"} <= zone_keys()
    for key in zone_keys():
        assert load_zone(key).key == key
    for key in (
        "../zones",
        "Europe/../Europe/Berlin",
        "europe/Berlin",
        "posixrules",
        "__init__.py",
        "Europe/Berlin\0",
    ):
        with pytest.raises(InvalidCron, match="is not a time zone"):
            load_zone(key)


def test_a_zone_is_loaded_once() -> None:
    assert load_zone("Asia/Tokyo") is load_zone("Asia/Tokyo")


def test_the_version_of_the_data_is_told() -> None:
    assert int(tzdata_version().split(".")[0]) >= 2025
