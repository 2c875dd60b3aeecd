"""The server of views: what it answers, what it refuses, and that no client can keep others out."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from typing import Any

import pytest
from structlog.testing import capture_logs
from waitress import wasyncore

from dispatcher.api import server as served
from dispatcher.api.server import Answer, ViewServer, json_answer
from dispatcher.errors import InvalidSettings
from dispatcher.service import Deadline


def broken() -> Answer:
    raise ValueError("secret=hunter2")


@pytest.fixture
def server() -> Iterator[ViewServer]:
    server = ViewServer(
        "127.0.0.1:0", "address",
        {
            "/health": lambda: json_answer({"healthy": True}),
            "/ready": lambda: json_answer({"ready": False}, HTTPStatus.SERVICE_UNAVAILABLE),
            "/metrics": lambda: Answer(b"m 1\n", kind="text/plain"),
            "/broken": broken,
        },
    )  # fmt: skip
    server.start()
    yield server
    server.stop()
    assert server.join(Deadline(5))


def ask(
    server: ViewServer, path: str, method: str = "GET", **more: Any
) -> tuple[int, http.client.HTTPMessage, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request(method, path, **more)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def raw(server: ViewServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=15)


def test_pages_are_answered_with_their_kind_and_status(server: ViewServer) -> None:
    status, headers, body = ask(server, "/health")
    assert (status, headers["Content-Type"], json.loads(body)) == (200, "application/json", {"healthy": True})
    assert (headers["Cache-Control"], headers["Server"]) == ("no-store", None)
    assert ask(server, "/ready")[0] == 503
    status, headers, body = ask(server, "/metrics?name=x")
    assert (status, headers["Content-Type"], body) == (200, "text/plain", b"m 1\n")


def test_what_is_not_there_says_what_is(server: ViewServer) -> None:
    status, _, body = ask(server, "/")
    assert (status, json.loads(body)["paths"]) == (404, ["/broken", "/health", "/metrics", "/ready"])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_but_get_and_head_is_answered(server: ViewServer, method: str) -> None:
    status, headers, _ = ask(server, "/health", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_length_and_no_body(server: ViewServer) -> None:
    status, headers, body = ask(server, "/metrics", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "4", b"")


def test_a_page_at_fault_says_nothing_of_why(server: ViewServer) -> None:
    status, _, body = ask(server, "/broken")
    assert status == 500
    assert b"hunter2" not in body
    assert ask(server, "/health")[0] == 200


def refused(server: ViewServer, method: str = "GET", **more: Any) -> bool:
    """Return whether a request is refused; the server may hang up before all of it was sent."""
    try:
        return ask(server, "/health", method, **more)[0] in (405, 413, 431)
    except OSError:
        return True


def test_a_request_that_is_too_large_is_refused(server: ViewServer) -> None:
    assert refused(server, headers={"X-Long": "x" * 9_000})
    assert refused(server, "POST", body=b"x" * 2_000)
    assert refused(server, body=b"x")
    assert refused(server, "POST", body=iter([b"x" * 1_000] * 3), encode_chunked=True)
    assert ask(server, "/health")[0] == 200


def test_what_is_no_request_is_refused(server: ViewServer) -> None:
    with closing(raw(server)) as connection:
        connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 400")


def test_a_client_that_trickles_is_cut_off_however_steadily(
    server: ViewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "_LIFE_SECONDS", 0.5)
    with closing(raw(server)) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nX: ")
        slow.settimeout(0.1)
        end = time.monotonic() + 10
        while True:
            assert time.monotonic() < end, "it was never cut off"
            try:
                slow.sendall(b"x")
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break


def test_many_slow_clients_do_not_keep_others_out(
    server: ViewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "_MOST_CONNECTIONS", 5)
    slow = [raw(server) for _ in range(20)]
    try:
        for one in slow:
            one.sendall(b"GET /health HTTP/1.1\r\n")
        began = time.monotonic()
        assert ask(server, "/health")[0] == 200
        assert time.monotonic() - began < 2
        assert len(server._map) <= 8
    finally:
        for one in slow:
            one.close()


def test_pages_may_be_changed_while_it_runs(server: ViewServer) -> None:
    server.show({"/other": lambda: json_answer({})})
    assert (ask(server, "/health")[0], ask(server, "/other")[0]) == (404, 200)


def test_an_address_that_cannot_be_had_is_a_sentence() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSettings, match=rf"^address 127\.0\.0\.1:{port}: cannot be listened on: A"):
            ViewServer(f"127.0.0.1:{port}", "address", {})
    with pytest.raises(InvalidSettings, match=r"^work_address no\.such\.invalid:1: cannot be listened on"):
        ViewServer("no.such.invalid:1", "work_address", {})


def test_a_server_that_never_began_ends_too_and_lets_its_address_go() -> None:
    server = ViewServer("127.0.0.1:0", "address", {})
    server.stop()
    assert server.join(Deadline(1))
    again = ViewServer(f"127.0.0.1:{server.port}", "address", {})
    again.stop()
    assert again.join(Deadline(1))


def test_an_address_of_the_other_protocol_is_understood() -> None:
    server = ViewServer("[::1]:0", "address", {})
    server.stop()
    assert server.join(Deadline(1))


def test_a_server_that_ends_by_a_defect_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(wasyncore, "loop", fail)
    server = ViewServer("127.0.0.1:0", "address", {})
    with capture_logs() as told:
        server.start()
        assert server.join(Deadline(10))
    assert [one["thread"] for one in told if one["event"] == "thread.failed"] == ["views"]
