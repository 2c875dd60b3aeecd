"""Where settings come from: flags, environment, credentials, TOML file; faults are told at once, as prose."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, SettingsError

from dispatcher.errors import InvalidSettings
from dispatcher.masking import MASK, is_secret, masked
from dispatcher.settings.credentials import credentials
from dispatcher.settings.forms import flat
from dispatcher.settings.model import ENV_PREFIX, Settings, env_name, flag_name

CONFIG_VARIABLE = "DISPATCHER_CONFIG"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as it is shown: a secret's value is already masked."""

    name: str
    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class InForce:
    """The settings in force, where each that is not a default came from, and the settings file that was read.

    Librdkafka properties have their own origins, under `kafka.<property>`.
    """

    settings: Settings
    origins: Mapping[str, str]
    config: Path | None = None

    def rows(self) -> list[Row]:
        """Return every setting, then every librdkafka property, secrets masked."""
        values = self.settings.model_dump(mode="json", exclude={"kafka", "sql"})
        values |= {f"sql.{name}": MASK for name in sorted(self.settings.sql)}
        values |= {f"kafka.{name}": masked(name, text) for name, text in sorted(self.settings.kafka.items())}
        return [Row(name, value, self.origins.get(name, DEFAULT)) for name, value in values.items()]


def load(flags: Mapping[str, Any], config: Path | None = None) -> InForce:
    """Return the settings of flags, environment, credentials and file, in this order of precedence.

    `flags` holds only the flags that were given; its `kafka` a dict of properties. `config` is the TOML
    file; without it the environment's `DISPATCHER_CONFIG` names one. Raises InvalidSettings with all faults.
    """
    path = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source, origin in (
        (_from_file(path), lambda _: f"file {path}"),
        (credentials(), lambda name: f"credential {name}"),
        (_from_environment(), lambda name: f"environment variable {_variable(name)}"),
        (flags, _flag_origin),
    ):
        _lay_over(values, origins, source, origin)
    return InForce(_validated(values, origins), origins, path)


def misspelt() -> list[str]:
    """Return a sentence for each environment variable that looks like a setting's and is none.

    Only near misses are told: platforms put variables of their own under our prefix.
    """
    known = {env_name(name): name for name in Settings.model_fields} | {CONFIG_VARIABLE: "config"}
    found = []
    for variable in sorted(os.environ):
        if not variable.startswith(ENV_PREFIX) or variable in known or "__" in variable:
            continue
        near = get_close_matches(variable, known, n=1, cutoff=0.88)
        if near:
            found.append(f"environment variable {variable} is not used; did you mean {near[0]}?")
    return found


def _flag_origin(name: str) -> str:
    return "flag --kafka" if name.startswith("kafka.") else f"flag {flag_name(name)}"


def _variable(name: str) -> str:
    return env_name(name.replace(".", "__", 1).replace(".", "_"))


def _lay_over(
    values: dict[str, Any],
    origins: dict[str, str],
    source: Mapping[str, Any],
    origin: Callable[[str], str],
) -> None:
    """Put a source's values over what less important sources said, properties and databases one by one."""
    for name, value in source.items():
        if name == "sql" and isinstance(value, Mapping):
            values[name] = {**values.get(name, {}), **value}
            origins.update({f"sql.{key}": origin(f"sql.{key}") for key in value})
        elif name == "kafka" and isinstance(value, Mapping):
            properties = dict(flat(value))
            values[name] = {**values.get(name, {}), **properties}
            origins.update({f"kafka.{key}": origin(f"kafka.{key}") for key in properties})
        else:
            values[name] = value
            origins[name] = origin(name)


def _from_environment() -> dict[str, Any]:
    try:
        values = EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise InvalidSettings(
            f"{env_name('kafka')} is not a JSON object: write one variable for each property, "
            f"e.g. {env_name('kafka__security_protocol')}=SSL"
        ) from error
    properties = values.get("kafka")
    if isinstance(properties, Mapping):
        values["kafka"] = {name.replace("_", "."): value for name, value in properties.items()}
    return values


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be read as the settings file: {error.strerror}") from error
    except ValueError as error:
        raise InvalidSettings(f"{path}: is not TOML: {error}") from error
    unknown = [f"{path}: {_unknown(name)}" for name in values if name not in Settings.model_fields]
    if unknown:
        raise InvalidSettings("\n".join(unknown))
    return values


def _unknown(name: str) -> str:
    near = get_close_matches(name.replace("-", "_").lower(), Settings.model_fields, n=1)
    advice = f"did you mean {near[0]!r}?" if near else "`dispatcher settings` lists the settings there are"
    return f"unknown setting {name!r}: {advice}"


def _validated(values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        raise InvalidSettings("\n".join(_fault(detail, origins) for detail in error.errors())) from None


def _fault(detail: ErrorDetails, origins: Mapping[str, str]) -> str:
    """Return one fault as prose: the setting, its value, where that came from, what to do."""
    what = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    path = [str(part) for part in detail["loc"] if part not in {"[key]", "function-before"}]
    if not path:
        return what
    name = ".".join(path)
    secret = path[0] == "sql" or is_secret(".".join(path[1:]))
    value = "a secret" if secret else repr(detail["input"])
    origin = origins.get(name) or origins.get(path[0], DEFAULT)
    example = (Settings.model_fields[path[0]].examples or [""])[0]
    return f"{name} is {value} ({origin}): {what}; give e.g. {example}"
