"""One field of a cron expression: its terms, checked and turned into values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from typing import NoReturn

from dispatcher.errors import InvalidCron

_TERM = re.compile(
    r"(?:(?P<star>\*)|(?P<hash>H)(?:\((?P<least>\w+)-(?P<most>\w+)\))?|(?P<low>\w+)(?:-(?P<high>\w+))?)"
    r"(?:/(?P<step>\w+))?",
    re.ASCII,
)
_NTH = re.compile(r"(\w+)#(\w+)", re.ASCII)
_LAST_WEEKDAY = re.compile(r"L([0-7]|[A-Z]{3})", re.ASCII)
_NEAREST = re.compile(r"(\d\d?)W", re.ASCII)
_MISPLACED = re.compile(r"(?P<nearest>W\d\d?)|(?P<last>([0-7]|[A-Z]{3})L)|LW|WL", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """What a field is called, which values it takes, and the names of the values from `low` on.

    `hashed` is the highest value that `H` gives. `top` is the highest that may be written.
    """

    name: str
    low: int
    high: int
    hashed: int
    top: int
    names: tuple[str, ...] = ()

    @property
    def every(self) -> frozenset[int]:
        """All values of the field."""
        return frozenset(range(self.low, self.high + 1))


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

SECOND = Field("second", 0, 59, 59, 59)
MINUTE = Field("minute", 0, 59, 59, 59)
HOUR = Field("hour", 0, 23, 23, 23)
DAY = Field("day-of-month", 1, 31, 28, 31)
MONTH = Field("month", 1, 12, 12, 12, _MONTHS)
WEEKDAY = Field("day-of-week", 0, 6, 6, 7, _WEEKDAYS)


@dataclass(frozen=True, slots=True)
class Values:
    """What a field asks for: plain values, and marks (`L`, `15W`, `L5`, `1#2`) in the engine's words.

    `restricted` is whether the field is anything but `*` or `?`.
    """

    text: str
    plain: frozenset[int]
    marks: frozenset[str]
    restricted: bool


def read_field(field: Field, text: str, hash_id: str | None) -> Values:
    """Read one field, in upper case. Raises InvalidCron with the offending term and what to write instead."""
    if text == "*" or (text == "?" and field in (DAY, WEEKDAY)):
        return Values(text, field.every, frozenset(), restricted=False)
    plain: set[int] = set()
    marks: set[str] = set()
    for term in text.split(","):
        mark = _mark(field, term)
        if mark is None:
            plain.update(_plain(field, term, hash_id))
        else:
            marks.add(mark)
    return Values(text, frozenset(plain), frozenset(marks), restricted=True)


def _refuse(field: Field, value: str, what: str, advice: str = "") -> NoReturn:
    raise InvalidCron(what, field=field.name, value=value, advice=advice)


def _mark(field: Field, term: str) -> str | None:
    """Return the mark a term stands for, in the engine's spelling, or None when it is no mark."""
    if field is DAY:
        return _day_mark(term)
    if field is WEEKDAY:
        return _weekday_mark(term)
    return None


def _day_mark(term: str) -> str | None:
    if term == "L":
        return "L"
    if nearest := _NEAREST.fullmatch(term):
        return f"{_value(DAY, nearest.group(1))}W"
    return None


def _weekday_mark(term: str) -> str | None:
    if nth := _NTH.fullmatch(term):
        day, which = nth.groups()
        if which not in {"1", "2", "3", "4", "5"}:
            _refuse(WEEKDAY, term, f"{_short(term)!r} does not say which of a month", "write 1 to 5 after #")
        return f"{_value(WEEKDAY, day) % 7}#{which}"
    if last := _LAST_WEEKDAY.fullmatch(term):
        return f"L{_value(WEEKDAY, last.group(1)) % 7}"
    return None


def _plain(field: Field, term: str, hash_id: str | None) -> list[int]:
    form = _TERM.fullmatch(term)
    if form is None or _MISPLACED.fullmatch(term):
        what = f"{_short(term)!r} is not understood" if term else "a term is missing"
        _refuse(field, term, what, _form_advice(field, term))
    step = _step(field, term, form["step"])
    if form["star"]:
        return list(range(field.low, field.high + 1, step or 1))
    if form["hash"]:
        return _hashed(field, term, (form["least"], form["most"]), step, hash_id)
    low = _value(field, form["low"])
    if form["high"] is None:
        return [low % 7 if field is WEEKDAY else low] if step is None else _open_range(field, term, low, step)
    return _range(field, term, (form["low"], form["high"]), step or 1)


def _step(field: Field, term: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,2}", text, re.ASCII):
        _refuse(field, term, f"{text!r} is not a step", "write a whole number from 1 to 999 after the stroke")
    return int(text)


def _value(field: Field, text: str) -> int:
    if re.fullmatch(r"\d{1,2}", text, re.ASCII) and field.low <= int(text) <= field.top:
        return int(text)
    if text in field.names:
        return field.low + field.names.index(text)
    if text.isdigit():
        advice = "write numbers with at most two digits" if len(text) > 2 else ""
        _refuse(field, text, f"{_short(text)} is not in {field.low}-{field.top}", advice)
    _refuse(field, text, f"{_short(text)!r} is not a value", _form_advice(field, text))


def _open_range(field: Field, term: str, low: int, step: int) -> list[int]:
    if low > field.high:
        _refuse(field, term, f"{term!r} begins at the week's end", f"write 0/{step} to begin with Sunday")
    return list(range(low, field.high + 1, step))


def _range(field: Field, term: str, ends: tuple[str, str], step: int) -> list[int]:
    low, high = _value(field, ends[0]), _value(field, ends[1])
    if low > high:
        _refuse(field, term, f"{term!r} runs backwards", f"write {_unwrapped(field, ends, step)}")
    values = range(low, high + 1, step)
    return [value % 7 for value in values] if field is WEEKDAY else list(values)


def _unwrapped(field: Field, ends: tuple[str, str], step: int) -> str:
    """Return the terms that say what a range around the end of its field would have meant."""
    low, high = (_value(field, end) for end in ends)
    named = ends[0] in field.names

    def spelled(value: int) -> str:
        return field.names[value - field.low] if named else str(value)

    def span(start: int, stop: int) -> str:
        return spelled(start) if start == stop else f"{spelled(start)}-{spelled(stop)}"

    if low > field.high:  # a Sunday written as 7
        return span(field.low, high) if step == 1 else f"{span(field.low, high)}/{step}"
    if step == 1:
        return f"{span(low, field.high)},{span(field.low, high)}"
    size = field.high - field.low + 1
    around = range(low - field.low, high - field.low + size + 1, step)
    return ",".join(spelled(value % size + field.low) for value in around)


def _hashed(
    field: Field, term: str, ends: tuple[str | None, str | None], step: int | None, hash_id: str | None
) -> list[int]:
    """Resolve `H`: each field by a hash of its own, so that a job's minute tells nothing of its hour."""
    if hash_id is None:
        _refuse(field, term, f"{term!r} needs the name of a job to be spread by", "write a plain value")
    low, high = field.low, field.hashed
    if ends[0] is not None and ends[1] is not None:
        low, high = _value(field, ends[0]), min(_value(field, ends[1]), field.high)
        if low > high:
            _refuse(field, term, f"{term!r} runs backwards", "write the smaller end first")
    digest = blake2b(f"{field.name}:{hash_id}".encode(), digest_size=8).digest()
    size = high - low + 1
    if step is None:
        return [low + int.from_bytes(digest) % size]
    return list(range(low + int.from_bytes(digest) % min(step, size), high + 1, step))


def _form_advice(field: Field, text: str) -> str:
    return _rewrite(field, text) or _near_name(field, text) or _usual_forms(field)


def _rewrite(field: Field, text: str) -> str | None:
    """Return advice for forms that other dialects know and this one spells otherwise."""
    if text == "?":
        return "? stands alone in a day field; write *"
    if field is DAY and text in {"LW", "WL"}:
        return "write 31W for the last working day of the month"
    if field is WEEKDAY and text == "L":
        return "write 6 for Saturday, or L6 for the last Saturday of the month"
    if misplaced := _MISPLACED.fullmatch(text):
        if field is DAY and misplaced["nearest"]:
            return f"write {text[1:]}W"
        if field is WEEKDAY and misplaced["last"]:
            return f"write L{text[:-1]}"
    return None


def _near_name(field: Field, text: str) -> str | None:
    words = [word for word in re.findall(r"[A-Z]+", text) if word not in field.names and len(word) > 1]
    for word in words:
        near = [name for name in field.names if word.startswith(name)]
        near = near or get_close_matches(word, field.names, n=1, cutoff=0.5)
        if near:
            return f"did you mean {near[0]}?"
    return None


def _usual_forms(field: Field) -> str:
    names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
    return f"write *, values from {field.low}-{field.high}{names}, ranges a-b, steps */n, or lists of these"


def _short(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}…"
