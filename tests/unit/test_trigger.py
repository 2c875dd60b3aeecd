"""Triggers: windows, periods, single instants, their digests, and reading them from an entry."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.core.duration import LONGEST_MS
from dispatcher.core.instant import from_text
from dispatcher.core.trigger import At, Every, Trigger, parse_every, trigger_from_entry
from dispatcher.errors import InvalidCron

NOON = from_text("2026-11-20T12:00:00Z")
HOUR = 3_600_000
DAY = 24 * HOUR


def trigger(**entry: Any) -> Trigger:
    return trigger_from_entry(entry, hash_id="nightly")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("30s", 30),
        ("90 seconds", 90),
        ("1 second", 1),
        ("5m", 300),
        ("2 minutes", 120),
        ("2h", 7200),
        ("1 hour", 3600),
        ("1d", 86_400),
        ("1 day", 86_400),
        ("1h 30m", 5400),
        ("1h30m15s", 5415),
        ("1 Day 2 Hours", 93_600),
        ("  10 min ", 600),
        ("PT30S", 30),
        ("PT1H30M", 5400),
        ("P1D", 86_400),
        ("P1DT12H", 129_600),
        ("P2W", 1_209_600),
        ("p1w", 604_800),
        ("366d", 31_622_400),
    ],
)
def test_periods_are_read(text: str, seconds: int) -> None:
    assert parse_every(text) == seconds * 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a period; write e.g. 30s"),
        ("30", "is not a period"),
        ("s", "is not a period"),
        ("-5m", "is not a period"),
        ("30m 1h", "is not a period"),
        ("5 parsecs", "is not a period"),
        ("P", "is not a period"),
        ("PT", "is not a period"),
        ("P1DT", "is not a period"),
        ("PT1H2W", "is not a period"),
        ("1" * 5000 + "s", "is not a period"),
        ("٣s", "is not a period"),
        ("0s", "is no time at all"),
        ("PT0S", "is no time at all"),
        ("500ms", "not a whole number of seconds"),
        ("1.5h", "not a whole number of seconds"),
        ("PT0.5S", "not a whole number of seconds"),
        ("P1M", "counts months or years"),
        ("P1Y", "counts months or years"),
        ("P1Y2M3DT4H", "counts months or years"),
        ("1 month", "counts months or years"),
        ("2 years", "counts months or years"),
        ("367d", "is longer than 366 days"),
        ("99999999999999999999s", "is longer than 366 days"),
    ],
)
def test_what_is_no_period_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        parse_every(text)
    assert len(str(refusal.value)) < 200


def test_the_longest_period_is_a_leap_year() -> None:
    assert parse_every("366 days") == LONGEST_MS


def test_every_counts_from_the_epoch_or_from_its_start() -> None:
    assert trigger(every="7h").next_after(NOON) == (NOON // (7 * HOUR) + 1) * 7 * HOUR
    started = trigger(every="7h", startAt="2026-11-20T12:00:00.250Z")
    assert started.next_after(0) == NOON + 250
    assert started.next_after(NOON + 250) == NOON + 250 + 7 * HOUR
    assert Every(1000, 0).next_ms(-1) == 0
    assert Every(1000, 500).next_ms(-3_000_000) == -2_999_500


def test_at_fires_once() -> None:
    once = trigger(at="2026-11-20T13:00:00+01:00")
    assert once.timing == At(NOON)
    assert once.next_after(NOON - 1) == NOON
    assert once.next_after(NOON) is None


def test_the_window_includes_its_start_and_excludes_its_end() -> None:
    windowed = trigger(cronTime="0 * * * *", startAt="2026-11-20T12:00:00Z", endAt="2026-11-20T14:00:00Z")
    assert windowed.next_after(0) == NOON
    assert windowed.next_after(NOON) == NOON + HOUR
    assert windowed.next_after(NOON + HOUR) is None
    assert windowed.count_between(0, NOON + DAY) == 2
    assert windowed.latest_in(0, NOON + DAY) == NOON + HOUR


def test_a_disabled_trigger_never_fires() -> None:
    disabled = trigger(cronTime="* * * * *", enabled=False)
    assert disabled.next_after(NOON) is None
    assert disabled.count_between(NOON, NOON + DAY) == 0
    assert disabled.latest_in(NOON, NOON + DAY) is None


def test_the_last_answer_is_remembered_and_never_wrong() -> None:
    shared = trigger(cronTime="*/10 * * * *")
    asked = [NOON, NOON + 1, NOON + 599_999, NOON + 600_000, NOON - 1, NOON, NOON + DAY, NOON - DAY, NOON + 5]
    for after in asked:
        assert (
            shared.next_after(after)
            == trigger(cronTime="*/10 * * * *").next_after(after)
            == (after // 600_000 + 1) * 600_000
        )


def test_one_computation_serves_all_jobs_of_a_trigger() -> None:
    asked: list[int] = []

    class Counting:
        def next_ms(self, after_ms: int) -> int:
            asked.append(after_ms)
            return after_ms + HOUR

    shared = Trigger(Counting(), None, None, True, 0, "")  # type: ignore[arg-type]  # noqa: FBT003 - counts only
    assert {shared.next_after(NOON) for _ in range(1000)} == {NOON + HOUR}
    assert asked == [NOON]


@pytest.mark.parametrize(
    "entry",
    [
        {"cronTime": "30 2 * * *", "timezone": "Europe/Berlin"},
        {"cronTime": "*/7 * * * *"},
        {"cronTime": "0 9 13 * FRI", "timezone": "America/New_York"},
        {"cronTime": "30 2 * * *", "timezone": "Europe/Berlin", "dst": {"gap": "skip", "overlap": "twice"}},
        {"every": "7h"},
        {"at": "2026-11-20T12:00:00Z"},
        {"cronTime": "0 0 1 * *", "startAt": "2026-10-01T00:00:00Z", "endAt": "2026-12-01T00:00:00Z"},
    ],
    ids=str,
)
def test_count_and_latest_agree_with_asking_one_by_one(entry: dict[str, Any]) -> None:
    subject = trigger(**entry)
    fires = []
    after: int | None = from_text("2026-10-20T00:00:00Z")
    while (after := subject.next_after(after)) is not None and after < NOON + 20 * DAY:  # type: ignore[arg-type]  # never None here
        fires.append(after)
    begin = from_text("2026-10-20T00:00:00Z")
    spans = [
        (begin + left, begin + right)
        for left in (0, HOUR, 5 * DAY)
        for right in (HOUR, 6 * DAY + 7, 50 * DAY)
    ]
    edges = [(fire - 1, fire) for fire in fires[:2]] + [(fire, fire) for fire in fires[:2]]
    for low, high in spans + edges:
        wanted = [fire for fire in fires if low < fire <= high]
        assert subject.count_between(low, high) == len(wanted)
        assert subject.latest_in(low, high) == (wanted[-1] if wanted else None)


def test_a_year_of_seconds_is_counted_without_walking_it() -> None:
    each_second = trigger(cronTime="* * * * * *", timezone="Europe/Berlin")
    year = 365 * DAY
    assert each_second.count_between(NOON, NOON + year) == 365 * 86_400
    assert each_second.latest_in(NOON, NOON + year + 700) == NOON + year
    assert trigger(every="1s").count_between(NOON, NOON + year) == 365 * 86_400


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"every": "60s"}, {"every": "1m"}),
        ({"every": "PT1H", "timezone": "Europe/Berlin"}, {"every": "1 hour"}),
        ({"cronTime": "0 9 * * mon-fri"}, {"cronTime": " 0  9 * * 1-5 "}),
        ({"cronTime": "@daily"}, {"cronTime": "0 0 * * *", "timezone": "UTC", "enabled": True}),
        ({"cronTime": "0 9 * * *"}, {"cronTime": "0 9 * * *", "dst": {"gap": "run"}, "jitterSeconds": 0}),
        ({"at": "2026-11-20T12:00:00Z"}, {"at": "2026-11-20T13:00:00+01:00"}),
        ({"every": "1h", "startAt": "2026-11-20T12:00:00Z"}, {"every": "1h", "startAt": "2026-11-20T12:00Z"}),
    ],
)
def test_equal_meanings_have_equal_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert trigger(**one).digest == trigger(**other).digest
    assert trigger(**one) == trigger(**other)


def test_every_part_of_a_trigger_counts_in_its_digest() -> None:
    entries: list[dict[str, Any]] = [
        {"cronTime": "0 9 * * *"},
        {"cronTime": "1 9 * * *"},
        {"cronTime": "H 9 * * *"},
        {"cronTime": "0 9 * * *", "timezone": "Europe/Berlin"},
        {"cronTime": "0 9 * * *", "timezone": "Europe/Berlin", "dst": {"gap": "skip"}},
        {"cronTime": "0 9 * * *", "timezone": "Europe/Berlin", "dst": {"overlap": "twice"}},
        {"cronTime": "0 9 * * *", "startAt": "2026-11-20T12:00:00Z"},
        {"cronTime": "0 9 * * *", "endAt": "2026-11-20T12:00:00Z"},
        {"cronTime": "0 9 * * *", "jitterSeconds": 0.5},
        {"cronTime": "0 9 * * *", "enabled": False},
        {"every": "1h"},
        {"every": "1h", "startAt": "2026-11-20T12:00:00Z"},
        {"at": "2026-11-20T12:00:00Z"},
        {"at": "2026-11-20T12:00:00.001Z"},
    ]
    digests = {trigger(**entry).digest for entry in entries}
    assert len(digests) == len(entries)
    assert {len(digest) for digest in digests} == {32}


def test_fields_reach_the_trigger() -> None:
    read = trigger(
        cronTime="30 2 * * *",
        timezone="Europe/Berlin",
        dst={"overlap": "twice"},
        startAt="2026-01-01T00:00:00Z",
        endAt="2027-01-01T00:00:00Z",
        jitterSeconds=1.5,
        enabled=True,
    )
    assert read.start_ms == from_text("2026-01-01T00:00:00Z")
    assert read.end_ms == from_text("2027-01-01T00:00:00Z")
    assert (read.jitter_ms, read.enabled) == (1500, True)
    autumn = from_text("2026-10-25T00:00:00Z")
    assert read.count_between(autumn, autumn + 2 * HOUR) == 2
    assert trigger(cronTime="H * * * *") != trigger_from_entry({"cronTime": "H * * * *"}, hash_id="other")


def test_what_validation_should_have_caught_is_raised() -> None:
    with pytest.raises(InvalidCron):
        trigger(cronTime="61 * * * *")
    with pytest.raises(ValueError, match="is not a period"):
        trigger(every="often")
