"""What the `sql` handler is told to do, the values it binds, and what it keeps of the rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, field_validator
from pydantic.alias_generators import to_camel

from dispatcher.core.outcome import Failed
from dispatcher.work.handling import Payload

OURS = frozenset({"fire_id", "attempt", "planned"})
KEPT_BYTES = 65_536
LONGEST_TEXT = 4096

Scalar = str | int | float | bool | None


class SqlPayload(Payload):
    """One statement for a database that the settings name."""

    model_config = ConfigDict(alias_generator=to_camel)

    database: str = Field(
        pattern=r"^[A-Za-z0-9._\-]{1,100}$",
        description="Name of a database in the settings; never its address.",
    )
    statement: Annotated[str, StringConstraints(min_length=1, max_length=100_000)] = Field(
        description="One statement. `:name` stands for a parameter; write a colon before a word as `\\:`."
    )
    parameters: dict[Annotated[str, StringConstraints(pattern=r"^\w{1,100}$")], Scalar] = Field(
        default_factory=dict, description="Values that are bound, never put into the text."
    )
    max_rows: int = Field(10, ge=0, le=1000, description="How many rows are kept as the result.")
    timeout_seconds: float | None = Field(
        None, gt=0, le=86_400, description="Limit of all of it, connecting and waiting for locks included."
    )

    @field_validator("parameters")
    @classmethod
    def _free(cls, parameters: dict[str, Scalar]) -> dict[str, Scalar]:
        if taken := sorted(OURS.intersection(parameters)):
            raise ValueError(f"{', '.join(taken)}: given by the dispatcher itself, leave it out")
        return parameters


class Unusable(Exception):
    """A statement that cannot be run as it stands; the text says why."""


def bound(named: Iterable[str], given: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the parameters that a statement names. Raises Unusable when they do not fit."""
    names = set(named)
    values = {**ours, **given}
    if missing := sorted(names - values.keys()):
        raise Unusable(
            f"the statement names :{', :'.join(missing)}, not in `parameters`; a colon as such is written \\:"
        )
    if unused := sorted(given.keys() - names):
        raise Unusable(f"the statement does not name :{', :'.join(unused)}")
    return {name: values[name] for name in names}


class Rows:
    """The first rows of a result; all are counted."""

    def __init__(self, most: int) -> None:
        self.count: int | None = 0
        self._most = most
        self._kept: list[dict[str, Any]] = []
        self._bytes = 0
        self._cut = False

    def add(self, columns: Sequence[str], row: Sequence[Any]) -> None:
        """Count a row, and keep it if there is room."""
        self.count = (self.count or 0) + 1
        if self._cut or len(self._kept) >= self._most:
            self._cut = True
            return
        kept = {name: self._value(value) for name, value in zip(_distinct(columns), row, strict=True)}
        self._bytes += len(json.dumps(kept))
        if self._bytes > KEPT_BYTES:
            self._cut = True
        else:
            self._kept.append(kept)

    def result(self) -> dict[str, Any]:
        """Return the result of the run. `truncated` says that something of the rows is not in it."""
        return {"rows": self._kept, "rowCount": self.count, **({"truncated": True} if self._cut else {})}

    def _value(self, value: Any) -> Any:
        """Return a value as JSON; what JSON has no form for becomes text."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if value - value == 0 else str(value)  # not infinite and not NaN
        if isinstance(value, dict):
            return {str(name): self._value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(inner) for inner in value]
        return self._text(value)

    def _text(self, value: Any) -> str:
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, bytes | memoryview):
            text = "\\x" + bytes(value[: LONGEST_TEXT // 2 + 1]).hex()
        else:
            text = str(value)
        if len(text) > LONGEST_TEXT:
            self._cut = True
            return text[:LONGEST_TEXT]
        return text


def _distinct(columns: Sequence[str]) -> list[str]:
    """Return the names of columns, those that come again with a number."""
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def unusable(error: Unusable) -> Failed:
    """Return how a run ends whose statement cannot be run: no other attempt is better."""
    return Failed(str(error), final=True)
