"""A command brings in what it needs alone: a dispatcher that starts again is late by every import."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from dispatcher.cli.root import root

NEEDLESS = ("httpx", "sqlalchemy", "dispatcher.worker", "dispatcher.work", "dispatcher.cli.demo")
_CODE = """
import sys
from dispatcher.cli import main
sys.argv[1:] = ["run", "--help"]
try:
    main()
except SystemExit:
    print(*({} & sys.modules.keys()), file=sys.stderr)
"""


def test_the_daemon_starts_without_what_other_commands_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CODE.format(set(NEEDLESS))], capture_output=True, text=True, check=True
    )
    assert done.stderr.split() == []


@pytest.mark.parametrize("name", root.commands)
def test_every_command_is_found_under_its_name(name: str) -> None:
    command = root.commands[name]
    assert isinstance(command, click.Command)
    assert command.name == name
