"""Options that commands share: the settings, machine-readable output, spans of time and instants."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dispatcher.core.duration import parse_every
from dispatcher.core.instant import Instant, from_text
from dispatcher.errors import InvalidSettings
from dispatcher.kafka.properties import check_properties
from dispatcher.masking import is_unfit_for_flags, masked
from dispatcher.settings import CONFIG_VARIABLE, InForce, Settings, env_name, flag_name, load, misspelt

Command = Callable[..., None]


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Give a command `--config` and a flag for each named setting, all when none is named.

    The command's first parameter is what is in force, an `InForce`. Raises InvalidSettings.
    """
    chosen = tuple(name for name in names or Settings.model_fields if name not in _NO_FLAG)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(config: Path | None, **options: Any) -> None:
            given = {name: options.pop(name) for name in chosen}
            command(_load(given, config), **options)

        wrapped: Command = with_settings
        for name in reversed(chosen):
            wrapped = _option(name)(wrapped)
        return click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"TOML file with settings. [env: {CONFIG_VARIABLE}]",
        )(wrapped)

    return decorate


def _load(given: dict[str, Any], config: Path | None) -> InForce:
    flags = {name: value for name, value in given.items() if value is not None and value != ()}
    if "kafka" in flags:
        flags["kafka"] = dict(_property(pair) for pair in flags["kafka"])
    for sentence in misspelt():
        click.echo(f"Warning: {sentence}", err=True)
    in_force = load(flags, config)
    check_properties(in_force.settings.kafka)
    return in_force


def _property(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not name or not equals:
        shown = masked(pair, repr(pair))
        raise InvalidSettings(f"--kafka {shown} has no value: write e.g. --kafka security.protocol=SSL")
    name = name.strip()
    if is_unfit_for_flags(name):
        raise InvalidSettings(
            f"--kafka {name} is a secret, and any user of a machine sees the flags of its processes: give it"
            f" by {env_name('kafka')}__{name.upper().replace('.', '_')}, by the file kafka.{name} in"
            " $CREDENTIALS_DIRECTORY, or in the settings file"
        )
    return name, value


_NO_FLAG = frozenset({"sql"})
"""Settings that are secret as a whole: every user of a machine sees the flags of its processes."""
_SHORTER = {"wait_seconds": ("--wait",)}
"""Flags with a second, shorter spelling."""


def _option(name: str) -> Callable[[Command], Command]:
    field = Settings.model_fields[name]
    if name == "kafka":
        text = f"{field.description}; may be repeated. [env: {env_name('kafka')}__<PROPERTY WITH _ FOR .>]"
        return click.option("--kafka", "kafka", multiple=True, metavar="PROPERTY=VALUE", help=text)
    unset = field.default is None or field.default == ()
    default = (
        ""
        if unset
        else f"; default: {str(field.default).lower() if field.default is False else field.default}"
    )
    return click.option(
        flag_name(name),
        *_SHORTER.get(name, ()),
        name,
        default=None,
        metavar="VALUE",
        help=f"{field.description}. [env: {env_name(name)}{default}]",
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine to read.")


def span(text: str) -> int:
    """Read a length of time as the schedule file writes it, `7d` or `PT1H30M`; return milliseconds."""
    try:
        return parse_every(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def moment(text: str) -> Instant:
    """Read an instant: ISO 8601 with an offset or Z."""
    try:
        return from_text(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


from_option = click.option(
    "--from", "start", type=moment, metavar="INSTANT", help="Fires after this instant; default: now."
)


def example(*lines: str) -> str:
    """Return the end of a command's help that shows how it is used."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])
