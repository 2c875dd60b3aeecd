"""Strict JSON, fast: the standard library's C scanner for each value, our own walk around it.

Refused beside what is not JSON: duplicate keys, NaN and Infinity, numbers that overflow or have more than
1000 digits, more than 64 levels, lone surrogates, NUL in keys. The happy path touches a value once; only
a value that is refused is walked again (`syntax.Scan`) to say where and why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from dispatcher.feed.syntax import (
    MAX_DEPTH,
    MAX_DIGITS,
    Broken,
    Scan,
    after_colon,
    after_member,
    skip,
    string_at,
    unexpected,
)

Report = Callable[[int, str], None]
"""Takes the offset of a fault and what it is."""

_DOUBTFUL = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_INFINITE = (float("inf"), float("-inf"))
_SEPARATOR = re.compile(r"[ \t\n\r]*,[ \t\n\r]*(?=[{\"])")


class Text:
    """A document being walked. Faults are told to `report`.

    `at` is the offset of what comes next, `depth` the number of levels around it.
    """

    def __init__(self, text: str, report: Report, at: int = 0, depth: int = 0) -> None:
        self.text = text
        self.at = at
        self.depth = depth
        self._report = report
        self._escapes = "\\u" in text
        self._lists = text.count("[") > 1

    def members(self) -> Iterator[tuple[str, int]]:
        """Yield key and offset of each member of the object at hand; the caller takes the value.

        Raises Broken.
        """
        self._enter("{", "an object in `{` and `}`")
        text = self.text
        if text.startswith("}", self.at):
            self._leave(self.at + 1)
            return
        seen = set()
        more = True
        while more:
            start = self.at
            if not text.startswith('"', start):
                raise Broken(start, unexpected(text, start, "a key in double quotes or `}`"))
            key, end = string_at(text, start)
            if key in seen:
                self._report(start, f"the key `{key}` appears twice in one object; keep one")
            seen.add(key)
            self.at = skip(text, after_colon(text, end, key))
            yield key, start
            self.at, more = after_member(text, self.at, "}")
        self._leave(self.at)

    def elements(self) -> Iterator[int]:
        """Yield the offset of each element of the list at hand; the caller takes the value. Raises Broken."""
        self._enter("[", "a list in `[` and `]`")
        text = self.text
        if text.startswith("]", self.at):
            self._leave(self.at + 1)
            return
        more = True
        while more:
            yield self.at
            separator = _SEPARATOR.match(text, self.at)
            if separator is not None:
                self.at = separator.end()
            else:
                self.at, more = after_member(text, self.at, "]")
        self._leave(self.at)

    def value(self) -> Any:
        """Return the value at hand and go past it; what is refused in it is reported. Raises Broken."""
        text, start = self.text, self.at
        try:
            value, end = _scan(text, start)
        except (ValueError, RecursionError, StopIteration):
            return self._examined(start)
        deep = (
            text.count("{", start, end) + (self._lists and text.count("[", start, end))
            > MAX_DEPTH - self.depth
        )
        doubtful = deep or (self._escapes and _DOUBTFUL.search(text, start, end))
        if doubtful and not _clean(value, self.depth):
            return self._examined(start)
        self.at = end
        return value

    def end(self) -> None:
        """Make sure that nothing but white space is left. Raises Broken."""
        self.at = skip(self.text, self.at)
        if self.at < len(self.text):
            raise Broken(self.at, "the document has ended; remove what follows")

    def _enter(self, opening: str, wanted: str) -> None:
        self.at = skip(self.text, self.at)
        if not self.text.startswith(opening, self.at):
            raise Broken(self.at, unexpected(self.text, self.at, wanted))
        self.at = skip(self.text, self.at + 1)
        self.depth += 1

    def _leave(self, end: int) -> None:
        self.at = end
        self.depth -= 1

    def _examined(self, start: int) -> Any:
        scan = Scan(self.text, start, self.depth)
        for offset, what in scan.faults:
            self._report(offset, what)
        self.at = scan.end
        return scan.value


def parse(text: str) -> Any:
    """Return the value of a whole document. Raises Broken at its first fault."""

    def first(offset: int, what: str) -> None:
        raise Broken(offset, what)

    document = Text(text, first)
    document.at = skip(text, 0)
    value = document.value()
    document.end()
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if len(digits) > MAX_DIGITS or value in _INFINITE:
        raise ValueError("too many digits, or too large")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _clean(value: Any, depth: int) -> bool:
    """Tell whether a value keeps to the depth, its texts to whole characters, its keys to no NUL."""
    if isinstance(value, str):
        return _SURROGATE.search(value) is None
    if not isinstance(value, dict | list):
        return True
    if depth == MAX_DEPTH:
        return False
    if isinstance(value, list):
        return all(_clean(inner, depth + 1) for inner in value)
    return all(
        "\0" not in key and _clean(key, depth) and _clean(inner, depth + 1) for key, inner in value.items()
    )


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_scan: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # type: ignore[attr-defined] # not in the stubs
