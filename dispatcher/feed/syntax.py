"""Strict JSON, slowly: where each value lies, and in words what is wrong with a text.

The fast reader (`strict_json`) comes here for an element it cannot accept. A broken text ends the walk;
what is well-formed but refused (duplicate keys, NaN …) is noted, and the walk goes on.
"""

from __future__ import annotations

import json
import re
from typing import Any

from dispatcher.feed.prose import quoted

MAX_DEPTH = 64
MAX_DIGITS = 1000

Path = tuple[str | int, ...]
"""Keys and indexes that lead from an element to a value inside it."""

WHITESPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"-?[A-Za-z_][A-Za-z0-9_]*")
_CONSTANTS = {"true": True, "false": False, "null": None}
_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}
_MEANT = {"True": "true", "False": "false", "None": "null", "undefined": "null", "nil": "null"}
_STRINGS = json.JSONDecoder()
_STRING_FAULTS = {
    "Unterminated": "this text has no closing quote",
    "Invalid control": "a line break or control character inside a text must be escaped",
    "Invalid \\escape": "this is no escape; a backslash is written as two",
    "Invalid \\uXXXX": "\\u takes four hexadecimal digits",
}


class Broken(Exception):
    """The text is not JSON from `offset` on."""

    def __init__(self, offset: int, what: str) -> None:
        self.offset = offset
        self.what = what
        super().__init__(what)


class Scan:
    """One value, its faults and the places of what lies inside.

    `value` is what the text means with every fault read as something harmless; `spans` gives for a path
    the offsets of its key (or of the value, in lists) and of its value, to a depth of four. `depth` is how
    many levels of the document are around it.
    """

    def __init__(self, text: str, start: int, depth: int = 0) -> None:
        self.faults: list[tuple[int, str]] = []
        self.spans: dict[Path, tuple[int, int]] = {(): (start, start)}
        self._text = text
        self.value, self.end = self._value(start, (), depth)

    def _value(self, at: int, path: Path, depth: int) -> tuple[Any, int]:
        char = self._text[at : at + 1]
        if char == "{" or char == "[":  # noqa: PLR1714 - "" is in every string
            if depth == MAX_DEPTH:
                raise Broken(at, f"this is nested more than {MAX_DEPTH} levels deep")
            return self._object(at, path, depth + 1) if char == "{" else self._list(at, path, depth + 1)
        if char == '"':
            return self._string(at, "text")
        number = _NUMBER.match(self._text, at)
        if number is not None:
            return self._number(number)
        return self._constant(at)

    def _object(self, at: int, path: Path, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = skip(self._text, at + 1)
        if self._text.startswith("}", at):
            return found, at + 1
        while True:
            key_at = at
            key, at = self._key(at)
            at = skip(self._text, after_colon(self._text, at, key))
            inner = (*path, key)
            twice = key in found
            if not twice and len(inner) <= 4:
                self.spans[inner] = (key_at, at)
            value, at = self._value(at, inner if not twice else (*path, -1), depth)
            if twice:
                self.faults.append((key_at, f"the key {quoted(key)} appears twice in one object; keep one"))
            else:
                found[key] = value
            at, more = after_member(self._text, at, "}")
            if not more:
                return found, at

    def _key(self, at: int) -> tuple[str, int]:
        if not self._text.startswith('"', at):
            raise Broken(at, unexpected(self._text, at, "a key in double quotes or `}`"))
        key, end = self._string(at, "a key")
        if "\0" in key:
            self.faults.append((at, f"the key {quoted(key)} holds a NUL character; remove it"))
        return key, end

    def _list(self, at: int, path: Path, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = skip(self._text, at + 1)
        if self._text.startswith("]", at):
            return found, at + 1
        while True:
            inner = (*path, len(found))
            if len(inner) <= 4:
                self.spans[inner] = (at, at)
            value, at = self._value(at, inner, depth)
            found.append(value)
            at, more = after_member(self._text, at, "]")
            if not more:
                return found, at

    def _string(self, at: int, kind: str) -> tuple[str, int]:
        text, end = string_at(self._text, at)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.faults.append(
                (at, f"{kind} holds half of a surrogate pair (\\ud800-\\udfff); write the whole character")
            )
            text = text.encode(errors="replace").decode()
        return text, end

    def _number(self, number: re.Match[str]) -> tuple[float | int, int]:
        digits = number.group()
        if len(digits) > MAX_DIGITS:
            self.faults.append(
                (number.start(), f"this number has {len(digits)} digits; {MAX_DIGITS} are allowed")
            )
            return 1, number.end()
        if number.group(1) is None and number.group(2) is None:
            return int(digits), number.end()
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            self.faults.append((number.start(), f"the number {digits} is too large"))
            return 1, number.end()
        return value, number.end()

    def _constant(self, at: int) -> tuple[Any, int]:
        word = _WORD.match(self._text, at)
        if word is not None and word.group() in _CONSTANTS:
            return _CONSTANTS[word.group()], word.end()
        if word is not None and word.group() in _NOT_FINITE:
            self.faults.append((at, f"{word.group()} is not JSON; write a finite number"))
            return 1, word.end()
        raise Broken(at, unexpected(self._text, at, "a value"))


def skip(text: str, at: int) -> int:
    """Return the offset of what comes after white space."""
    found = WHITESPACE.match(text, at)
    return found.end() if found is not None else at


def string_at(text: str, at: int) -> tuple[str, int]:
    """Return the string whose opening quote is at `at`, and its end. Raises Broken."""
    try:
        value, end = _STRINGS.raw_decode(text, at)
    except json.JSONDecodeError as error:
        known = (what for start, what in _STRING_FAULTS.items() if error.msg.startswith(start))
        raise Broken(error.pos, next(known, error.msg)) from None
    return str(value), end


def after_colon(text: str, at: int, key: str) -> int:
    """Return the offset after the colon that must follow a key. Raises Broken."""
    at = skip(text, at)
    if not text.startswith(":", at):
        raise Broken(at, unexpected(text, at, f"a colon after the key {quoted(key)}"))
    return at + 1


def after_member(text: str, at: int, close: str) -> tuple[int, bool]:
    """Return where to go on after a member or element, and whether another one follows. Raises Broken."""
    at = skip(text, at)
    if text.startswith(close, at):
        return at + 1, False
    if not text.startswith(",", at):
        starts = text[at : at + 1] in {'"', "{", "["}
        wanted = "a comma before it" if starts else f"a comma or `{close}`"
        raise Broken(at, unexpected(text, at, wanted))
    comma, at = at, skip(text, at + 1)
    if text[at : at + 1] in {"}", "]"}:
        raise Broken(comma, f"a comma before `{text[at]}` is not JSON; remove it")
    return at, True


def unexpected(text: str, at: int, wanted: str) -> str:
    """Say what stands at a place where something else was wanted."""
    if at >= len(text):
        return f"the file ends here, but {wanted} is expected; was it written only in part?"
    char = text[at]
    if text.startswith(("//", "/*", "#"), at):
        return "comments are not JSON; remove this one"
    if char == "'":
        return "text takes double quotes in JSON, not single ones"
    word = _WORD.match(text, at)
    if word is None:
        return f"{quoted(char)} is not expected here, but {wanted}"
    meant = _MEANT.get(word.group())
    if meant is not None:
        return f"{quoted(word.group())} is not JSON; write `{meant}`"
    return f"{quoted(word.group())} is not JSON; {wanted} is expected, and text takes double quotes"
