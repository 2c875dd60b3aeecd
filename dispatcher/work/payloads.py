"""Reading payloads by their models, and saying in words what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dispatcher.errors import InvalidPayload

Path = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)
_MOST_TOLD = 20
_LONGEST = 60


class Fault:
    """One thing that is wrong with a payload, and where in it. `extra`: the field itself is too much."""

    def __init__(self, path: Path, what: str, *, extra: bool = False) -> None:
        self.path = path
        self.what = what
        self.extra = extra

    def text(self) -> str:
        """Return it as a sentence about a field."""
        return f"{named(self.path)}: {self.what}" if self.path else self.what


def read(model: type[Model], payload: Any) -> Model:
    """Return a payload as its model takes it; absent, it is an empty object. Raises InvalidPayload."""
    found = look(model, payload)
    if isinstance(found, model):
        return found
    assert isinstance(found, list)
    more = f"; and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    raise InvalidPayload("payload: " + "; ".join(fault.text() for fault in found[:_MOST_TOLD]) + more)


def look(model: type[Model], payload: Any) -> Model | list[Fault]:
    """Return a payload as its model takes it, or everything that is wrong with it.

    None is an empty object to models that know no null: the payload is absent then.
    """
    if payload is None and not isinstance(found := _look(model, None), list):
        return found
    return _look(model, {} if payload is None else payload)


def _look(model: type[Model], payload: Any) -> Model | list[Fault]:
    try:
        text = json.dumps(payload)
    except (TypeError, ValueError, RecursionError) as error:
        return [Fault((), f"it cannot be read: {error}")]
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        return list(_faults(model, payload, error))
    except RecursionError:
        return [Fault((), "it is nested too deep")]


def named(path: Path) -> str:
    """Return the place of a value as people write it: `headers.accept`, `command[0]`."""
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"`{_short(shown.removeprefix('.'))}`"


def _faults(model: type[BaseModel], payload: Any, error: ValidationError) -> Iterator[Fault]:
    for found in error.errors(include_url=False, include_input=False):
        path = _inside(payload, found["loc"])
        match found["type"]:
            case "extra_forbidden":
                yield Fault(path, f"there is no such field; there are {_fields(model)}", extra=True)
            case "missing":
                yield Fault(path, "it is missing")
            case "json_invalid":
                yield Fault((), f"it cannot be read: {found['msg']}")
            case "value_error":
                yield Fault(path, str(found["ctx"]["error"]))
            case _:
                yield Fault(path, _lower(found["msg"]))


def _inside(payload: Any, location: Path) -> Path:
    """Return the part of a location that lies in the payload: unions put names of types between."""
    value, path = payload, []
    for part in location:
        if _has(value, part):
            value = value[part]
        elif part != location[-1] or not isinstance(value, dict):
            continue  # what is missing is told as the last part of its place
        path.append(part)
    return tuple(path)


def _has(value: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, dict) and part in value


def _fields(model: type[BaseModel]) -> str:
    names = [field.alias or name for name, field in model.model_fields.items()]
    return ", ".join(f"`{name}`" for name in names) or "none"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _short(text: str) -> str:
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"
