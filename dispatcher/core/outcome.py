"""How one attempt at a fire ended: what a handler returns, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The attempt did what was asked. `result` is JSON for the event, `output` text that was kept of it."""

    result: Any = None
    output: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed, for a `reason` that people can act on.

    `retry_after_ms` is how long whoever was asked wants to be left alone. `final`: another attempt would
    fail the same way, so there is none.
    """

    reason: str
    retry_after_ms: int | None = None
    final: bool = False
    output: str = ""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt was ended because somebody asked for that."""

    reason: str
    output: str = ""


Outcome = Succeeded | Failed | Cancelled
