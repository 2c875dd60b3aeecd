"""What is wrong with one entry: its shape by the models, then what no shape can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dispatcher.core.cron import DstRule, parse
from dispatcher.core.duration import parse_every
from dispatcher.core.instant import from_text
from dispatcher.core.job import TRIGGER_FIELDS
from dispatcher.core.zone import load_zone
from dispatcher.errors import InvalidCron
from dispatcher.feed.models import Defaults, JobEntry, Model, ScheduleFile, field_names, part_at, rule_at
from dispatcher.feed.prose import escaped, guess, quoted, shown
from dispatcher.feed.shape import Shape, has_sound_rest, is_hashed, shape_of
from dispatcher.feed.syntax import Path
from dispatcher.feed.wire import NO_SHAPE

TRIGGERS = ("cronTime", "every", "at")
SAME = (("job", "taskName"), ("payload", "taskParams"))
RESERVED = frozenset(
    {"content-type", "attempt", "shard", "revision", "not_after", "traceparent", "tracestate"}
)
_KEY = "[key]"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an entry; it is shown at the key or at the value that `path` leads to."""

    path: Path
    what: str
    at_key: bool = False


class EntryCheck:
    """Checks entries one by one; what many share, their shape, is checked once and numbered."""

    def __init__(self) -> None:
        self._sound: dict[Shape, int] = {}
        self._timings: dict[object, list[Fault]] = {}
        self._validate = JobEntry.__pydantic_validator__.validate_python

    def check(self, entry: Any, merged: Any) -> tuple[list[Fault], int]:
        """Return the faults of an entry, as written and with its defaults, and the number of its shape."""
        shape = shape_of(entry) if isinstance(entry, dict) else None
        number = NO_SHAPE if shape is None else self._sound.get(shape, NO_SHAPE)
        if number != NO_SHAPE and has_sound_rest(entry):
            return [], number
        found = self._faults(entry, merged)
        if not found and shape is not None:
            number = self._sound[shape] = len(self._sound)
        return found, number

    def _faults(self, entry: Any, merged: Any) -> list[Fault]:
        try:
            self._validate(entry)
        except ValidationError as error:
            found = [_explained(details, JobEntry) for details in error.errors(include_url=False)]
        else:
            found = []
        if not isinstance(entry, dict):
            return found
        bad = {fault.path[0] for fault in found if fault.path}
        sound = {name: value for name, value in merged.items() if name not in bad}
        return found + _counted(entry) + self._timing(sound) + header_faults(entry)

    def _timing(self, sound: Mapping[str, Any]) -> list[Fault]:
        """Check the time of an entry, once for all that have the same."""
        named = sound.get("jobName") if is_hashed(sound.get("cronTime")) else None
        shape = (*map(sound.get, TRIGGER_FIELDS), repr(sound.get("dst")), named)
        found = self._timings.get(shape)
        if found is None:
            found = self._timings[shape] = _trigger_faults(sound)
        return found


def default_faults(defaults: Any) -> list[Fault]:
    """Return the faults of the file's `defaults`."""
    try:
        Defaults.__pydantic_validator__.validate_python(defaults)
    except ValidationError as error:
        found = [_explained(details, Defaults) for details in error.errors(include_url=False)]
        if not isinstance(defaults, dict):
            return found
    else:
        found = []
    bad = {fault.path[0] for fault in found if fault.path}
    sound = {name: value for name, value in defaults.items() if name not in bad}
    return found + _twice(defaults) + _window(sound) + _zone(sound) + header_faults(defaults)


def unknown_field(name: str) -> str:
    """Say that a member of the whole file is unknown."""
    known = field_names(ScheduleFile)
    return f"unknown field {quoted(name)}{guess(name, known) or '; a schedule has `defaults` and `jobs`'}"


def header_faults(entry: Mapping[str, Any]) -> list[Fault]:
    """Return which of an entry's headers have names that belong to the dispatcher."""
    headers = entry.get("headers")
    return [
        Fault(
            ("headers", name),
            f"the header {quoted(name)} is reserved for the dispatcher; choose another name",
            at_key=True,
        )
        for name in (headers if isinstance(headers, dict) else ())
        if name.casefold() in RESERVED or name.casefold().startswith("ce_")
    ]


def _counted(entry: Mapping[str, Any]) -> list[Fault]:
    """Check what there must be exactly one, or at most one, of."""
    triggers = [name for name in TRIGGERS if name in entry]
    found = []
    if len(triggers) != 1:
        has = f"has {' and '.join(map(quoted, triggers))}" if triggers else "has none"
        path: Path = (triggers[1],) if triggers else ()
        found.append(
            Fault(
                path, f"a job takes exactly one of `cronTime`, `every` and `at`, this one {has}", at_key=True
            )
        )
    if "job" not in entry and "taskName" not in entry:
        found.append(Fault((), "`job` is missing; write what the worker runs"))
    return found + _twice(entry)


def _twice(entry: Mapping[str, Any]) -> list[Fault]:
    return [
        Fault((second,), f"`{first}` and `{second}` mean the same; keep one", at_key=True)
        for first, second in SAME
        if first in entry and second in entry
    ]


def _trigger_faults(entry: Mapping[str, Any]) -> list[Fault]:
    """Return what is wrong with the time of an entry whose fields have the right types."""
    return (
        _window(entry)
        + _zone(entry)
        + _cron(entry)
        + _told(entry, "every", parse_every)
        + _told(entry, "at", from_text)
    )


def _window(entry: Mapping[str, Any]) -> list[Fault]:
    found = _told(entry, "startAt", from_text) + _told(entry, "endAt", from_text)
    if not found and "startAt" in entry and "endAt" in entry:
        start, end = entry["startAt"], entry["endAt"]
        if from_text(end) <= from_text(start):
            found.append(Fault(("endAt",), f"`endAt` {shown(end)} is not after `startAt` {shown(start)}"))
    return found


def _zone(entry: Mapping[str, Any]) -> list[Fault]:
    return _told(entry, "timezone", load_zone)


def _cron(entry: Mapping[str, Any]) -> list[Fault]:
    name = entry.get("jobName", "")
    dst = DstRule(**entry.get("dst", {}))
    return _told(entry, "cronTime", lambda text: parse(text, dst=dst, hash_id=name))


def _told(entry: Mapping[str, Any], field: str, read: Callable[[str], object]) -> list[Fault]:
    """Return what `read` has against the text of a field, if the entry has it."""
    text = entry.get(field)
    if text is None:
        return []
    try:
        read(text)
    except (InvalidCron, ValueError) as error:
        said = escaped(str(error)).removeprefix(f"{field}: ")
        return [Fault((field,), f"{quoted(field)} {shown(text)}: {said}")]
    return []


def _explained(error: ErrorDetails, model: type[Model]) -> Fault:
    """Say in words what pydantic found."""
    path = tuple(error["loc"])
    name = ".".join(escaped(str(part)) for part in path)
    match error["type"]:
        case "missing":
            return Fault(path[:-1], f"{quoted(name)} is missing; it must be {rule_at(model, path)}")
        case "extra_forbidden":
            return Fault(path, _unknown(model, path), at_key=True)
        case "model_type":
            rule = rule_at(model, path) or "an object in `{` and `}`"
            subject = f"{quoted(name)} is" if name else "this is"
            return Fault(path, f"{subject} {shown(error['input'])}; it must be {rule}")
    if path[-1:] == (_KEY,):
        return Fault(
            path[:-1],
            f"{quoted(str(path[-2]))} is no name here; {quoted(str(path[0]))} must be {rule_at(model, path)}",
            at_key=True,
        )
    return Fault(path, f"{quoted(name)} is {shown(error['input'])}; it must be {rule_at(model, path)}")


def _unknown(model: type[Model], path: Path) -> str:
    name = str(path[-1])
    if model is Defaults and len(path) == 1 and name in field_names(JobEntry):
        return f"{quoted(name)} cannot have a default; write it in each job"
    part = part_at(model, path[:-1])
    close = guess(name, field_names(part)) if part is not None else ""
    return f"unknown field {quoted('.'.join(map(str, path)))}{close or '; remove it'}"
