"""The command line: one module for each command or family, registered here."""

from __future__ import annotations

from dispatcher.cli.about import completion, schema, show_settings
from dispatcher.cli.diff import diff
from dispatcher.cli.root import root
from dispatcher.cli.tail import tail
from dispatcher.cli.topics import topics
from dispatcher.cli.upcoming import next_fires
from dispatcher.cli.validate import validate

for _command in (validate, next_fires, diff, schema, topics, tail, show_settings, completion):
    root.add_command(_command)


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    root(prog_name="dispatcher")
