"""From the text of a file to its valid entries, one at a time, with every problem noted on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dispatcher.errors import Problem
from dispatcher.feed.checks import SAME, EntryCheck, Fault, default_faults, unknown_field
from dispatcher.feed.definition import encode
from dispatcher.feed.prose import named, shown
from dispatcher.feed.strict_json import Text
from dispatcher.feed.syntax import Broken, Path, Scan, skip
from dispatcher.feed.wire import NO_SHAPE

MOST_PROBLEMS = 1000
"""How many problems are told one by one; a last line counts the rest."""

Known = Callable[[str, bytes], bool]
"""Tells whether a job of this name has exactly this definition in force, so that it was validated before."""

_NOTHING_AFTER_JOBS = re.compile(r"\][ \t\n\r]*\}[ \t\n\r]*\Z")
MAX_DEFINITION = 4 * 1024 * 1024
"""Largest definition in bytes: the ledger and the events hold several of a job in one record."""


class Valid(NamedTuple):
    """A valid entry with its defaults. A tuple: there are many.

    `shape` is the number of its shape, `known` as the caller's `Known` said.
    """

    name: str
    entry: dict[str, Any]
    definition: bytes
    shape: int
    known: bool


class Entries:
    """The entries of one file. Iterate once; then `problems` says what is wrong, in file order."""

    def __init__(self, text: str, known: Known | None = None) -> None:
        self._text = text
        self._known = known
        self._check = EntryCheck()
        self._defaults: dict[str, Any] = {}
        self._names: dict[str, int] = {}
        self._faults: list[tuple[int, str | None, str]] = []
        self._uncounted = 0
        self._job: str | None = None
        self._start: int | None = None

    def __iter__(self) -> Iterator[Valid]:
        try:
            self._survey()
        except Broken as broken:
            self._note(broken.offset, broken.what)
        if self._start is None:
            return
        try:
            yield from self._jobs(self._start)
        except Broken as broken:
            self._job = None
            self._note(broken.offset, broken.what)

    @property
    def count(self) -> int:
        """Return how many jobs were found so far."""
        return len(self._names)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return every problem found so far, at most `MOST_PROBLEMS` and one line that counts the rest."""
        places = Places(self._text)
        seen = set()
        found = []
        for offset, job, what in sorted(self._faults, key=lambda fault: fault[0]):
            if (offset, what) not in seen:
                seen.add((offset, what))
                found.append(Problem(*places.of(offset), None if job is None else named(job), what))
        if self._uncounted:
            line, column = found[-1].line, found[-1].column
            found.append(Problem(line, column, None, f"and {self._uncounted} more problems"))
        return tuple(found)

    @property
    def _told(self) -> int:
        return len(self._faults) + self._uncounted

    def _survey(self, *, thorough: bool = False) -> None:
        """Walk the file's own members and find where its list of jobs begins. Raises Broken.

        Stops there when the jobs seem to be the last member, unless it is to be thorough.
        """
        text = Text(self._text, self._note, skip(self._text, 0))
        if not self._text.startswith("{", text.at):
            self._no_object(text)
            return
        found = False
        for name, offset in text.members():
            if name == "jobs" and not found and self._text.startswith("[", text.at):
                self._start = text.at
                if not thorough and self._jobs_are_last():
                    return
                self._pass_by(text)
            else:
                self._member(name, offset, text, again=found and name == "jobs")
            found = found or name == "jobs"
        text.end()
        if not found:
            self._note(skip(self._text, 0), "`jobs` is missing; a schedule without jobs has an empty list")

    def _no_object(self, text: Text) -> None:
        """Say what stands where the schedule should be. Raises Broken."""
        start, before = text.at, self._told
        if start == len(self._text):
            raise Broken(0, 'the file is empty; the least there can be is {"jobs": []}')
        if self._text.startswith("[", start):
            raise Broken(start, 'a schedule is an object: write {"jobs": [ … ]} around this list')
        value = text.value()
        if self._told == before:
            self._note(start, f'a schedule is an object such as {{"jobs": []}}, not {shown(value)}')

    def _jobs_are_last(self) -> bool:
        """Tell whether the file seems to end with its jobs, so that one walk over them is enough."""
        return _NOTHING_AFTER_JOBS.search(self._text, max(0, len(self._text) - 200)) is not None

    def _pass_by(self, text: Text) -> None:
        """Go past the jobs, because something follows them that may concern them; their faults come later."""
        skipped = Text(self._text, lambda _offset, _what: None, text.at, depth=1)
        for _ in skipped.elements():
            skipped.value()
        text.at = skipped.at

    def _member(self, name: str, offset: int, text: Text, *, again: bool) -> None:
        start, before = text.at, self._told
        value = text.value()
        if name not in {"$schema", "defaults", "jobs"}:
            self._note(offset, unknown_field(name))
        elif again or (before != self._told and not isinstance(value, dict)):
            return  # it was told what is wrong with it
        elif name == "$schema":
            if not isinstance(value, str):
                self._note(start, f"`$schema` is {shown(value)}; it must be the address of a schema")
        elif name == "defaults":
            faults = default_faults(value)
            if faults:
                self._explain(start, faults, "defaults")
            else:
                self._defaults = value
        else:
            self._note(start, f"`jobs` is {shown(value)}; it must be a list of jobs")

    def _jobs(self, start: int) -> Iterator[Valid]:
        text = Text(self._text, self._note, start, depth=1)
        defaults, check = self._defaults, self._check.check
        for offset in text.elements():
            before = self._told
            entry = text.value()
            merged = merge(entry, defaults) if defaults and isinstance(entry, dict) else entry
            if before != self._told:
                self._name_faults(before, entry)
            elif self._known is not None and (found := self._same(offset, merged)) is not None:
                yield found
                continue
            faults, shape = check(entry, merged)
            if faults:
                self._job = _name_in(entry)
                self._explain(offset, faults)
                self._job = None
            name = _name_in(entry)
            fresh = name is None or self._is_first(name, offset)
            if not faults and fresh and name is not None:
                definition = encode(merged)
                if len(definition) > MAX_DEFINITION:
                    self._too_large(offset, name, len(definition))
                else:
                    yield Valid(name, merged, definition, shape, known=False)
        self._tail(skip(self._text, text.at))

    def _too_large(self, offset: int, name: str, size: int) -> None:
        self._job = name
        self._note(
            offset,
            f"the job has {size} bytes with the defaults merged in; at most {MAX_DEFINITION} are kept "
            "in Kafka, so let the payload name where the data lies",
        )
        self._job = None

    def _tail(self, at: int) -> None:
        """Check what follows the jobs where the survey stopped at them. Raises Broken."""
        if not self._jobs_are_last():
            return
        if not self._text.startswith("}", at):
            self._survey(thorough=True)
            return
        Text(self._text, self._note, at + 1).end()

    def _same(self, offset: int, merged: Any) -> Valid | None:
        """Return the entry if exactly this definition is in force, and so was validated before."""
        name = _name_in(merged)
        if name is None or self._known is None:
            return None
        definition = encode(merged)
        if not self._known(name, definition) or not self._is_first(name, offset):
            return None
        return Valid(name, merged, definition, NO_SHAPE, known=True)

    def _is_first(self, name: str, offset: int) -> bool:
        if (first := self._names.setdefault(name, offset)) == offset:
            return True
        if len(self._faults) >= MOST_PROBLEMS:
            self._uncounted += 1
            return False
        line = Places(self._text).of(first)[0]
        self._job = name
        place = Scan(self._text, offset).spans[("jobName",)][1]
        self._note(place, f"the name is taken by the job at line {line}; every job needs its own")
        self._job = None
        return False

    def _explain(self, offset: int, faults: list[Fault], prefix: str = "") -> None:
        if len(self._faults) >= MOST_PROBLEMS:
            self._uncounted += len(faults)
            return
        spans = Scan(self._text, offset).spans
        for fault in faults:
            self._note(_place(spans, fault), f"{prefix}: {fault.what}" if prefix else fault.what)

    def _note(self, offset: int, what: str) -> None:
        if len(self._faults) >= MOST_PROBLEMS:
            self._uncounted += 1
        else:
            self._faults.append((offset, self._job, what))

    def _name_faults(self, start: int, entry: Any) -> None:
        name = _name_in(entry)
        self._faults[start:] = [(offset, name, what) for offset, _, what in self._faults[start:]]


def merge(entry: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the entry with what it lacks taken from the defaults, after what it has, in their order.

    An object is taken as a whole or not at all; `payload` and `taskParams` count as one field.
    """
    lacking = {
        name: value
        for name, value in defaults.items()
        if name not in entry
        and not any(name in pair and (pair[0] in entry or pair[1] in entry) for pair in SAME)
    }
    return {**entry, **lacking} if lacking else entry


def decode(data: bytes) -> str:
    """Return the text of a file, without a byte order mark. Raises UnicodeDecodeError."""
    return data.decode("utf-8-sig")


def not_utf8(data: bytes, error: UnicodeDecodeError) -> Problem:
    """Return the problem of a file that is not UTF-8."""
    body = data.removeprefix(b"\xef\xbb\xbf")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Problem(1, 1, None, "the file looks like UTF-16; save it as UTF-8")
    line, column = Places(body[: error.start].decode()).of(error.start, at_end=True)
    byte = body[error.start]
    return Problem(line, column, None, f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8")


def _name_in(entry: Any) -> str | None:
    name = entry.get("jobName") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else None


def _place(spans: dict[Path, tuple[int, int]], fault: Fault) -> int:
    """Return the offset a fault is shown at: its own, or that of the nearest thing around it."""
    path = fault.path
    while path not in spans:
        path = path[:-1]
    return spans[path][0 if fault.at_key else 1]


class Places:
    """Turns rising offsets into lines and columns, each text walked once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._line = 1
        self._at = 0

    def of(self, offset: int, *, at_end: bool = False) -> tuple[int, int]:
        """Return the 1-based line and column of an offset."""
        if at_end:
            offset = len(self._text)
        self._line += self._text.count("\n", self._at, offset)
        self._at = offset
        return self._line, offset - self._text.rfind("\n", 0, offset)
