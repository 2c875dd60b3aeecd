"""The `http` handler against a server that says what it should, and everything that it should not."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from handler_world import (
    PLANNED,
    Say,
    Server,
    answer,
    cancelled_meanwhile,
    failed,
    run,
    saying,
    serving,
    succeeded,
    task_of,
    until,
)
from programs import program
from pydantic import ValidationError

from dispatcher.core.outcome import Failed, Outcome
from dispatcher.work.handlers import http_line
from dispatcher.work.handlers.http import Http
from dispatcher.work.handlers.http_request import HttpPayload

MADE: list[Http] = []


def http(*, allow_private: bool = True, resolve: http_line.Resolve = http_line.resolve, **more: Any) -> Http:
    """Return a handler that is closed after the test."""
    handler = Http(allow_private=allow_private, now=lambda: PLANNED, resolve=resolve, **more)
    MADE.append(handler)
    return handler


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while MADE:
        MADE.pop().close()


def asked(say: Say, **payload: Any) -> Outcome:
    """Ask a server that says this, once."""
    with serving(say) as server:
        return run(http(), {"url": server.url, **payload})


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}


def timed(do: Callable[[], Outcome], most: float) -> Outcome:
    since = time.monotonic()
    outcome = do()
    assert time.monotonic() - since < most
    return outcome


# What is asked, and what comes back.


def test_status_and_body_are_the_result() -> None:
    assert succeeded(asked(saying(answer(body="Grüße".encode())))) == {
        "status": 200,
        "bytes": 7,
        "body": "Grüße",
    }


def test_the_fire_the_attempt_and_the_trace_are_told() -> None:
    with serving(saying(answer())) as server:
        run(http(), {"url": server.url}, attempt=3, traceparent="00-aa-bb-01")
    headers = headers_of(server.requests[0])
    assert headers["idempotency-key"] == "nightly%20report@2026-11-20T02:00:00Z"
    assert headers["dispatcher-attempt"] == "3"
    assert headers["traceparent"] == "00-aa-bb-01"
    assert headers["host"] == f"127.0.0.1:{server.port}"


def test_the_key_is_the_same_in_each_attempt_and_one_line_whatever_the_fire_is_called() -> None:
    with serving(saying(answer())) as server:
        for attempt in (1, 2):
            run(http(), {"url": server.url}, attempt=attempt, fire="a!\r\nX: y ü%")
    keys = {headers_of(request)["idempotency-key"] for request in server.requests}
    assert keys == {"a!%0D%0AX:%20y%20%C3%BC%25"}


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ("text ü", "text ü".encode(), "text/plain; charset=utf-8"),
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'.encode(), "application/json"),
        (0, b"0", "application/json"),
        (None, b"", None),
    ],
)
def test_a_body_is_sent_as_text_or_json(body: Any, sent: bytes, kind: str | None) -> None:
    with serving(saying(answer())) as server:
        succeeded(run(http(), {"url": f"{server.url}/p?q=1", "method": "POST", "body": body}))
    head, _, got = server.requests[0].partition(b"\r\n\r\n")
    assert got == sent
    assert head.startswith(b"POST /p?q=1 HTTP/1.1\r\n")
    assert headers_of(server.requests[0])["content-length"] == str(len(sent))
    assert headers_of(server.requests[0]).get("content-type") == kind


def test_own_headers_are_sent_and_own_names_win() -> None:
    given = {"X-A": "b", "content-type": "text/csv", "User-Agent": "me", "Authorization": "Bearer x"}
    with serving(saying(answer())) as server:
        run(http(), {"url": server.url, "method": "PUT", "body": "a,b", "headers": given})
    headers = headers_of(server.requests[0])
    assert {name.lower(): value for name, value in given.items()}.items() <= headers.items()
    assert server.requests[0].lower().count(b"content-type") == 1


def test_nothing_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(saying(answer())) as server:
        succeeded(run(http(), {"url": server.url}))
    assert "authorization" not in headers_of(server.requests[0])


def test_one_run_leaves_no_cookie_for_the_next_but_its_connection() -> None:
    handler = http()
    with serving(saying(answer(Set_Cookie="session=canary; Path=/"))) as server:
        for _ in range(3):
            succeeded(run(handler, {"url": server.url}))
        assert server.connections == 1
    assert all("cookie" not in headers_of(request) for request in server.requests)
    handler.close()


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    def say(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(answer())
        connection.shutdown(socket.SHUT_RDWR)

    handler = http()
    with serving(say) as server:
        succeeded(run(handler, {"url": server.url}))
        until(lambda: all(idle.has_expired() for idle in handler._pool.connections))
        succeeded(run(handler, {"url": server.url}))
        assert server.connections == 2


def test_many_runs_at_once_do_not_disturb_one_another() -> None:
    def say(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer(body=request.split(b" ")[1]))

    handler = http()
    results: dict[int, Any] = {}

    def one(number: int) -> None:
        for _ in range(5):
            results[number] = succeeded(run(handler, {"url": f"{server.url}/{number}"}))["body"]

    with serving(say) as server:
        threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert results == {number: f"/{number}" for number in range(20)}


# Statuses.


@pytest.mark.parametrize(
    ("status", "expected", "final"),
    [
        *((code, None, True) for code in (301, 304, 400, 401, 403, 404, 405, 410, 422)),
        *((code, None, False) for code in (408, 409, 423, 425, 429, 500, 502, 503, 504)),
        (200, [201], False),
        (404, ["500-599", 200], True),
    ],
)
def test_a_status_that_is_not_expected_fails(status: int, expected: Any, *, final: bool) -> None:
    more = {} if expected is None else {"expectStatus": expected}
    outcome = failed(asked(saying(answer(f"{status} X", b"why" if status != 304 else b"")), **more))
    assert f"status {status}" in outcome.reason
    assert outcome.final is final
    assert outcome.output == ("why" if status != 304 else "")


@pytest.mark.parametrize(
    ("status", "expected"), [(404, [404]), (404, ["400-499"]), (503, [200, 503]), (301, [301])]
)
def test_a_status_that_is_expected_succeeds(status: int, expected: Any) -> None:
    assert (
        succeeded(asked(saying(answer(f"{status} X", Location="/")), expectStatus=expected))["status"]
        == status
    )


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("120", 120_000), ("0", 0), (" 7 ", 7_000), ("99999999999999999999", 86_400_000),
        (formatdate(PLANNED / 1000 + 90, usegmt=True), 90_000),
        (formatdate(PLANNED / 1000 - 90, usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400_000),
        ("soon", None), ("-5", None), ("1.5", None), ("", None), ("٣", None), ("Fri, 99 Foo 2026", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heard_as_seconds_or_date(status: int, text: str, wait: int | None) -> None:
    said = answer(f"{status} X").replace(
        b"\r\n\r\n", f"\r\nRetry-After: {text}\r\n\r\n".encode("latin-1", "replace"), 1
    )
    assert failed(asked(saying(said))).retry_after_ms == wait


# Redirects.


def test_a_redirect_is_not_followed_unless_allowed() -> None:
    outcome = failed(asked(saying(answer("302 Found", Location="/there"), answer())))
    assert outcome.final
    assert "`redirects`" in outcome.reason


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", b"GET", b""), (302, "POST", b"GET", b""), (303, "PUT", b"GET", b""),
        (307, "POST", b"POST", b"x"), (308, "PUT", b"PUT", b"x"), (301, "PUT", b"PUT", b"x"),
        (302, "GET", b"GET", b"x"), (303, "HEAD", b"HEAD", b"x"),
    ],
)  # fmt: skip
def test_a_redirect_keeps_the_method_where_it_should(
    status: int, method: str, then: bytes, body: bytes
) -> None:
    with serving(saying(answer(f"{status} X", Location="/b?c"), answer())) as server:
        succeeded(run(http(), {"url": f"{server.url}/a", "method": method, "body": "x", "redirects": 1}))
    first, second = server.requests
    assert second.startswith(then + b" /b?c ")
    assert second.partition(b"\r\n\r\n")[2] == body
    assert headers_of(first)["idempotency-key"] == headers_of(second)["idempotency-key"]


def test_a_loop_of_redirects_ends() -> None:
    with serving(saying(answer("302 Found", Location="/"))) as server:
        outcome = failed(run(http(), {"url": server.url, "redirects": 3}))
    assert outcome.final
    assert len(server.requests) == 4


def test_another_host_gets_no_credentials() -> None:
    given = {
        "Authorization": "canary",
        "Cookie": "canary",
        "X-Api-Key": "canary",
        "X-Token": "canary",
        "X-A": "b",
    }
    with (
        serving(saying(answer())) as there,
        serving(saying(answer("307 X", Location=there.url))) as here,
    ):
        succeeded(run(http(), {"url": here.url, "headers": given, "redirects": 1}))
    assert here.requests[0].count(b"canary") == 4
    assert b"canary" not in there.requests[0]
    assert headers_of(there.requests[0])["x-a"] == "b"


@pytest.mark.parametrize(
    "location",
    [
        *("http://169.254.169.254/latest/meta-data/", "http://2130706433/", "http://u@example.com/"),
        *("ftp://example.com/", "http://[fd00:ec2::254]/", "//0x7f.1/", "http://metadata.google.internal/"),
        *("http://[", "http://example.com./", "file:///etc/passwd", "http://\x7f/"),
    ],
)
def test_a_redirect_that_leads_astray_is_refused(location: str) -> None:
    outcome = failed(asked(saying(answer("302 Found", Location=location)), redirects=3))
    assert outcome.final
    assert "a redirect leads" in outcome.reason


# Names and addresses.


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note the addresses that are connected to, and get to a server of this test instead."""
    addresses: list[str] = []
    with serving(saying(answer("302 Found", Location="http://private.example/"))) as server:

        def connect(address: str, _port: int, line: http_line.Line, _remaining: int) -> socket.socket:
            addresses.append(address)
            made = socket.create_connection(("127.0.0.1", server.port), line.seconds())
            line.hold(made)
            return made

        monkeypatch.setattr(http_line, "_connect", connect)
        yield addresses


def test_a_name_that_changes_its_answer_gains_nothing(connected: list[str]) -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    handler = http(allow_private=False, resolve=lambda _host, _port: answers.pop(0))
    failed(run(handler, {"url": "http://rebinding.example/"}))
    assert connected == ["93.184.216.34"]
    assert answers == [["127.0.0.1"]]
    handler.close()
    handler = http(allow_private=False, resolve=lambda _host, _port: answers.pop(0))
    assert "is private" in failed(run(handler, {"url": "http://rebinding.example/"})).reason
    assert connected == ["93.184.216.34"]


@pytest.mark.parametrize(
    "addresses", [["93.184.216.34", "10.0.0.1"], ["127.0.0.1"], ["::1"], ["fe80::1%2"], ["::ffff:127.0.0.1"]]
)
def test_a_name_with_one_private_address_is_refused(connected: list[str], addresses: Sequence[str]) -> None:
    handler = http(allow_private=False, resolve=lambda _host, _port: addresses)
    outcome = failed(run(handler, {"url": "http://mixed.example/"}))
    assert outcome.final
    assert "mixed.example" in outcome.reason
    assert connected == []


def test_each_redirect_is_judged_again(connected: list[str]) -> None:
    names = {"public.example": ["93.184.216.34"], "private.example": ["10.1.2.3"]}
    handler = http(allow_private=False, resolve=lambda host, _port: names[host])
    outcome = failed(run(handler, {"url": "http://public.example/", "redirects": 3}))
    assert "private.example at 10.1.2.3" in outcome.reason
    assert connected == ["93.184.216.34"]


def test_metadata_stays_out_of_reach_where_private_addresses_are_allowed(connected: list[str]) -> None:
    handler = http(resolve=lambda _host, _port: ["169.254.169.254"])
    assert "metadata" in failed(run(handler, {"url": "http://innocent.example/"})).reason
    assert connected == []


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with serving(saying(answer())) as server:
        handler = http(resolve=lambda _host, _port: ["127.0.0.2", "127.0.0.1"])
        succeeded(run(handler, {"url": f"http://two.example:{server.port}/"}))
    assert headers_of(server.requests[0])["host"] == f"two.example:{server.port}"


def test_localhost_is_private_by_the_system_resolver() -> None:
    assert "is private" in failed(run(http(allow_private=False), {"url": "http://localhost:1/"})).reason


def test_a_name_without_an_address_may_get_one_later() -> None:
    def resolve(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    outcome = failed(run(http(resolve=resolve), {"url": "http://nowhere.example/"}))
    assert not outcome.final
    assert "cannot be resolved" in outcome.reason
    assert "may have been done" not in outcome.reason


def test_a_resolver_that_hangs_is_left_behind() -> None:
    released = threading.Event()

    def resolve(_host: str, _port: int) -> Sequence[str]:
        released.wait(30)
        return []

    payload = {"url": "http://slow.example/", "timeoutSeconds": 0.2}
    outcome = failed(timed(lambda: run(http(resolve=resolve), payload), 5))
    assert "within 0.2 s" in outcome.reason
    released.set()


def test_a_run_in_the_resolver_can_be_cancelled() -> None:
    reached, released = threading.Event(), threading.Event()

    def resolve(_host: str, _port: int) -> Sequence[str]:
        reached.set()
        released.wait(30)
        return []

    cancelled_meanwhile(http(resolve=resolve), {"url": "http://slow.example/"}, reached.is_set)
    released.set()


# Servers that do not behave.


def drip(said: bytes, then: bytes) -> Say:
    """Say something, then one small piece after the other, without end."""

    def say(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(said)
        pause = threading.Event()
        while True:
            connection.sendall(then)
            pause.wait(0.02)

    return say


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    ],
    ids=["status", "headers", "continue", "body", "chunks", "unbounded"],
)
def test_a_server_that_drips_is_not_waited_for(said: bytes, then: bytes) -> None:
    outcome = failed(timed(lambda: asked(drip(said, then), timeoutSeconds=0.4), 5))
    assert not outcome.final
    assert "may have been done" in outcome.reason


@pytest.mark.parametrize(("own", "job"), [(0.2, 30.0), (30.0, 0.2), (None, 0.2), (0.2, None)], ids=str)
def test_the_shorter_limit_counts(own: float | None, job: float | None) -> None:
    with serving(lambda _connection, _request: None) as server:
        payload = {"url": server.url, "timeoutSeconds": own}
        outcome = failed(timed(lambda: run(http(), payload, seconds=job), 5))
    assert "within 0.2 s" in outcome.reason


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: ",
    ],
    ids=["unbounded", "chunk", "length", "header"],
)
def test_an_endless_answer_is_cut_off(said: bytes) -> None:
    def say(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(said)
        while True:
            connection.sendall(b"x" * 65536)

    outcome = failed(timed(lambda: asked(say, maxBytes=100_000), 30))
    assert outcome.final is ("larger than 100000 bytes" in outcome.reason)


def test_endless_small_headers_are_cut_off() -> None:
    def say(connection: socket.socket, _request: bytes) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    assert "larger than" in failed(timed(lambda: asked(say, maxBytes=1000), 30)).reason


def test_a_bomb_does_not_go_off() -> None:
    packed = gzip.compress(bytes(64 << 20), 9)
    tracemalloc.start()
    outcome = failed(asked(saying(answer(body=packed, Content_Encoding="gzip")), maxBytes=1_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(packed) < 100_000
    assert "larger than 1000000 bytes" in outcome.reason
    assert outcome.final
    assert peak < 8 << 20


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_a_packed_answer_is_unpacked(encoding: str) -> None:
    said = answer(body=gzip.compress(b"hello" * 100_000), Content_Encoding=encoding)
    result = succeeded(asked(saying(said)))
    assert result["bytes"] == 500_000
    assert result["body"] == ("hello" * 1000)[:4096]


def test_what_only_says_that_it_is_packed_fails() -> None:
    assert "encoding" in failed(asked(saying(answer(body=b"plain", Content_Encoding="gzip")))).reason


def test_what_follows_a_packed_body_is_left_alone() -> None:
    said = answer(body=gzip.compress(b"hello") + b"x" * 100_000, Content_Encoding="gzip")
    assert succeeded(asked(saying(said)))["body"] == "hello"


def test_a_body_is_kept_as_far_as_its_first_4_kib_and_never_half_a_character() -> None:
    result = succeeded(asked(saying(answer(body="€".encode() * 5000))))
    assert result["body"] == "€" * (4096 // 3)
    assert result["bytes"] == 15_000


def test_a_body_that_is_no_text_is_kept_as_far_as_it_is() -> None:
    result = succeeded(asked(saying(answer(body=b"\xff\x00\xed\xa0\x80ok"))))
    json.dumps(result).encode()
    assert result["body"].endswith("ok")


def reset(connection: socket.socket, _request: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def cut(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "say",
    [
        reset,
        cut,
        lambda connection, _request: connection.shutdown(socket.SHUT_RDWR),
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nrubbish\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"),
        saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        saying(b"\x00" * 100 + b"\r\n\r\n"),
        saying(b"HTTP/1.1 999999 X\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        saying(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
    ],
    ids=["reset", "cut", "silence", "chunk", "negative", "ssh", "zeros", "status", "lengths", "upgrade"],
)
def test_an_answer_that_is_none_may_mean_that_it_was_done(say: Say) -> None:
    outcome = failed(asked(say))
    assert not outcome.final
    assert "may have been done, another attempt asks with the same Idempotency-Key" in outcome.reason


def test_a_closed_port_means_that_nothing_was_done() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    outcome = failed(run(http(), {"url": f"http://127.0.0.1:{port}/"}))
    assert not outcome.final
    assert outcome.reason.startswith("no connection: ")
    assert "may have been done" not in outcome.reason


def test_an_early_answer_to_a_large_body_is_heard() -> None:
    def say(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(answer("413 Too Large", b"no"))
        connection.shutdown(socket.SHUT_RDWR)

    class Early(Server):
        def _request(self, connection: socket.socket) -> bytes:
            return connection.recv(1000)

    server = Early(say)
    outcome = failed(run(http(), {"url": server.url, "method": "POST", "body": "x" * 20_000_000}))
    server.close()
    assert "413" in outcome.reason or "may have been done" in outcome.reason


# Being cancelled.


def test_a_run_that_waits_for_an_answer_is_cancelled_at_once() -> None:
    with serving(lambda _connection, _request: None) as server:
        cancelled_meanwhile(http(), {"url": server.url}, lambda: bool(server.requests))


def test_a_run_that_reads_an_answer_is_cancelled_at_once() -> None:
    with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as server:
        cancelled_meanwhile(http(), {"url": server.url}, lambda: bool(server.requests))


@pytest.fixture
def full() -> Iterator[int]:
    """A port where connections are not accepted any more, nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        port = listening.getsockname()[1]
        waiting = []
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)  # noqa: FBT003 - the library's own
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        yield port
        for one in waiting:
            one.close()


def test_a_run_that_connects_is_cancelled_at_once(full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    hold = http_line.Line.hold

    def told(line: http_line.Line, used: socket.socket) -> None:
        hold(line, used)
        begun.set()

    monkeypatch.setattr(http_line.Line, "hold", told)
    cancelled_meanwhile(http(), {"url": f"http://127.0.0.1:{full}/"}, begun.is_set)


def test_a_connection_that_does_not_come_about_ends_with_the_time(full: int) -> None:
    payload = {"url": f"http://127.0.0.1:{full}/", "timeoutSeconds": 0.3}
    outcome = failed(timed(lambda: run(http(), payload), 5))
    assert "within 0.3 s" in outcome.reason
    assert "may have been done" not in outcome.reason


def test_a_run_that_is_cancelled_before_it_begins_asks_nothing() -> None:
    with serving(saying(answer())) as server:
        handler = http()
        task = task_of(handler, {"url": server.url})
        task.cancel.set("the job was cancelled")
        handler.run(task)
    assert server.requests == []


def test_a_cancel_that_comes_too_late_does_not_disturb_the_next_run() -> None:
    handler = http()
    with serving(saying(answer())) as server:
        task = task_of(handler, {"url": server.url})
        succeeded(handler.run(task))
        task.cancel.set("too late")
        succeeded(run(handler, {"url": server.url}))
        assert server.connections == 1


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of `good.example`, in one file."""
    program("openssl", "openssl")
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"),
            *("-addext", "subjectAltName=DNS:good.example", "-keyout", str(made), "-out", str(made) + ".crt"),
        ],
        check=True,
        capture_output=True,
    )
    made.write_text(made.read_text() + Path(f"{made}.crt").read_text())
    return made


def tls_server(certificate: Path) -> Server:
    """Return a server that talks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Secure(Server):
        def _serve(self, connection: socket.socket) -> None:
            try:
                secure = context.wrap_socket(connection, server_side=True)
            except OSError:
                return
            super()._serve(secure)

    return Secure(saying(answer(body=b"safe")))


def test_tls_is_checked_against_the_name_not_the_address(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=f"{certificate}.crt")
    handler = http(resolve=lambda _host, _port: ["127.0.0.1"], tls=trusting)
    server = tls_server(certificate)
    assert succeeded(run(handler, {"url": f"https://good.example:{server.port}/"}))["body"] == "safe"
    for wrong in ("other.example", "127.0.0.1"):
        outcome = failed(run(handler, {"url": f"https://{wrong}:{server.port}/"}))
        assert "no TLS" in outcome.reason
        assert "may have been done" not in outcome.reason
    assert "no TLS" in failed(run(http(), {"url": f"https://127.0.0.1:{server.port}/"})).reason
    assert len(server.requests) == 1
    server.close()


def test_a_redirect_does_not_lead_out_of_tls(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=f"{certificate}.crt")
    server = tls_server(certificate)
    server._say = saying(answer("302 Found", Location="http://good.example/"))
    handler = http(resolve=lambda _host, _port: ["127.0.0.1"], tls=trusting)
    payload = {"url": f"https://good.example:{server.port}/", "redirects": 1}
    assert "from https to http" in failed(run(handler, payload)).reason
    server.close()


def test_a_handshake_that_does_not_go_on_ends_with_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        outcome = timed(lambda: run(http(), {"url": url, "timeoutSeconds": 0.3}), 5)
        assert "within 0.3 s" in failed(outcome).reason
        accepted = threading.Event()

        def accept() -> None:
            kept.extend(silent.accept()[0] for _ in range(2))
            accepted.set()

        kept: list[socket.socket] = []
        threading.Thread(target=accept, daemon=True).start()
        cancelled_meanwhile(http(), {"url": url}, accepted.is_set)
        for one in kept:
            one.close()


# Payloads.


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"url": "http://x/", "more": 1},
        {"url": 1},
        {"url": "http://x/", "method": "get"},
        {"url": "http://x/", "method": "CONNECT"},
        {"url": "http://x/", "method": "TRACE"},
        {"url": "http://x/", "headers": {"A": 1}},
        {"url": "http://x/", "headers": {"A": "b\r\nC: d"}},
        {"url": "http://x/", "headers": {"A": "b\n"}},
        {"url": "http://x/", "headers": {"A\r\nB": "c"}},
        {"url": "http://x/", "headers": {"A:": "c"}},
        {"url": "http://x/", "headers": {"A": "ü"}},
        {"url": "http://x/", "headers": {"Host": "y"}},
        {"url": "http://x/", "headers": {"transfer-encoding": "chunked"}},
        {"url": "http://x/", "headers": {"Idempotency-Key": "y"}},
        {"url": "http://x/", "headers": {"a": "1", "A": "2"}},
        {"url": "http://x/", "timeoutSeconds": 0},
        {"url": "http://x/", "timeoutSeconds": "5"},
        {"url": "http://x/", "timeout_seconds": 5},
        {"url": "http://x/", "maxBytes": -1},
        {"url": "http://x/", "redirects": 4},
        {"url": "http://x/", "redirects": True},
        {"url": "http://x/", "expectStatus": []},
        {"url": "http://x/", "expectStatus": 200},
        {"url": "http://x/", "expectStatus": [99]},
        {"url": "http://x/", "expectStatus": ["2xx"]},
        {"url": "http://x/", "expectStatus": ["200-2999"]},
    ],
    ids=str,
)
def test_a_payload_that_is_not_understood_is_refused(payload: Any) -> None:
    with pytest.raises(ValidationError):
        HttpPayload.model_validate(payload)


@pytest.mark.parametrize("text", ["{{7*7}}", "${7*7}", "{0.__class__}", "%(password)s"])
def test_nothing_in_a_payload_is_a_template(text: str) -> None:
    with serving(saying(answer())) as server:
        succeeded(run(http(), {"url": server.url, "method": "POST", "body": text, "headers": {"X": text}}))
    assert server.requests[0].endswith(text.encode())
    assert headers_of(server.requests[0])["x"] == text


def test_a_body_with_half_a_character_is_told() -> None:
    outcome = failed(run(http(), {"url": "http://127.0.0.1:1/", "method": "POST", "body": {"a": "\ud800"}}))
    assert outcome.final
    assert "half a character" in outcome.reason


def test_a_failure_does_not_show_what_is_secret_in_a_url() -> None:
    for url in ("http://127.0.0.1:1/canary?token=canary", "http://10.0.0.1/canary", "http://\x7f/canary"):
        outcome: Failed = failed(run(http(allow_private=False), {"url": url}))
        assert "canary" not in outcome.reason


def test_a_reason_is_short_whatever_the_server_says() -> None:
    outcome = failed(asked(saying(b"HTTP/1.1 x" + b"y" * 50_000 + b"\r\n\r\n")))
    assert len(outcome.reason) < 600
