"""Cron through changes of clocks, compared with the oracle that looks at every clock reading."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from itertools import product
from typing import get_args

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.cron import DEBIAN, Cron, DstRule, Gap, Overlap, parse
from dispatcher.errors import InvalidCron

YEARS = {
    "Europe/Berlin": (2026, 2026),
    "Europe/London": (2025, 2026),
    "Europe/Dublin": (2026, 2026),
    "Europe/Lisbon": (1992, 1993),
    "Europe/Moscow": (2010, 2014),
    "Europe/Istanbul": (2015, 2016),
    "Europe/Chisinau": (2026, 2026),
    "Atlantic/Azores": (2026, 2026),
    "America/New_York": (2026, 2027),
    "America/Los_Angeles": (2100, 2100),
    "America/St_Johns": (2008, 2012),
    "America/Halifax": (2026, 2026),
    "America/Havana": (2026, 2026),
    "America/Sao_Paulo": (2017, 2019),
    "America/Caracas": (2007, 2016),
    "America/Santiago": (2026, 2026),
    "America/Asuncion": (2023, 2024),
    "America/Nuuk": (2022, 2024),
    "America/Scoresbysund": (2023, 2024),
    "America/Vancouver": (2025, 2026),
    "America/Adak": (2026, 2026),
    "America/Noronha": (2000, 2000),
    "Antarctica/Troll": (2026, 2026),
    "Antarctica/Vostok": (1994, 1994),
    "Antarctica/Casey": (2009, 2023),
    "Africa/Casablanca": (2025, 2026),
    "Africa/Cairo": (2024, 2026),
    "Africa/Tripoli": (2012, 2013),
    "Africa/Juba": (2021, 2021),
    "Africa/Monrovia": (1972, 1972),
    "Africa/Windhoek": (2016, 2017),
    "Asia/Beirut": (2023, 2026),
    "Asia/Gaza": (2026, 2026),
    "Asia/Jerusalem": (2026, 2026),
    "Asia/Tehran": (2022, 2022),
    "Asia/Amman": (2021, 2022),
    "Asia/Pyongyang": (2015, 2018),
    "Asia/Kathmandu": (1985, 1986),
    "Asia/Kolkata": (2026, 2026),
    "Asia/Singapore": (1981, 1982),
    "Asia/Dhaka": (2009, 2009),
    "Australia/Lord_Howe": (2026, 2026),
    "Australia/Sydney": (2026, 2026),
    "Australia/Eucla": (2008, 2009),
    "Pacific/Apia": (2011, 2012),
    "Pacific/Fakaofo": (2011, 2011),
    "Pacific/Kwajalein": (1993, 1993),
    "Pacific/Chatham": (2026, 2026),
    "Pacific/Auckland": (2026, 2026),
    "Pacific/Norfolk": (2015, 2020),
    "Pacific/Easter": (2026, 2026),
    "Pacific/Bougainville": (2014, 2014),
    "UTC": (2026, 2026),
}
RULES = [DstRule(gap, overlap) for gap, overlap in product(get_args(Gap), get_args(Overlap))]
DAY = 86_400


@cache
def changes(key: str) -> list[int]:
    """The zone's changes in its years, or some quiet day where it has none."""
    return oracle.changes(key, *YEARS[key]) or [1_790_000_000]


def around(change: int, reach: int) -> tuple[int, int]:
    begin = (change - reach) // 60 * 60
    return begin, begin + 2 * reach


@st.composite
def fields(draw: st.DrawFn, low: int, high: int, likely: list[int], names: tuple[str, ...] = ()) -> str:
    """One field: stars, values, ranges, steps and lists, drawn towards values that the clock shows nearby."""

    def spelled(value: int) -> str:
        return draw(st.sampled_from([str(value), names[value - low]])) if names else str(value)

    value = st.one_of(st.sampled_from(likely), st.integers(low, high))
    terms = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        first, second = sorted((draw(value), draw(value)))
        step = draw(st.sampled_from([1, 2, 3, 5, 7, 10, 15, 20, 30, 99]))
        forms = [spelled(first), f"{spelled(first)}-{spelled(second)}", f"{first}/{step}", f"*/{step}", "*"]
        terms.append(draw(st.sampled_from([*forms, f"{spelled(first)}-{spelled(second)}/{step}"])))
    return ",".join(terms)


@st.composite
def day_fields(draw: st.DrawFn, change: int, key: str) -> str:
    today = oracle.shown(key, change)
    month_days = sorted({oracle.shown(key, change + shift * DAY).day for shift in (-1, 0, 1)})
    weekday = today.isoweekday() % 7
    marks = [f"{today.day}W", "L", "31W", "1W"]
    month_day = draw(st.one_of(st.sampled_from(["*", "*", "*", "?", *marks]), fields(1, 31, month_days)))
    month = draw(
        st.one_of(st.sampled_from(["*", "*", "*"]), fields(1, 12, [today.month], tuple(oracle.MONTHS)))
    )
    nth = f"{weekday}#{(today.day + 6) // 7}"
    week = ["*", "*", "*", "?", nth, f"L{weekday}", f"{oracle.WEEKDAYS[weekday]}#{(today.day + 6) // 7},1-2"]
    week_day = draw(st.one_of(st.sampled_from(week), fields(0, 6, [weekday], tuple(oracle.WEEKDAYS))))
    return f"{month_day} {month} {week_day}"


@st.composite
def clock_fields(draw: st.DrawFn, change: int, key: str, *, seconds: bool) -> str:
    walls = [oracle.shown(key, change + shift) for shift in (-3600, -1800, -60, -1, 0, 1800, 3600, 7200)]
    skipped = oracle.shown(key, change - 1).hour + 1
    hours = sorted({wall.hour for wall in walls} | {skipped % 24})
    clock = [
        draw(fields(0, 59, sorted({wall.minute for wall in walls} | {0, 30}))),
        draw(fields(0, 23, hours)),
    ]
    return " ".join([draw(fields(0, 59, [0, 29, 30, 59])), *clock] if seconds else clock)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, int]:
    key = draw(st.sampled_from(sorted(YEARS)))
    change = draw(st.sampled_from(changes(key)))
    odd = any(oracle.offset(key, change + shift) % 60 for shift in (-1, 0))
    seconds = odd or draw(st.sampled_from([False, False, False, True]))
    text = f"{draw(clock_fields(change, key, seconds=seconds))} {draw(day_fields(change, key))}"
    return text, key, change


def compare(cron: Cron, expected: list[int], starts: list[int], end: int, follow: int) -> None:
    """From each start, the next few fires are those expected; beyond the window anything goes."""
    for start in starts:
        after = start
        for _ in range(follow):
            found = cron.next_ms(after * 1000)
            wanted = oracle.next_of(expected, after)
            if wanted is None:
                assert found is None or found >= end * 1000, (start, after)
                break
            assert found == wanted * 1000, (start, after)
            after = wanted


def starts_near(change: int, begin: int, end: int) -> list[int]:
    near = [
        change + shift for shift in (-7200, -3600, -1800, -61, -1, 0, 1, 59, 1799, 3599, 3600, 5400, 7200)
    ]
    random = oracle.seeded(change)
    starts = [begin - 1, *near, *(random.randrange(begin, end) for _ in range(3))]
    return [start for start in starts if start >= begin - 1]


def check(text: str, key: str, change: int, rules: list[DstRule]) -> None:
    begin, end = around(change, 8400 if len(text.split()) == 6 else DAY)
    for rule in rules:
        expected = oracle.fires(text, key, begin, end, gap=rule.gap, overlap=rule.overlap)
        try:
            cron = parse(text, key, rule)
        except InvalidCron as error:
            assert "never fires" in str(error)  # noqa: PT017 - few cases are refused, and each must be right
            assert not expected
            continue
        starts = starts_near(change, begin, end)
        compare(cron, expected, starts, end, 3)
        for start in starts[::3]:
            wanted = sum(start < fire < end for fire in expected)
            assert cron.count(start * 1000, (end - 1) * 1000) == wanted, start


@settings(derandomize=True, deadline=None, max_examples=500, database=None)
@given(cases(), st.sampled_from(RULES))
def test_fires_near_a_change_of_clocks_are_the_oracles(case: tuple[str, str, int], rule: DstRule) -> None:
    check(*case, [rule])


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(derandomize=True, deadline=None, max_examples=20_000, database=None)
@given(cases())
def test_very_many_fires_near_a_change_of_clocks_are_the_oracles(case: tuple[str, str, int]) -> None:
    check(*case, RULES)


@pytest.mark.parametrize("key", sorted(YEARS))
def test_common_expressions_are_right_at_every_change_of_a_zone(key: str) -> None:
    for change in changes(key)[:6]:
        begin, end = around(change, 2 * DAY)
        for text in ("30 2 * * *", "0 0 * * *", "*/30 * * * *", "15 1,2,3 * * *", "@hourly"):
            if oracle.offset(key, begin) % 60:
                continue
            expected = oracle.fires(text, key, begin, end)
            compare(parse(text, key), expected, [begin - 1], end, len(expected))


@pytest.mark.parametrize(
    ("text", "key", "rule", "day", "fires"),
    [
        ("30 2 * * *", "Europe/Berlin", DEBIAN, "2026-03-29", ["01:00"]),
        ("30 2 * * *", "Europe/Berlin", DstRule("skip", "once"), "2026-03-29", []),
        ("30 2 * * *", "Europe/Berlin", DEBIAN, "2026-10-25", ["00:30"]),
        ("30 2 * * *", "Europe/Berlin", DstRule("run", "twice"), "2026-10-25", ["00:30", "01:30"]),
        ("15,30 2 * * *", "Europe/Berlin", DEBIAN, "2026-03-29", ["01:00"]),
        ("15 2,3 * * *", "Europe/Berlin", DEBIAN, "2026-03-29", ["01:00", "01:15"]),
        ("0 2,3 * * *", "Europe/Berlin", DEBIAN, "2026-03-29", ["01:00"]),
        ("*/30 2 * * *", "Europe/Berlin", DEBIAN, "2026-03-29", []),
        ("*/30 2 * * *", "Europe/Berlin", DEBIAN, "2026-10-25", ["00:00", "00:30", "01:00", "01:30"]),
        ("0 */2 * * *", "America/New_York", DEBIAN, "2026-03-08", [f"{hour:02}:00" for hour in [1, 3, 5]]),
        ("10 0 * * *", "America/St_Johns", DEBIAN, "2010-03-14", ["03:31"]),
        ("30 23 * * *", "America/St_Johns", DEBIAN, "2010-11-07", ["02:00"]),
        ("15 2 * * *", "Australia/Lord_Howe", DEBIAN, "2026-10-03", ["15:30"]),
        ("45 1 * * *", "Australia/Lord_Howe", DEBIAN, "2026-04-04", ["14:45"]),
        ("0 2 * * *", "Antarctica/Troll", DEBIAN, "2026-03-29", ["01:00"]),
        ("0 12 * * *", "Pacific/Apia", DEBIAN, "2011-12-30", ["10:00", "22:00"]),
        ("30 0 * * *", "Asia/Beirut", DEBIAN, "2026-03-28", ["22:00"]),
    ],
)
def test_documented_examples_of_the_rule_hold(
    text: str, key: str, rule: DstRule, day: str, fires: list[str]
) -> None:
    found = fires_of_day(parse(text, key, rule), day)
    assert found[: len(fires)] == fires
    if text != "0 */2 * * *":
        assert len(found) == len(fires)


def fires_of_day(cron: Cron, day: str) -> list[str]:
    begin = int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp())
    found, after = [], begin * 1000 - 1
    while (fire := cron.next_ms(after)) is not None and fire < (begin + DAY) * 1000:
        found.append(oracle.shown("UTC", fire // 1000).strftime("%H:%M"))
        after = fire
    return found


def test_a_jump_is_never_walked_match_by_match() -> None:
    cron = parse("* * * * * *", "Pacific/Apia")
    jump = 1_325_239_200
    asked: list[int] = []
    search = cron._walls[0].after

    class Counting:
        def after(self, wall: int) -> int | None:
            asked.append(wall)
            return search(wall)

    cron._walls = (Counting(),)  # type: ignore[assignment]  # counts the questions only
    assert cron.next_ms((jump - 1) * 1000) == jump * 1000
    assert len(asked) <= 2
