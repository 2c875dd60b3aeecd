"""What keeps a client from its brokers: the library says it aside, and its calls only that time ran out."""

from __future__ import annotations

import re

from confluent_kafka import KafkaError

from dispatcher.kafka.config import Config
from dispatcher.kafka.faults import text_of

_DOWN = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - the library marks its own errors with an underscore
_UNTRUSTED = "certificate verify failed"
_WHEN = re.compile(r" \(after [^)]*\)")
_KNOWN_AS = re.compile(r"(\S+)/\d+: (?:Connect to|Failed to resolve)")
"""A broker with a number is addressed as it makes itself known, and no longer as the settings have it."""


class Complaints:
    """The last complaint of one client, whose settings are `added` to."""

    def __init__(self) -> None:
        self._last = ""

    def added(self, settings: Config) -> Config:
        """Return settings of a client whose complaints come here, whenever it is polled."""
        return {**settings, "error_cb": self._hear}

    def why(self, error: KafkaError) -> str:
        """Return why a call failed: what it says itself, the last complaint, and what that may mean."""
        told = [text_of(error), *filter(None, [self._last])]
        if astray := _KNOWN_AS.match(self._last):
            told.append(
                f"a broker did answer, and makes itself known as {astray[1]}, where nobody answers:"
                " see its advertised.listeners"
            )
        elif _UNTRUSTED in self._last:
            told.append(
                "the broker's certificate has expired, is of another host or of an authority that is not in"
                " ssl.ca.location: `openssl s_client -verify_return_error -connect` says which"
            )
        return "; ".join(told)

    def _hear(self, error: KafkaError) -> None:
        if error.code() != _DOWN:  # which only counts them
            self._last = _WHEN.sub("", error.str())
