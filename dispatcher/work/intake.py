"""From a delivery to something that can be run: who runs it, with which payload, or why nobody does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from dispatcher.core.run import LARGEST_KEPT, Run, Spec
from dispatcher.errors import InvalidPayload
from dispatcher.work.handling import Handler, Payload

_KEPT = 100_000


class Handlers(Protocol):
    """The handlers there are, by name."""

    def find(self, name: str) -> Handler | None:
        """Return the handler of a name, None when there is none or it is not allowed."""
        ...

    def why_not(self, name: str) -> str:
        """Return in words why there is none, and what to do about it."""
        ...

    def read(self, handler: Handler, payload: Any) -> Payload:
        """Return a payload as its handler takes it. Raises InvalidPayload."""
        ...

    def close(self) -> None:
        """Let go of what the handlers hold."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """Who runs it, and with what."""

    handler: Handler
    payload: Any


class Intake:
    """Finds handlers and reads payloads, once for a version of a job; the last is kept. One thread's own."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._known: dict[str, tuple[Spec, Ready | str]] = {}

    def ready(self, run: Run) -> Ready | str:
        """Return what runs it, or why nothing can."""
        spec = run.spec
        known = self._known.get(run.job)
        if known is not None and known[0] is spec:
            return known[1]
        if len(self._known) >= _KEPT:
            self._known.clear()
        found = self._find(spec)
        if len(run.delivery.value or b"") > LARGEST_KEPT:
            return found  # its spec is a new one each time, too
        self._known[run.job] = (spec, found)
        return found

    def _find(self, spec: Spec) -> Ready | str:
        handler = self._handlers.find(spec.handler)
        if handler is None:
            return self._handlers.why_not(spec.handler)
        try:
            return Ready(handler, self._handlers.read(handler, spec.payload))
        except InvalidPayload as error:
            return str(error)
