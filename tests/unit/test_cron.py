"""The dialect: what an expression means on a wall clock, and what is refused with which advice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from random import Random

import oracle
import pytest

from dispatcher.core.cron import Cron, DstRule, engine_version, parse
from dispatcher.core.instant import LAST, from_text, to_text
from dispatcher.core.walls import walls_of
from dispatcher.errors import InvalidCron

FIRST, END = date(2023, 1, 1), date(2029, 1, 31)


def fires(cron: Cron, after: str, count: int) -> list[str]:
    found: list[str] = []
    instant: int | None = from_text(after)
    while len(found) < count and instant is not None:
        instant = cron.next_ms(instant)
        if instant is not None:
            found.append(to_text(instant))
    return found


def days_of(text: str) -> list[date]:
    cron = parse(text)
    found: list[date] = []
    after = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp()) * 1000 - 1
    while (instant := cron.next_ms(after)) is not None:
        day = datetime.fromtimestamp(instant / 1000, UTC).date()
        if day > END:
            break
        found.append(day)
        after = instant
    return found


MEANINGS = [
    ("*/5 * * * *", ["00:00", "00:05", "00:10"]),
    ("7-59/20 * * * *", ["00:07", "00:27", "00:47"]),
    ("10/25 * * * *", ["00:10", "00:35", "01:10"]),
    ("59/15 * * * *", ["00:59", "01:59", "02:59"]),
    ("5-5 * * * *", ["00:05", "01:05", "02:05"]),
    ("0,30 4,2 * * *", ["02:00", "02:30", "04:00"]),
    ("00 05 * * *", ["05:00"]),
    ("*/30 59 23 * * *", ["23:59", "23:59:30"]),
    ("15 0 0 * * *", ["00:00:15"]),
    ("@hourly", ["00:00", "01:00", "02:00"]),
    ("@DAILY", ["00:00"]),
    (" 0\t6  * * * ", ["06:00"]),
    ("0 12 ? * ?", ["12:00"]),
    ("5,* 3 * * *", ["03:00", "03:01", "03:02"]),
]


@pytest.mark.parametrize(("text", "times"), MEANINGS, ids=[text for text, _ in MEANINGS])
def test_the_clock_fields_mean_what_the_dialect_says(text: str, times: list[str]) -> None:
    wanted = [f"2026-11-20T{time if len(time) > 5 else f'{time}:00'}Z" for time in times]
    assert fires(parse(text), "2026-11-19T23:59:59Z", len(times)) == wanted


DAY_TEXTS = [
    "0 0 * * 7",
    "0 0 * * 0",
    "0 0 * * 7-7",
    "0 0 * * 5-7",
    "0 0 * * 0-7",
    "0 0 * * 1-7/2",
    "0 0 * * MON-FRI",
    "0 0 * * mon-fri",
    "0 0 * * MON-MON",
    "0 0 * * 5-5",
    "0 0 * * 1/2",
    "0 0 * * SUN/3",
    "0 0 1-1 * *",
    "0 0 L * *",
    "0 0 L,15 * *",
    "0 0 1W * *",
    "0 0 15W * *",
    "0 0 31W * *",
    "0 0 1W,15W,31W * *",
    "0 0 30W 2 *",
    "0 0 * * L5",
    "0 0 * * LFRI",
    "0 0 * * L7,2#2",
    "0 0 * * 1#1",
    "0 0 * * MON#5",
    "0 0 * * 7#1",
    "0 0 * * 1,5#3",
    "0 0 8 * 5#3",
    "0 0 15 * L5",
    "0 0 15W * MON",
    "0 0 L * MON",
    "0 0 13 * 5",
    "0 0 */10 * 0-6",
    "0 0 1-31 * */7",
    "0 0 */1 * 1",
    "0 0 * JAN,jul 1",
    "0 0 29 2 *",
    "0 0 30 2 MON",
    "0 0 31 2,4,6,9,11 SUN",
    "0 0 31 * *",
    "0 0 1,8,15 */3 *",
    "@monthly",
    "@weekly",
    "@yearly",
    "@annually",
    "@midnight",
]


@pytest.mark.parametrize("text", DAY_TEXTS)
def test_the_day_fields_mean_what_the_oracle_says(text: str) -> None:
    found = days_of(text)
    assert found == oracle.days(text, FIRST, END)
    assert found


def test_random_day_fields_mean_what_the_oracle_says() -> None:
    random = oracle.seeded(7)
    for _ in range(80):
        days, weekdays = random_field(random, 1, 31, "dom"), random_field(random, 0, 6, "dow")
        text = f"0 0 {days} {random_field(random, 1, 12)} {weekdays}"
        try:
            assert days_of(text) == oracle.days(text, FIRST, END), text
        except InvalidCron as error:
            assert "never fires" in str(error), text  # noqa: PT017 - few are refused, and each must be right
            assert not oracle.days(text, FIRST, END), text


def random_field(random: Random, low: int, high: int, marks: str = "") -> str:
    if random.random() < 0.3:
        return "*"
    terms = []
    for _ in range(random.choice([1, 1, 2, 3])):
        first, second = sorted(random.randint(low, high) for _ in range(2))
        forms = [
            f"{first}",
            f"{first}-{second}",
            f"{first}/{random.randint(1, 12)}",
            f"*/{random.randint(2, 40)}",
        ]
        if marks == "dom":
            forms += ["L", f"{first}W"]
        if marks == "dow":
            forms += [f"L{first}", f"{second}#{random.randint(1, 5)}"]
        terms.append(random.choice(forms))
    return ",".join(terms)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("*/5 * * * *", 30 * 288),
        ("0 9 * * MON-FRI", 21),
        ("0 9 * * 7", 5),
        ("@daily", 30),
        ("0 9 13 * FRI", 4),
        ("0 9 14 * FRI", 5),
    ],
)
def test_what_the_original_job_dispatcher_never_fired_fires(text: str, count: int) -> None:
    assert parse(text).count(from_text("2026-10-31T23:59:59Z"), from_text("2026-11-30T23:59:59Z")) == count


def test_every_thirteenth_or_friday_fires_not_only_friday_the_thirteenth() -> None:
    wanted = ["2026-11-06T00:00:00Z", "2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"]
    assert fires(parse("0 0 13 * FRI"), "2026-11-01T00:00:00Z", 3) == wanted
    assert fires(parse("0 0 13 * FRI"), "2026-12-11T00:00:00Z", 1) == ["2026-12-13T00:00:00Z"]


def test_a_leap_day_on_a_weekday_is_found_over_forty_years() -> None:
    assert fires(parse("0 0 29 2 *"), "2096-03-01T00:00:00Z", 1) == ["2104-02-29T00:00:00Z"]
    for weekday in range(7):
        leap_days = (date(year, 2, 29) for year in (*range(2068, 2100, 4), *range(2104, 2140, 4)))
        wanted = next(day for day in leap_days if day.isoweekday() % 7 == weekday)
        assert fires(parse(f"0 0 * 2 {weekday}#5"), "2066-01-01T00:00:00Z", 1) == [f"{wanted}T00:00:00Z"]
    assert fires(parse("0 0 * 2 1#5"), "2072-03-01T00:00:00Z", 1) == ["2112-02-29T00:00:00Z"]


REFUSALS = [
    ("60 * * * *", "minute", "60", "60 is not in 0-59"),
    ("* 24 * * *", "hour", "24", "24 is not in 0-23"),
    ("0 0 0 * *", "day-of-month", "0", "0 is not in 1-31"),
    ("0 0 32W * *", "day-of-month", "32", "32 is not in 1-31"),
    ("0 0 * 13 *", "month", "13", "13 is not in 1-12"),
    ("0 0 * * 8", "day-of-week", "8", "8 is not in 0-7"),
    ("61 0 0 * * *", "second", "61", "61 is not in 0-59"),
    ("005 * * * *", "minute", "005", "at most two digits"),
    ("*/0 * * * *", "minute", "*/0", "from 1 to 999"),
    ("*/99999 * * * *", "minute", "*/99999", "from 1 to 999"),
    ("*/-5 * * * *", "minute", "*/-5", "not understood"),
    ("1-70 * * * *", "minute", "70", "70 is not in 0-59"),
    ("-5 * * * *", "minute", "-5", "not understood"),
    ("1,,2 * * * *", "minute", "", "a term is missing"),
    ("1.5 * * * *", "minute", "1.5", "not understood"),
    ("? * * * *", "minute", "?", "? stands alone in a day field"),
    ("0 0 ?,1 * *", "day-of-month", "?", "? stands alone in a day field"),
    ("* 22-2 * * *", "hour", "22-2", "write 22-23,0-2"),
    ("* 22-2/2 * * *", "hour", "22-2/2", "write 22,0,2"),
    ("59-0 * * * *", "minute", "59-0", "write 59,0"),
    ("0 0 * * FRI-MON", "day-of-week", "FRI-MON", "write FRI-SAT,SUN-MON"),
    ("0 0 * * FRI-SUN", "day-of-week", "FRI-SUN", "write FRI-SAT,SUN"),
    ("0 0 * * 5-1", "day-of-week", "5-1", "write 5-6,0-1"),
    ("0 0 * * 7-2", "day-of-week", "7-2", "write 0-2"),
    ("0 0 * NOV-FEB *", "month", "NOV-FEB", "write NOV-DEC,JAN-FEB"),
    ("0 0 25-5 * *", "day-of-month", "25-5", "write 25-31,1-5"),
    ("0 0 * * 7/2", "day-of-week", "7/2", "write 0/2"),
    ("0 0 W15 * *", "day-of-month", "W15", "write 15W"),
    ("0 0 LW * *", "day-of-month", "LW", "write 31W"),
    ("0 0 L-3 * *", "day-of-month", "L", "'L' is not a value"),
    ("0 0 * * 5L", "day-of-week", "5L", "write L5"),
    ("0 0 * * L", "day-of-week", "L", "L6 for the last Saturday"),
    ("0 0 * * 5#0", "day-of-week", "5#0", "1 to 5 after #"),
    ("0 0 * * 5#6", "day-of-week", "5#6", "1 to 5 after #"),
    ("0 0 * * MNO", "day-of-week", "MNO", "did you mean MON?"),
    ("0 0 * * WEDNESDAY", "day-of-week", "WEDNESDAY", "did you mean WED?"),
    ("0 0 * * LFRY", "day-of-week", "FRY", "did you mean FRI?"),
    ("0 0 * SETP *", "month", "SETP", "did you mean SEP?"),
    ("0 0 * JULY *", "month", "JULY", "did you mean JUL?"),
    ("H * * * *", "minute", "H", "needs the name of a job"),
    ("R * * * *", "minute", "R", "'R' is not a value"),
    ("R(0-10) * * * *", "minute", "R(0-10)", "not understood"),
    ("0 0 30 2 *", "day-of-month", "30", "there is no 30 February"),
    ("0 0 31 2,4,6,9,11 *", "day-of-month", "31", "no 31 February and April and June"),
    ("0 0 31/1 apr ?", "day-of-month", "31/1", "there is no 31 April"),
    ("0 0 1 1 * 2026 *", None, "0 0 1 1 * 2026 *", "a year field is not part of the dialect"),
    ("* * * *", None, "* * * *", "4 fields instead of 5 or 6"),
    ("", None, "", "0 fields"),
    ("@reboot", None, "@REBOOT", "'@reboot' is not a macro; use one of @yearly"),
    ("0 0 * * *\n", None, "0 0 * * *\n", "character 10 is '\\n'"),
    ("0 0\n* * *", None, "0 0\n* * *", "character 4 is '\\n'"),
    ("٣ * * * *", None, "٣ * * * *", "character 1 is '\\u0663'"),
    ("0\xa00 * * *", None, "0\xa00 * * *", "character 2 is '\\xa0'"),
    ("0 0 * * *\x00", None, "0 0 * * *\x00", "plain ASCII"),
    ("9" * 5000 + " * * * *", None, "9" * 40, "5008 characters are too many"),
    ("9" * 200 + " * * * *", "minute", "9" * 200, "at most two digits"),
    ("*/" + "9" * 200 + " * * * *", "minute", "*/" + "9" * 200, "is not a step"),
    ("0," * 125 + "0 * * * *", None, ("0," * 125)[:40], "259 characters"),
]


@pytest.mark.parametrize(
    ("text", "field", "value", "words"), REFUSALS, ids=[ascii(row[0])[:30] for row in REFUSALS]
)
def test_what_is_not_the_dialect_is_refused_with_advice(
    text: str, field: str | None, value: str, words: str
) -> None:
    with pytest.raises(InvalidCron) as refusal:
        parse(text)
    assert (refusal.value.field, refusal.value.value) == (field, value)
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("thing", [None, 5, b"* * * * *", ["*"]])
def test_what_is_no_text_is_refused(thing: object) -> None:
    with pytest.raises(InvalidCron, match="is a text, not"):
        parse(thing)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("europe/berlin", "did you mean Europe/Berlin"),
        ("Berlin", "did you mean Europe/Berlin"),
        ("America/New York", "did you mean America/New_York"),
        ("../../etc/passwd", "is not a time zone"),
        ("/etc/localtime", "is not a time zone"),
        ("Europe", "is not a time zone"),
        ("", "is not a time zone"),
        ("tzdata.zi", "is not a time zone"),
    ],
)
def test_an_unknown_zone_is_refused_with_a_near_name(key: str, words: str) -> None:
    with pytest.raises(InvalidCron) as refusal:
        parse("* * * * *", key)
    assert refusal.value.field == "timezone"
    assert refusal.value.value == key
    assert words in str(refusal.value)


def test_unknown_words_of_a_dst_rule_are_refused() -> None:
    with pytest.raises(ValueError, match="dst gap 'walk' is not known; write run or skip"):
        DstRule(gap="walk")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(ValueError, match="dst overlap 'thrice' is not known; write once or twice"):
        DstRule(overlap="thrice")  # type: ignore[arg-type]  # the point of the test


def test_a_naive_datetime_is_refused_and_any_zone_is_understood() -> None:
    cron = parse("0 12 * * *", "Europe/Berlin")
    with pytest.raises(ValueError, match="has no time zone; give an aware datetime"):
        cron.next_after(datetime(2026, 11, 20, 12))  # noqa: DTZ001 - the point of the test
    tokyo = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=9)))
    assert cron.next_after(tokyo) == datetime(2026, 11, 20, 11, tzinfo=UTC)
    found = cron.next_after(tokyo)
    assert found is not None
    assert found.tzinfo is UTC


def test_the_next_fire_is_strictly_later_to_the_millisecond() -> None:
    cron = parse("* * * * * *")
    assert [cron.next_ms(after) for after in (999, 1000, 1001)] == [1000, 2000, 2000]
    assert cron.next_after(datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)) == datetime(
        2026, 1, 1, 0, 0, 1, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "key", ["UTC", "Europe/Berlin", "America/Adak", "Pacific/Kiritimati", "Asia/Kolkata"]
)
@pytest.mark.parametrize("text", ["* * * * * *", "30 2 * * *", "0 0 29 2 1#5", "0 0 13 * 5"])
def test_the_ends_of_time_are_borne(text: str, key: str) -> None:
    cron = parse(text, key)
    for edge in (-86_400_000, -1, 0, LAST - 40 * 86_400_000, LAST - 999, LAST, LAST + 86_400_000):
        found = cron.next_ms(edge)
        assert found is None or edge < found <= LAST
    assert cron.next_ms(LAST) is None


def test_the_last_second_of_the_calendar_still_fires() -> None:
    assert parse("59 59 23 31 12 *").next_ms(LAST - 86_400_000) == LAST - 999


def test_h_is_the_same_in_every_process() -> None:
    code = (
        "from dispatcher.core.cron import parse\n"
        "print(parse('H H(2-5) H * H', hash_id='nightly').canonical, end='')"
    )
    here = parse("H H(2-5) H * H", hash_id="nightly").canonical
    for seed in ("1", "2"):
        other = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
        assert other.stdout == here


def test_h_is_what_the_documentation_says() -> None:
    for name in ("nightly", "b", "Zeitung ü"):
        minute = oracle.hashed(name, "minute", 0, 60)
        hour = oracle.hashed(name, "hour", 0, 24)
        day = oracle.hashed(name, "day-of-month", 1, 28)
        assert parse("H H H * *", hash_id=name) == parse(f"{minute} {hour} {day} * *")
        start = oracle.hashed(name, "minute", 0, 15)
        assert parse("H/15 * * * *", hash_id=name) == parse(f"{start}-59/15 * * * *")
        night = oracle.hashed(name, "hour", 2, 4)
        assert parse("0 H(2-5) * * *", hash_id=name) == parse(f"0 {night} * * *")
        assert parse("H 0 0 * * h", hash_id=name) == parse(
            f"{oracle.hashed(name, 'second', 0, 60)} 0 0 * * {oracle.hashed(name, 'day-of-week', 0, 7)}"
        )


def test_h_spreads_jobs_over_every_minute_of_the_day() -> None:
    texts = Counter(parse("H H * * *", hash_id=f"job-{number}").canonical for number in range(12_000))
    assert len(texts) > 1430
    assert max(texts.values()) < 30


def test_equal_meanings_are_equal_and_different_ones_are_not() -> None:
    assert parse("0 9 * * mon-fri") == parse("00 9-9  * * 1,2,3,4,5")
    assert parse("@daily") == parse("0 0 0 * * *")
    assert hash(parse("@daily")) == hash(parse("0 0 * * *"))
    assert parse("0-59/5 * * * *") == parse("*/5 * * * *", dst=DstRule("skip"))
    assert parse("0 0-23/2 * * *") != parse("0 */2 * * *"), "one is fixed, the other elapsed"
    assert parse("0 9 * * *", "Europe/Berlin") != parse("0 9 * * *", "Europe/Paris")
    assert parse("0 9 * * *", dst=DstRule("skip")) != parse("0 9 * * *")


def test_threads_may_share_a_cron() -> None:
    cron = parse("*/7 3 1,15 * MON#2")
    starts = range(0, 4_000_000_000_000, 10**10)
    alone = [cron.next_ms(start) for start in starts]
    found: list[list[int | None]] = []
    threads = [
        threading.Thread(target=lambda: found.append([cron.next_ms(start) for start in starts]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4


def test_crons_of_different_zones_share_one_engine() -> None:
    assert parse("17 4 * * *", "Europe/Berlin")._walls[0] is parse("17 4 * * *", "Asia/Tokyo")._walls[0]
    assert walls_of("17 4 * * *") is parse("17 4 * * *")._walls[0]


FORWARD = "clocks go forward 02:00 to 03:00"
EXPLANATIONS = [
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-29T01:00:00Z",
        "clocks go forward 02:00 to 03:00: 02:30 is not shown",
    ),
    (
        "15,30 2 * * *",
        "Europe/Berlin",
        "2026-03-29T01:00:00Z",
        "clocks go forward 02:00 to 03:00: 02:15 and others are not shown",
    ),
    ("0 3 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", None),
    ("0 * * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", None),
    ("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", None),
    ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "02:30 is shown twice, this is the first"),
    ("*/30 * * * *", "Europe/Berlin", "2026-10-25T01:30:00Z", "02:30 is shown twice, this is the second"),
    ("30 2 * * *", "Europe/Berlin", "2026-06-01T00:30:00Z", None),
    (
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-30T10:00:00Z",
        "clocks go forward 2011-12-30 00:00 to 2011-12-31 00:00: 2011-12-30 12:00 is not shown",
    ),
]


@pytest.mark.parametrize(("text", "key", "instant", "note"), EXPLANATIONS)
def test_a_fire_that_clocks_disturbed_is_explained(
    text: str, key: str, instant: str, note: str | None
) -> None:
    assert parse(text, key).explain(from_text(instant)) == note


def test_the_engine_is_named_with_its_version() -> None:
    assert engine_version().split(".")[0].isdigit()
