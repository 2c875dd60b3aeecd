"""The command line: one module for each command or family, registered here."""

from __future__ import annotations

from dispatcher.cli.about import completion, schema, show_settings
from dispatcher.cli.ask import accept_clock, adopt
from dispatcher.cli.dead import dead
from dispatcher.cli.demo import demo
from dispatcher.cli.diff import diff
from dispatcher.cli.missed import missed
from dispatcher.cli.recover import recover
from dispatcher.cli.retry import retry
from dispatcher.cli.root import root
from dispatcher.cli.run import run
from dispatcher.cli.tail import tail
from dispatcher.cli.topics import topics
from dispatcher.cli.trigger import cancel, pause, resume, trigger
from dispatcher.cli.upcoming import next_fires
from dispatcher.cli.validate import validate
from dispatcher.cli.verify import verify
from dispatcher.cli.work import work

_COMMANDS = (
    *(run, work, demo, tail, verify),
    *(validate, next_fires, diff, schema),
    *(missed, adopt, accept_clock, recover),
    *(trigger, pause, resume, cancel),
    *(dead, retry),
    *(topics, show_settings, completion),
)
for _command in _COMMANDS:
    root.add_command(_command)


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    root(prog_name="dispatcher")
