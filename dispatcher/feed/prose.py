"""How values of the file appear in messages: escaped, shortened, and with a guess at what was meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

_LONGEST = 80


def quoted(text: str, mark: str = "`") -> str:
    """Return a text in quotation marks, with control characters escaped and what is too long cut."""
    if len(text) <= _LONGEST:
        return f"{mark}{escaped(text)}{mark}"
    return f"{mark}{escaped(text[:_LONGEST])}…{mark} ({len(text)} characters)"


def named(job: str) -> str:
    """Return a job's name as it stands in a message, where even a bad one must not do harm."""
    return escaped(job if len(job) <= 200 else f"{job[:_LONGEST]}…")


def shown(value: Any) -> str:
    """Return a JSON value as a message shows it."""
    if isinstance(value, dict):
        return f"an object of {len(value)} members" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)} elements" if value else "an empty list"
    if isinstance(value, str):
        return quoted(value, '"')
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} digits)"


def escaped(text: str) -> str:
    """Return the text on one line: everything that is not printable becomes its escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def guess(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean `x`?` for the known word that comes closest, or nothing."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word[:200].casefold(), folded, n=1, cutoff=0.65)
    return f", did you mean `{folded[close[0]]}`?" if close else ""
