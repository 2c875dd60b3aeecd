"""A line between clients and a broker that can be cut, slowed and broken while both ends think it is there.

What is held while the line is silent arrives once it heals, as it does when TCP sends again after a
partition: late requests are part of the fault.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)
"""To linger for no time at all makes closing a reset."""


class Link:
    """Listens on one port of this machine and passes bytes on to another, well or badly."""

    def __init__(self, port: int, target: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.target = target
        """The port that new connections lead to."""
        self.delay = 0.0
        """Seconds that each piece takes on its way, in either direction."""
        self.rate = 0.0
        """Most bytes a second in each direction of a connection; 0 is no limit."""
        self.accepted = 0
        self._way = {"requests": threading.Event(), "answers": threading.Event()}
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self._forgotten: list[_Line] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.heal()

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, name="link", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in (*self._taken(), *self._forgotten):
            line.reset()

    def silence(self, *ways: str) -> None:
        """Pass nothing on any more, in both ways or one ("requests", "answers"); connections stay up."""
        for way in ways or self._way:
            self._way[way].clear()

    def heal(self) -> None:
        """Be a good line again; what was held goes out now."""
        self.delay, self.rate = 0.0, 0.0
        for way in self._way.values():
            way.set()

    def reset(self) -> None:
        """Break every connection by a reset (RST), in the middle of whatever it carries."""
        for line in self._taken():
            line.reset()

    def forget(self) -> None:
        """Let every connection there is fall silent for good: both ends keep half of it. New ones work."""
        for line in self._taken():
            line.forgotten = True
            self._forgotten.append(line)

    def _taken(self) -> list[_Line]:
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            line = _Line(self, client, broker)
            with self._lock:
                self.accepted += 1
                self._lines.append(line)
            for way, source, sink in (("requests", client, broker), ("answers", broker, client)):
                threading.Thread(target=line.pass_on, args=(way, source, sink), daemon=True).start()

    def may_pass(self, way: str) -> None:
        """Wait until this way is open."""
        self._way[way].wait()


class _Line:
    """One connection through the link."""

    def __init__(self, link: Link, client: socket.socket, broker: socket.socket) -> None:
        self._link, self._ends = link, (client, broker)
        self.forgotten = False

    def pass_on(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        """Carry what comes from one side to the other until one of them hangs up."""
        link = self._link
        with suppress(OSError):
            while piece := source.recv(_CHUNK):
                if self.forgotten:
                    return
                link.may_pass(way)
                seconds = link.delay + (len(piece) / link.rate if link.rate else 0.0)
                if seconds:
                    time.sleep(seconds)
                sink.sendall(piece)
        if not self.forgotten:
            self._hang_up()

    def reset(self) -> None:
        """Close both ends without a good-bye."""
        for each in self._ends:
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._hang_up()

    def _hang_up(self) -> None:
        for each in self._ends:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RD)  # wakes who waits on it, and says nothing to the other side
            each.close()
