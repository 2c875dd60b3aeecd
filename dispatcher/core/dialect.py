"""The cron dialect: a strict reader that leaves nothing for the engine to reinterpret.

Five fields, six with seconds first, or a macro. Every term becomes a plain list of values, so `5-5`, `7`,
`FRI-MON` and the like cannot be misread later. Where both day fields are restricted either may match; each
way to match a day becomes a plain expression of its own, with the other day field `*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dispatcher.core.field import DAY, HOUR, MINUTE, MONTH, SECOND, WEEKDAY, Field, Values, read_field
from dispatcher.errors import InvalidCron

LONGEST = 256
MACROS = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_MONTH_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTH_NAMES = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A day, hour or minute of `span` seconds: if any wall in it matches, `count` do, from `first` on."""

    span: int
    count: int
    first: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """What an expression means on a wall clock.

    `texts` are plain expressions: a wall matches when it matches any of them. An `elapsed` pattern, one
    whose seconds, minute or hour field begins with `*`, fires at every instant whose wall matches; any
    other one is fixed, and the rule for clock changes holds for it. `blocks` are the day, hour and minute.
    """

    texts: tuple[str, ...]
    elapsed: bool
    blocks: tuple[Block, ...]


def read_pattern(expression: str, hash_id: str | None = None) -> Pattern:
    """Read an expression; `hash_id`, the job's name, is what `H` is resolved with.

    Raises InvalidCron for whatever is not the dialect, and for what can never fire.
    """
    fields = _split(expression)
    read = [read_field(field, text, hash_id) for field, text in fields]
    *times, days, months, weekdays = read
    clock = " ".join(_plain(field, values) for (field, _), values in zip(fields, times, strict=False))
    if len(times) == 3:
        clock = clock.removeprefix("0 ")
    month = _plain(MONTH, months)
    ways = list(_ways(days, weekdays, months.plain))
    if not ways:
        raise _never(days, months)
    if ("*", "*") in ways:
        ways = [("*", "*")]
    texts = tuple(f"{clock} {day} {month} {weekday}" for day, weekday in ways)
    elapsed = any(text.startswith("*") for _, text in fields[: len(times)])
    return Pattern(texts, elapsed, _blocks([values.plain for values in times]))


def _blocks(clock: list[frozenset[int]]) -> tuple[Block, ...]:
    seconds, minutes, hours = clock if len(clock) == 3 else [frozenset({0}), *clock]
    minute = Block(60, len(seconds), min(seconds))
    hour = Block(3600, len(minutes) * minute.count, 60 * min(minutes) + minute.first)
    day = Block(86_400, len(hours) * hour.count, 3600 * min(hours) + hour.first)
    return day, hour, minute


def _split(expression: str) -> list[tuple[Field, str]]:
    text = _checked(expression).strip(" \t").upper()
    if text.startswith("@"):
        if text not in MACROS:
            known = ", ".join(MACROS).lower()
            shown = text.lower()[:20]
            raise InvalidCron(f"{shown!r} is not a macro", value=text, advice=f"use one of {known}")
        text = MACROS[text]
    parts = re.split(r"[ \t]+", text) if text else []
    fields = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY)
    if len(parts) not in {5, 6}:
        raise InvalidCron(
            f"{len(parts)} fields instead of 5 or 6",
            value=text,
            advice="write minute hour day-of-month month day-of-week, with seconds before them if need be"
            + ("; a year field is not part of the dialect, use startAt and endAt" if len(parts) == 7 else ""),
        )
    return list(zip(fields[-len(parts) :], parts, strict=True))


def _checked(expression: object) -> str:
    if not isinstance(expression, str):
        kind = type(expression).__name__
        raise InvalidCron(f"a cron expression is a text, not {kind}", value=repr(expression)[:40])
    if len(expression) > LONGEST:
        raise InvalidCron(
            f"{len(expression)} characters are too many",
            value=expression[:40],
            advice=f"at most {LONGEST} are allowed; use ranges and steps, or several jobs",
        )
    for place, character in enumerate(expression, 1):
        if character != "\t" and not " " <= character <= "~":
            raise InvalidCron(
                f"character {place} is {character!a}",
                value=expression,
                advice="only plain ASCII characters on one line are allowed",
            )
    return expression


def _plain(field: Field, values: Values) -> str:
    if values.plain == field.every:
        return "*"
    return ",".join(map(str, sorted(values.plain)))


def _ways(days: Values, weekdays: Values, months: frozenset[int]) -> Iterator[tuple[str, str]]:
    """Yield pairs of day-of-month and day-of-week, one of them `*`, of which a day must match any."""
    if not days.restricted and not weekdays.restricted:
        yield "*", "*"
    if days.restricted:
        if days.plain and min(days.plain) <= max(_MONTH_LENGTHS[month - 1] for month in months):
            yield _plain(DAY, days), "*"
        for mark in sorted(days.marks):
            yield mark, "*"
    if weekdays.restricted:
        if weekdays.plain:
            yield "*", _plain(WEEKDAY, weekdays)
        if weekdays.marks:
            yield "*", ",".join(sorted(weekdays.marks))


def _never(days: Values, months: Values) -> InvalidCron:
    names = " and ".join(_MONTH_NAMES[month - 1] for month in sorted(months.plain))
    return InvalidCron(
        f"never fires: there is no {min(days.plain)} {names}",
        field=DAY.name,
        value=days.text,
        advice="use L for the last day of a month",
    )
