from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher import errors
from dispatcher.cli import main as entry
from dispatcher.cli.exits import exit_code
from dispatcher.cli.root import Dispatcher, root

DISPATCHER = Path(sys.executable).with_name("dispatcher")


def run(*words: str) -> Result:
    return CliRunner().invoke(root, words, prog_name="dispatcher")


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in root.commands.items():
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
        else:
            found.append((name,))
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself_with_an_example(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert f"dispatcher {' '.join(words)}" in result.stdout.partition("Example:")[2]


@pytest.mark.parametrize("words", [(), ("topics",)], ids=["root", "topics"])
def test_a_group_shows_an_example_and_the_help_of_each_command_on_one_line(words: tuple[str, ...]) -> None:
    text = run(*words, "--help").stdout
    listed = text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    group: click.Command = root
    for word in words:
        group = root.commands[word]
    assert isinstance(group, click.Group)
    assert [line.split()[0] for line in listed] == sorted(group.commands)
    assert [line for line in listed if not line.endswith(".") or line.endswith("..")] == []
    assert f"dispatcher {' '.join(words)}" in text.partition("Example:")[2]


def test_the_exit_codes_are_part_of_the_help() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "0 done; 1 failed; 2 wrong usage; 3 invalid schedule or settings; 4 Kafka unreachable" in text


def test_the_version_is_told() -> None:
    assert run("--version").stdout.startswith("dispatcher, version ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DispatcherError("x"), 1),
        (errors.InvalidCron("x"), 3),
        (errors.InvalidSchedule("f", (errors.Problem(1, 1, None, "x"),)), 3),
        (errors.ScheduleUnreadable("x"), 3),
        (errors.InvalidSettings("x"), 3),
        (errors.InstanceTaken("x"), 1),
        (errors.KafkaUnreachable("x"), 4),
        (errors.TopicsUnfit(("x",), "y"), 4),
        (errors.LedgerUnfit("x"), 4),
        (errors.TransactionFailed("x"), 1),
        (errors.Fenced("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_a_command_with_code_and_prose(error: errors.DispatcherError, code: int) -> None:
    @click.group(cls=Dispatcher)
    def program() -> None: ...

    @program.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(program, ["fail"])
    assert exit_code(error) == result.exit_code == code
    told = str(error) if isinstance(error, errors.InvalidSchedule) else f"Error: {error}"
    assert result.stderr == f"{told}\n"
    assert not result.stdout


def test_an_error_cannot_command_the_terminal() -> None:
    @click.group(cls=Dispatcher)
    def program() -> None: ...

    @program.command()
    def fail() -> None:
        raise errors.DispatcherError("first\x1b[2J\nsecond\r")

    assert CliRunner().invoke(program, ["fail"]).stderr == "Error: first\\x1b[2J\nsecond\\r\n"


@pytest.mark.parametrize(
    "words",
    [
        ("unknown",),
        ("validate", "--unknown"),
        ("next", "--count", "0"),
        ("next", "--from", "yesterday"),
        ("diff", "one"),
        ("diff", "-", "-"),
        ("diff", "a", "b", "--for", "soon"),
        ("completion", "csh"),
        ("topics", "mend"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("settings", "--shards", "none"), "shards is 'none' (flag --shards)"),
        (("settings", "--config", "/nowhere.toml"), "/nowhere.toml: cannot be read"),
        (("settings", "--kafka", "security.protocol"), "has no value"),
        (("settings", "--kafka", "retry.backoff.ms=1"), "retry.backoff.ms cannot be set"),
        (("topics", "check"), "bootstrap_servers is not set"),
        (("next", "--schedule", "/nowhere.json"), "/nowhere.json: does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_invalid_settings_and_schedules_exit_with_3(words: tuple[str, ...], told: str) -> None:
    result = run(*words)
    assert result.exit_code == 3
    assert told in result.stderr


def test_a_secret_without_a_name_is_not_repeated() -> None:
    assert "hunter2" not in run("settings", "--kafka", "sasl.password:hunter2").stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_DISPATCHER_COMPLETE" in result.stdout


@pytest.mark.parametrize("words", [["schema"], ["settings"]], ids=" ".join)
def test_a_reader_that_leaves_early_hears_no_complaint(words: list[str]) -> None:
    with subprocess.Popen([DISPATCHER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_the_installed_program_is_this_one() -> None:
    done = subprocess.run([DISPATCHER, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("dispatcher, version ")
    assert callable(entry)
