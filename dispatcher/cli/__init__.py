"""The command line: one module for each command or family, listed here.

A module is imported when its command is asked for: a dispatcher that starts again after a crash is late by
every import that another command needs.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click

from dispatcher.cli.root import root

_PLACES = {
    "run": "run.run",
    "work": "work.work",
    "demo": "demo.demo",
    "tail": "tail.tail",
    "verify": "verify.verify",
    "validate": "validate.validate",
    "next": "upcoming.next_fires",
    "diff": "diff.diff",
    "schema": "about.schema",
    "missed": "missed.missed",
    "adopt": "ask.adopt",
    "accept-clock": "ask.accept_clock",
    "recover": "recover.recover",
    "trigger": "trigger.trigger",
    "pause": "trigger.pause",
    "resume": "trigger.resume",
    "cancel": "trigger.cancel",
    "dead": "dead.dead",
    "retry": "retry.retry",
    "topics": "topics.topics",
    "rights": "rights.show_rights",
    "events": "events.events",
    "metrics": "metrics.metrics",
    "status": "status.status",
    "settings": "about.show_settings",
    "completion": "about.completion",
}
"""Where each command is: module and function."""


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name, imported as they are asked for; further ones may be added."""

    def __init__(self) -> None:
        self._found: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        found = self._found.get(name)
        if found is None:
            module, function = _PLACES[name].split(".")
            found = self._found[name] = getattr(import_module(f"{__name__}.{module}"), function)
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES | self._found)

    def __len__(self) -> int:
        return len(_PLACES | self._found)


root.commands = _Commands()


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    root(prog_name="dispatcher")
