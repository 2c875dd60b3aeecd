"""A TCP proxy before a broker that knows Kafka's frames: it holds requests back, and delivers them late.

A request on the wire is 4 bytes of length, then api key and version (2 bytes each), a correlation id, and
the client's id. What is held reaches the broker when it is let go, even if the client gave up long ago:
as a packet does that was stuck in a network.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

END_TXN = 26
_HEADER = struct.Struct(">hhih")


@dataclass(frozen=True)
class Request:
    """A request as far as it is understood; of EndTxn whose it is, and whether it commits."""

    frame: bytes

    @property
    def api(self) -> int:
        """The kind of request."""
        return int(_HEADER.unpack_from(self.frame)[0])

    @property
    def correlation(self) -> int:
        """The number that the answer will carry."""
        return int(_HEADER.unpack_from(self.frame)[2])

    @property
    def transactional_id(self) -> str:
        """The id of an EndTxn, in the versions this client speaks."""
        _, _, _, client = _HEADER.unpack_from(self.frame)
        start = _HEADER.size + max(0, client)
        (size,) = struct.unpack_from(">h", self.frame, start)
        return self.frame[start + 2 : start + 2 + size].decode()

    @property
    def commits(self) -> bool:
        """Whether an EndTxn commits; else it aborts."""
        return self.frame[-1] == 1


class Hold:
    """An order to hold one EndTxn back; `cut` hangs up on its client at once, who will then try again."""

    def __init__(self, *, commit: bool, whose: str, cut: bool) -> None:
        self.commit, self.whose, self.cut = commit, whose, cut
        self.caught, self._released, self._answered = (threading.Event() for _ in range(3))
        self.correlation: int | None = None
        self.error: int | None = None
        """The error code by which the broker answered the late request; 0 is success."""

    def at_once(self) -> Self:
        """Let the request go when it comes: only its answer is lost, if the connection is cut."""
        self._released.set()
        return self

    def wants(self, request: Request) -> bool:
        """Return whether this is the request to hold."""
        return (
            request.api == END_TXN
            and request.commits == self.commit
            and request.transactional_id == self.whose
        )

    def release(self, seconds: float = 10) -> int:
        """Let the request go; return the error code of the broker's answer to it."""
        assert self.caught.is_set(), "nothing was held"
        self._released.set()
        assert self._answered.wait(seconds), "the broker did not answer the late request"
        assert self.error is not None
        return self.error

    def wait(self) -> None:
        """Wait for the release: the request's own thread does."""
        self._released.wait()

    def answer(self, reply: bytes) -> None:
        """Take in the broker's answer: correlation id, throttle time, error code."""
        (self.error,) = struct.unpack_from(">h", reply, 8)
        self._answered.set()


class Proxy:
    """Listens on one port of this machine and passes what comes on to another."""

    def __init__(self, port: int, target: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._target = target
        self._lock = threading.Lock()
        self._orders: list[Hold] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port))

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for each in (self._listener, *self._open):
                _hang_up(each)

    def hold(self, whose: str, *, commit: bool = True, cut: bool = True) -> Hold:
        """Hold back the next EndTxn of a transactional id that commits, or aborts."""
        order = Hold(commit=commit, whose=whose, cut=cut)
        with self._lock:
            self._orders.append(order)
        return order

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, broker}
            _Pipe(client, broker, self._order_for).start()

    def _order_for(self, request: Request) -> Hold | None:
        with self._lock:
            for order in self._orders:
                if order.wants(request):
                    self._orders.remove(order)
                    return order
        return None


class _Pipe:
    """One connection: a thread for requests, a thread for answers."""

    def __init__(
        self, client: socket.socket, broker: socket.socket, order_for: Callable[[Request], Hold | None]
    ) -> None:
        self._client, self._broker = client, broker
        self._order_for = order_for
        self._held: Hold | None = None

    def start(self) -> None:
        """Begin to pass on."""
        for work in (self._requests, self._answers):
            threading.Thread(target=work, name="proxy", daemon=True).start()

    def _requests(self) -> None:
        try:
            while (frame := _frame(self._client)) is not None:
                request = Request(frame)
                order = self._order_for(request)
                if order is not None:
                    self._hold(order, request)
                self._broker.sendall(struct.pack(">i", len(frame)) + frame)
                if order is not None and order.cut:
                    return
        except OSError:
            pass  # one side hung up, which is its right
        finally:
            if self._held is None:
                _hang_up(self._broker)

    def _hold(self, order: Hold, request: Request) -> None:
        order.correlation = request.correlation
        self._held = order
        if order.cut:
            _hang_up(self._client)
        order.caught.set()
        order.wait()

    def _answers(self) -> None:
        """Pass answers on; that to a late request is for the test, and ends its connection."""
        try:
            while (frame := _frame(self._broker)) is not None:
                held = self._held
                if held is not None and held.correlation == struct.unpack_from(">i", frame)[0]:
                    held.answer(frame)
                    return
                self._client.sendall(struct.pack(">i", len(frame)) + frame)
        except OSError:
            pass  # as above
        finally:
            _hang_up(self._client)
            _hang_up(self._broker)


def _frame(source: socket.socket) -> bytes | None:
    """Return the next frame without its length, None at the end."""
    length = _exactly(source, 4)
    return None if length is None else _exactly(source, struct.unpack(">i", length)[0])


def _exactly(source: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = source.recv(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _hang_up(each: socket.socket) -> None:
    """Close a socket that another thread may be waiting on."""
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
