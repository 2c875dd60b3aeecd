"""Instants and their texts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from dispatcher.core.instant import LAST, from_datetime, from_text, to_datetime, to_text


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00+01:00", 0),
        ("2026-11-20T02:00:00Z", 1_795_140_000_000),
        ("2026-11-20t02:00:00z", 1_795_140_000_000),
        ("2026-11-20 03:00:00+01:00", 1_795_140_000_000),
        ("2026-11-20T03:00:00+0100", 1_795_140_000_000),
        ("2026-11-20T02:00:00.5Z", 1_795_140_000_500),
        ("2026-11-20T02:00:00.123999999Z", 1_795_140_000_123),
        ("9999-12-31T23:59:59.999Z", LAST),
    ],
)
def test_instants_are_read(text: str, instant: int) -> None:
    assert from_text(text) == instant


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-20T02:00:00", "has no offset; add Z"),
        ("2026-11-20", "is not an instant; write e.g."),
        ("2026-11-20Z", "is not an instant"),
        ("20261120T020000Z", "is not an instant"),
        ("2026-W47-5T02:00:00Z", "is not an instant"),
        ("2026-11-20T02Z", "is not an instant"),
        ("2026-02-30T02:00:00Z", "is not an instant: day is out of range"),
        ("2026-11-20T24:00:00Z", "hour must be in 0..23"),
        ("2026-11-20T02:00:60Z", "second must be in 0..59"),
        ("2026-11-20T02:00:00+25:00", "is not an instant"),
        ("2026-11-20T02:00:00 Europe/Berlin", "is not an instant"),
        ("2026-11-20T02:00:00Z\n", "is not an instant"),
        ("٢٠٢٦-11-20T02:00:00Z", "is not an instant"),
        ("1969-12-31T23:59:59Z", "not within the years 1970 to 9999"),
        ("1970-01-01T00:00:00+01:00", "not within the years 1970 to 9999"),
        ("0001-01-01T00:00:00+01:00", "not within the years 1970 to 9999"),
        ("9999-12-31T23:59:59-01:00", "not within the years 1970 to 9999"),
        ("0000-01-01T00:00:00Z", "is not an instant: year 0 is out of range"),
        ("x" * 500, "is not an instant"),
        ("", "is not an instant"),
    ],
)
def test_what_is_no_instant_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace(".", r"\.")) as refusal:
        from_text(text)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_795_140_000_000, "2026-11-20T02:00:00Z"),
        (1_795_140_000_007, "2026-11-20T02:00:00.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (LAST, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_instants_are_written_with_milliseconds_only_where_there_are_any(instant: int, text: str) -> None:
    assert to_text(instant) == text


def test_datetimes_are_rounded_down_to_the_millisecond() -> None:
    moment = datetime(2026, 11, 20, 3, 0, 0, 7999, tzinfo=timezone(timedelta(hours=1)))
    assert from_datetime(moment) == 1_795_140_000_007
    assert to_datetime(1_795_140_000_007) == datetime(2026, 11, 20, 2, 0, 0, 7000, tzinfo=UTC)
    assert from_datetime(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1


def test_a_naive_datetime_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="has no time zone; give an aware datetime"):
        from_datetime(datetime(2026, 11, 20))  # noqa: DTZ001 - the point of the test
