"""Secrets from files, as systemd and mounted volumes hand them over: one file in a directory for each.

`$CREDENTIALS_DIRECTORY` names the directory. `kafka.sasl.password` is that property of librdkafka,
`sql.reports` the address of the database `reports`. A unit that loads a whole directory of them puts a name
before each, `dispatcher_`. What has any other name is for others and is not opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dispatcher.errors import InvalidSettings

DIRECTORY_VARIABLE = "CREDENTIALS_DIRECTORY"
LARGEST_BYTES = 1024 * 1024
"""As large as a credential of systemd may be."""
_LOADED_AS = "dispatcher_"
_TABLES = ("kafka", "sql")


def credentials(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the tables of settings that the files hold, without the line end that editors put at their end.

    Raises InvalidSettings, which tells names and reasons, never what a file holds.
    """
    where = environment.get(DIRECTORY_VARIABLE)
    if not where:
        return {}
    values: dict[str, Any] = {}
    for path in _files(Path(where)):
        table, dot, name = path.name.removeprefix(_LOADED_AS).partition(".")
        if dot and name and table in _TABLES:
            values.setdefault(table, {})[name] = _content(path)
    return values


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise InvalidSettings(
            f"{directory}, which {DIRECTORY_VARIABLE} names, cannot be read: {error.strerror}"
        ) from error


def _content(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InvalidSettings(f"credential {path}: is larger than {LARGEST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSettings(f"credential {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidSettings(f"credential {path}: is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise InvalidSettings(f"credential {path}: is empty")
    return text
