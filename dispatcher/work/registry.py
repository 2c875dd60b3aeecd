"""The registry: every handler of a worker, by the name that stands in `job`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import metadata
from typing import Any

import structlog

from dispatcher.clock import Clock, SystemClock
from dispatcher.work import payloads
from dispatcher.work.catalogue import ALIASES
from dispatcher.work.children import Children, Upbringing
from dispatcher.work.handlers.http import Http
from dispatcher.work.handlers.kafka_produce import KafkaProduce, Send
from dispatcher.work.handlers.plain import Echo, Log, Noop
from dispatcher.work.handlers.python import TASKS, Custom, Python
from dispatcher.work.handlers.rehearse import Rehearse
from dispatcher.work.handlers.shell import Shell
from dispatcher.work.handling import Handler, Payload

HANDLERS = "dispatcher.handlers"
"""The entry-point group of handlers that installed packages offer."""
_SHELL_OFF = "`shell` is off: name what it may run in shell_allow"
_PYTHON_OFF = "`python` is off: name what it may call in python_allow"
_KAFKA_OFF = "`kafka` is off: this worker has nothing to send with"
_SQL_OFF = "`sql` is off: name the databases it may use in the setting sql"


def installed(group: str) -> Iterable[metadata.EntryPoint]:
    """Return what installed packages offer under the name of a group."""
    return metadata.entry_points(group=group)


@dataclass(frozen=True, slots=True)
class Means:
    """What handlers may use, in plain values.

    `shell_allow` are absolute paths of programs, `python_allow` names of entry points, `sql_dsns` addresses
    by name. `send` sends messages for `kafka`, `close_send` ends that. At most `most_children` are kept for
    `python` and custom handlers, which see `environment` beside a few fixed names, and nothing else of the
    worker's.
    """

    prefix: str = "dispatcher"
    http_allow_private: bool = False
    shell_allow: Sequence[str] = ()
    python_allow: Sequence[str] = ()
    sql_dsns: Mapping[str, str] = field(default_factory=dict)
    send: Send | None = None
    close_send: Callable[[], None] = lambda: None
    most_children: int = 64
    environment: Mapping[str, str] = field(default_factory=dict)
    entry_points: Callable[[str], Iterable[metadata.EntryPoint]] = installed


class Registry:
    """The handlers there are. `off` says of names that could be handlers why they are none."""

    def __init__(
        self,
        handlers: Iterable[Handler],
        *,
        off: Mapping[str, str] | None = None,
        children: Children | None = None,
    ) -> None:
        self._handlers: dict[str, Handler] = {}
        self._off = dict(off or {})
        self._children = children
        for handler in handlers:
            if self._handlers.setdefault(handler.name, handler) is not handler or handler.name in self._off:
                structlog.get_logger().warning("handler.name_taken", handler=handler.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all handlers, in order."""
        return tuple(sorted(self._handlers))

    def find(self, name: str) -> Handler | None:
        """Return the handler of a name, None when there is none or it is off."""
        return None if name in self._off else self._handlers.get(name)

    def read(self, handler: Handler, payload: Any) -> Payload:
        """Return a payload as its handler takes it. Raises InvalidPayload, with every field at fault."""
        return payloads.read(handler.payload, payload)

    def why_not(self, name: str) -> str:
        """Return in words why there is no such handler, and what to do about it."""
        if name in self._off:
            return self._off[name]
        shown = repr(name if len(name) <= 100 else f"{name[:100]}…")
        close = get_close_matches(name[:100].casefold(), self._handlers, n=1, cutoff=0.65)
        meant = f", did you mean `{close[0]}`?" if close else ";"
        return (
            f"there is no handler {shown}{meant} there are {', '.join(self.names)}, and what packages offer "
            f"as entry points of {HANDLERS}"
        )

    def close(self) -> None:
        """Let go of what the handlers hold; one that cannot must not keep the others from it."""
        for close in (*(handler.close for handler in self._handlers.values()), self._close_children):
            try:
                close()
            except Exception as error:  # noqa: BLE001 - it ends here anyway, and the rest is to end too
                structlog.get_logger().warning("handler.not_closed", error=repr(error))

    def _close_children(self) -> None:
        if self._children is not None:
            self._children.close()


def registry(means: Means, clock: Clock | None = None) -> Registry:
    """Return the handlers that the means allow. Raises InvalidSettings for a database that cannot be used."""
    clock = clock or SystemClock()
    children = Children(Upbringing(means.environment), most=means.most_children)
    handlers: list[Handler] = [
        *(Noop(), Log(), Echo(), Rehearse()),
        *(Log(alias) if name == "log" else Echo(alias) for alias, name in ALIASES.items()),
        Http(allow_private=means.http_allow_private, now=lambda: clock.read().now),
    ]
    off = {}
    for name, made in _to_be_allowed(means, children).items():
        if isinstance(made, str):
            off[name] = made
        else:
            handlers.append(made)
    custom = [Custom(point.name, point.value, children) for point in means.entry_points(HANDLERS)]
    return Registry([*handlers, *custom], off=off, children=children)


def _to_be_allowed(means: Means, children: Children) -> dict[str, Handler | str]:
    """Return the handlers that are off until something is allowed, or in words what would allow them."""
    return {
        "kafka": _KAFKA_OFF
        if means.send is None
        else KafkaProduce(means.prefix, means.send, means.close_send),
        "sql": _sql(means.sql_dsns) if means.sql_dsns else _SQL_OFF,
        "shell": Shell(means.shell_allow) if means.shell_allow else _SHELL_OFF,
        "python": _python(means, children) if means.python_allow else _PYTHON_OFF,
    }


def _sql(dsns: Mapping[str, str]) -> Handler:
    from dispatcher.work.handlers.sql import Sql  # noqa: PLC0415 - large, and seldom needed

    return Sql(dsns)


def _python(means: Means, children: Children) -> Handler:
    tasks = {point.name: point.value for point in means.entry_points(TASKS)}
    return Python(frozenset(means.python_allow), tasks, children)
