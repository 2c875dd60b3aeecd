"""What processes of one worker say to one another: JSON values over a socket, each after its length."""

from __future__ import annotations

import json
import socket
from struct import Struct
from typing import Any

MOST = 64 * 1024 * 1024
"""The longest value in bytes; a length beyond it is none."""
_LENGTH = Struct("!I")
_CHUNK = 256 * 1024


class Lost(Exception):
    """The other side is gone, or what it says makes no sense (`nonsense`)."""

    def __init__(self, why: str, *, nonsense: bool = False) -> None:
        super().__init__(why)
        self.nonsense = nonsense


def send(channel: socket.socket, value: Any) -> None:
    """Say one value. Raises Lost when nobody takes it."""
    data = json.dumps(value, separators=(",", ":")).encode()
    try:
        channel.sendall(_LENGTH.pack(len(data)) + data)
    except OSError as error:
        raise Lost(str(error)) from error


def receive(channel: socket.socket) -> dict[str, Any]:
    """Wait for one value. Raises Lost at the end of what the other side says."""
    inbox = Inbox()
    while True:
        value = inbox.take(channel)
        if value is not None:
            return value


class Inbox:
    """Puts the pieces of one value after another together."""

    def __init__(self) -> None:
        self._data = bytearray()

    def take(self, channel: socket.socket) -> dict[str, Any] | None:
        """Read once, waiting as the socket does; return a value as soon as it is whole. Raises Lost.

        Values are answers to questions: nothing of the next one comes before this one is taken.
        """
        try:
            piece = channel.recv(min(_CHUNK, self._missing()))
        except OSError as error:
            raise Lost(str(error)) from error
        if not piece:
            raise Lost("it ended")
        self._data += piece
        if self._missing():
            return None
        data, self._data = self._data[_LENGTH.size :], bytearray()
        return _read(data)

    def _missing(self) -> int:
        """Return how many bytes are missing: of the length, or of the value."""
        if len(self._data) < _LENGTH.size:
            return _LENGTH.size - len(self._data)
        (length,) = _LENGTH.unpack_from(self._data)
        if length > MOST:
            raise Lost(f"it says something of {length} bytes", nonsense=True)
        return _LENGTH.size + int(length) - len(self._data)


def _read(data: bytearray) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Lost(f"it says what is not JSON: {error}", nonsense=True) from error
    if not isinstance(value, dict):
        raise Lost("it says what is no JSON object", nonsense=True)
    return value
