"""The container's health check asks whichever of the two roles is there."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from container.files import DOCKER


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(b'{"healthy": true}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"0.0.0.0:{server.server_port}"
        server.shutdown()
        thread.join()


def nobody() -> str:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return f"127.0.0.1:{server.server_port}"


def asked(address: str, work_address: str) -> tuple[int, str]:
    environment = {"DISPATCHER_ADDRESS": address, "DISPATCHER_WORK_ADDRESS": work_address}
    done = subprocess.run(
        [sys.executable, "-IS", DOCKER / "health.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_answer_of_a_dispatcher_counts(status: int, code: int) -> None:
    with answering(status) as address:
        assert asked(address, nobody()) == (code, '{"healthy": true}\n')


def test_a_worker_is_asked_where_no_dispatcher_is() -> None:
    with answering(200) as address:
        assert asked(nobody(), address)[0] == 0


def test_where_nobody_answers_it_is_not_healthy() -> None:
    code, text = asked(nobody(), nobody())
    assert code == 1
    assert text.count("refused") == 2
