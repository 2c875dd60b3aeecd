"""Which names hide secrets. One rule for the settings table, the log lines and error texts."""

from __future__ import annotations

import re

MASK = "********"

_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|jaas|credential|authorization|(api|private|access|ssl)[._-]?key|\.key\b",
    re.IGNORECASE,
)
_ITSELF = re.compile(
    r"pass(word|wd|phrase)|secret|jaas|credential|key\.pem$|oauthbearer\.config$|kinit", re.IGNORECASE
)
_LEADS_TO_IT = (".location", ".file", ".url")
_OPEN_SASL = ("sasl.mechanism", "sasl.mechanisms", "sasl.kerberos.service.name")


def is_secret(name: str) -> bool:
    """Return whether a value by this name must never be shown.

    Of SASL everything is secret, the user's name too, except the mechanism and the service's name.
    """
    if name.lower().startswith("sasl."):
        return name.lower() not in _OPEN_SASL
    return _SECRET.search(name) is not None


def is_unfit_for_flags(name: str) -> bool:
    """Return whether a value by this name is a secret itself, not the name of somebody or of a file."""
    return _ITSELF.search(name) is not None and not name.lower().endswith(_LEADS_TO_IT)


def masked(name: str, value: object) -> object:
    """Return the value, or asterisks when its name is secret."""
    return MASK if is_secret(name) else value
