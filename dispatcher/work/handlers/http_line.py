"""The network under the `http` handler: every wait ends with its run, and no name leads astray.

The pool of connections is shared by all runs, so each operation asks which run its thread is doing. That
run's limit bounds it, whatever time-out the layers above have in mind: a server that sends a byte now and
then gains nothing. A cancelled run shuts its socket down, which ends any wait for it at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from httpcore import ConnectError, NetworkBackend, NetworkStream, WriteError

from dispatcher.work.handlers.http_guard import check_addresses, is_literal
from dispatcher.work.handlers.limit import Aside, Limit, Overdue

Resolve = Callable[[str, int], Sequence[str]]
"""Takes a host's name and a port, returns addresses. May take its time; raises OSError."""

FRAMING_BYTES = 262_144
"""What status lines, headers and chunk sizes may take besides the body."""


class TooMuch(Exception):
    """More bytes came than the run takes."""


def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class Line:
    """One run's hold on the network: its limit, its socket, what it sent and how much it got."""

    def __init__(self, limit: Limit, most_bytes: int) -> None:
        self.limit = limit
        self.asked = False
        self._most = most_bytes + FRAMING_BYTES
        self._got = 0
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        limit.cancel.then(self._end)

    def seconds(self) -> float:
        """Return how long the next operation may take. Raises Ended or Overdue when there is no time."""
        self.limit.check()
        return max(0.001, self.limit.left())

    def hold(self, used: socket.socket) -> None:
        """Have a socket shut down when the run is cancelled."""
        with self._lock:
            self._socket = used
        self.limit.check()

    def let_go(self, used: socket.socket | None = None) -> None:
        """End the run's hold on a socket, on any without one given: it may serve another run."""
        with self._lock:
            if used is None or used is self._socket:
                self._socket = None

    def count(self, got: int) -> None:
        """Note that bytes came. Raises TooMuch when they are too many."""
        self._got += got
        if self._got > self._most:
            raise TooMuch

    def _end(self) -> None:
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it may not be connected yet, or not any more
                    # Not the method of a TLS socket: that would go on in clear text.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Here(threading.local):
    """Which line the present thread is on."""

    line: Line | None = None

    def now(self) -> Line:
        """Return the line; there is one whenever the pool touches the network."""
        assert self.line is not None, "the network is only used within a run"
        return self.line


class Backend(NetworkBackend):
    """Connects to addresses that were judged, and to no other."""

    def __init__(self, here: Here, resolve: Resolve, *, allow_private: bool) -> None:
        self._here = here
        self._resolve = resolve
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> NetworkStream:
        """Resolve once, judge every address, connect to the first that answers."""
        del timeout, local_address, socket_options
        line = self._here.now()
        addresses = self._addresses(host, port, line)
        check_addresses(host, addresses, allow_private=self._allow_private)
        failure: OSError | None = None
        for index, address in enumerate(addresses):
            try:
                return Stream(self._here, _connect(address, port, line, len(addresses) - index))
            except OSError as error:
                line.limit.check()
                failure = error
        if isinstance(failure, TimeoutError):
            raise Overdue
        raise ConnectError(f"{failure or 'the name has no address'}")

    def _addresses(self, host: str, port: int, line: Line) -> Sequence[str]:
        if is_literal(host):
            return [host]
        try:
            return Aside(lambda: self._resolve(host, port)).get(line.limit)
        except (OSError, UnicodeError) as error:
            raise ConnectError(f"the name cannot be resolved: {error}") from error


def _connect(address: str, port: int, line: Line, remaining: int) -> socket.socket:
    """Connect to one of so many addresses that are still to be tried, in its share of the time."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.settimeout(line.seconds() / remaining)
        line.hold(made)
        made.connect((address, port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        line.let_go()
        made.close()
        raise
    return made


class Stream(NetworkStream):
    """A connection whose every operation is bounded by the run that does it."""

    def __init__(self, here: Here, connected: socket.socket) -> None:
        self._here = here
        self._socket = connected

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what comes next, empty at the end."""
        del timeout
        line = self._ready()
        try:
            got = self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise Overdue from error
        line.limit.check()
        line.count(len(got))
        return got

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        del timeout
        rest = memoryview(buffer)
        while rest:
            line = self._ready()
            line.asked = True
            try:
                rest = rest[self._socket.send(rest) :]
            except OSError as error:
                line.limit.check()
                raise WriteError(str(error)) from error  # the answer may be there nevertheless

    def close(self) -> None:
        """Close the connection; from here on no run may shut it down, its number may soon be another's."""
        line = self._here.line
        if line is not None:
            line.let_go(self._socket)
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        """Return the connection in TLS, the certificate checked against the host's name."""
        del timeout
        line = self._ready()
        wrapped = ssl_context.wrap_socket(
            self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
        )
        try:
            wrapped.settimeout(line.seconds())
            line.hold(wrapped)
            wrapped.do_handshake()
        except TimeoutError as error:
            wrapped.close()
            raise Overdue from error
        except OSError as error:
            wrapped.close()
            line.limit.check()
            raise ConnectError(f"no TLS: {error}") from error
        return Stream(self._here, wrapped)

    def get_extra_info(self, info: str) -> Any:
        """Tell the pool whether an idle connection was closed by the other side."""
        return _readable(self._socket) if info == "is_readable" else None

    def _ready(self) -> Line:
        line = self._here.now()
        self._socket.settimeout(line.seconds())
        line.hold(self._socket)
        return line


def _readable(idle: socket.socket) -> bool:
    if idle.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(idle, select.POLLIN)
    return bool(poll.poll(0))
