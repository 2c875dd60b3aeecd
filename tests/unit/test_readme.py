"""The README keeps up with the program: what is not in it fails here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dispatcher.cli.exits import MEANING
from dispatcher.cli.root import root
from dispatcher.feed.models import Defaults, JobEntry, field_names
from dispatcher.settings import Settings

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
LINKS = PROJECT / ".ci" / "links.py"


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def commands() -> list[str]:
    found = []
    for name, command in root.commands.items():
        inner = list(command.commands) if isinstance(command, click.Group) else [""]
        found += [f"dispatcher {name} {each}".strip() for each in inner]
    return found


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_explained(name: str) -> None:
    assert f"\n| `{name}` | " in section("Settings")


def test_no_setting_is_explained_that_there_is_not() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", section("Settings"), re.MULTILINE))
    assert told == set(Settings.model_fields)


@pytest.mark.parametrize("command", commands())
def test_every_command_is_explained(command: str) -> None:
    assert f"`{command}" in section("Commands")


def test_no_command_is_explained_that_there_is_not() -> None:
    told = re.findall(r"`(dispatcher(?: [a-z]+(?:-[a-z]+)*)+)", section("Commands"))
    known = {*commands(), *(f"dispatcher {name}" for name in root.commands)}
    assert [line for line in told if not any(line.startswith(command) for command in known)] == []


@pytest.mark.parametrize("code", MEANING)
def test_every_exit_code_is_explained(code: int) -> None:
    assert f"\n| {code} | {MEANING[code]}" in section("Commands")


@pytest.mark.parametrize("field", sorted({*field_names(JobEntry), *field_names(Defaults)}))
def test_every_field_of_the_file_is_explained(field: str) -> None:
    assert f"`{field}`" in section("The schedule file")


def links(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, LINKS, *files], capture_output=True, text=True, check=False)


def test_no_link_is_dead() -> None:
    assert links(PROJECT / "README.md", PROJECT / "CHANGELOG.md").stderr == ""


def test_dead_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`\n[a](#one-two) [b](#three) [c](absent.md) [d](page.md#one-two) [e](page.md#x)\n"
        "`[f](absent)` [g](https://example.com/absent)\n```\n[h](absent)\n# Three\n```\n[i]: gone.md\n",
        encoding="utf-8",
    )
    found = links(page)
    assert found.returncode == 1
    dead = [line.split(": ")[1] for line in found.stderr.splitlines()]
    assert dead == ["#three", "absent.md", "page.md#x", "gone.md"]
