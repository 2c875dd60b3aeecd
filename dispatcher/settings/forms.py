"""The forms that values of settings take: each reads a value, or raises ValueError saying what it must be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_BROKER = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.]+\]|[^\s:/,\[\]]+)(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,179}")
_PLAIN = re.compile(r"[\x21-\x7e]{1,200}")


def broker_list(text: str | None) -> str | None:
    """Return the list of brokers without blanks; raise ValueError for what is no `host:port` list."""
    if text is None:
        return None
    brokers = [part.strip() for part in text.split(",")]
    if not all(_BROKER.fullmatch(broker) for broker in brokers):
        raise ValueError("must be host:port, several of them separated by commas")
    return ",".join(brokers)


def topic_prefix(text: str) -> str:
    """Return the prefix; raise ValueError for what cannot begin a topic's name."""
    if not _PREFIX.fullmatch(text):
        raise ValueError(
            "must be 1-180 letters, digits, dots, dashes or underscores, first a letter or digit"
        )
    return text


def plain_name(text: str) -> str:
    """Return the name; raise ValueError for one with blanks, control characters or other than ASCII."""
    if not _PLAIN.fullmatch(text):
        raise ValueError("must be 1-200 printable ASCII characters without blanks")
    return text


def address(text: str | None) -> str | None:
    """Return host:port; raise ValueError for what is none."""
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    if not host or not colon or not port.isdecimal() or not 0 <= int(port) <= 65_535:
        raise ValueError("must be host:port, e.g. 127.0.0.1:9465")
    return text


def properties(value: object) -> object:
    """Return the table with dotted names and text values, as librdkafka takes them."""
    return dict(flat(value)) if isinstance(value, Mapping) else value


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables under dotted names; numbers and truth values as text."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, (bool, int, float)):
            yield f"{prefix}{name}", str(value).lower()
        else:
            yield f"{prefix}{name}", value


def names(value: object) -> object:
    """Return the parts of a text separated by commas; lists, as TOML has them, stay as they are."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value
