"""What tests of handlers stand on: tasks, and a server that says whatever a test wants said."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dispatcher.core.instant import from_text
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.work.handling import Cancel, Handler, Task

PLANNED = from_text("2026-11-20T02:00:00Z")
FIRE = "nightly report@2026-11-20T02:00:00Z"
Say = Callable[[socket.socket, bytes], None]
"""Answers a request, head and body, on its connection."""


def task_of(handler: Handler, payload: Any, **more: Any) -> Task:
    """Return a first attempt with a payload as it stands in the schedule."""
    given = {
        "fire": FIRE, "attempt": 1, "job": "nightly report", "planned": PLANNED, "cancel": Cancel(), **more
    }  # fmt: skip
    return Task(payload=handler.payload.model_validate(payload), **given)


def run(handler: Handler, payload: Any, **more: Any) -> Outcome:
    return handler.run(task_of(handler, payload, **more))


def succeeded(outcome: Outcome) -> Any:
    """Return the result of a run that succeeded."""
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def cancelled_meanwhile(
    handler: Handler, payload: Any, going_on: Callable[[], bool], within: float = 2.0
) -> Cancelled:
    """Cancel a run once it is going on; return its outcome, which must come soon."""
    task = task_of(handler, payload)
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(handler.run(task)))
    thread.start()
    until(going_on)
    since = time.monotonic()
    task.cancel.set("the job was cancelled")
    thread.join(10)
    assert outcomes, "the run goes on"
    assert time.monotonic() - since < within
    assert isinstance(outcomes[0], Cancelled), outcomes[0]
    assert outcomes[0].reason == "the job was cancelled"
    return outcomes[0]


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        assert time.monotonic() < end, "it does not become true"
        pause.wait(0.01)


class Server:
    """A server on a free loopback port; each connection gets its requests answered by `say`."""

    def __init__(self, say: Say) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._say = say
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while request := self._request(connection):
                self.requests.append(request)
                self._say(connection, request)

    def _request(self, connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            got = connection.recv(65536)
            if not got:
                return b""
            request += got
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


@contextmanager
def serving(say: Say) -> Iterator[Server]:
    server = Server(say)
    try:
        yield server
    finally:
        server.close()


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """Return a whole answer as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def saying(*answers: bytes) -> Say:
    """Answer each request by the next of these, the last one for ever."""
    left = list(answers)

    def say(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return say
