"""A small HTTP server for figures: `/metrics` for Prometheus, `/wanted` for autoscalers. It only reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog

from dispatcher.errors import InvalidSettings
from dispatcher.service import Deadline

_TIMEOUT_SECONDS = 10.0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT_SECONDS  # a client that says nothing holds no thread for longer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Log nothing: scrapes come every few seconds."""


class FiguresServer:
    """A service that answers GET. `text` gives the exposition of all metrics, `wanted` what is wanted."""

    def __init__(
        self, address: str, text: Callable[[], bytes], wanted: Callable[[], Mapping[str, Any]]
    ) -> None:
        host, _, port = address.rpartition(":")
        self._text = text
        self._wanted = wanted
        try:
            self._server = make_server(
                host.strip("[]"), int(port), self._answer, server_class=_Server, handler_class=_Handler
            )
        except OSError as error:
            raise InvalidSettings(
                f"work_address {address}: cannot be listened on: {error.strerror}; give another host:port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="figures", daemon=True)
        self._stopped = False

    @property
    def port(self) -> int:
        """The port that is listened on; of use where 0 was asked for."""
        return int(self._server.server_port)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        structlog.get_logger().info("figures.served", port=self.port)

    def stop(self) -> None:
        """Answer no more."""
        if not self._stopped and self._thread.ident is not None:
            self._stopped = True
            threading.Thread(target=self._server.shutdown, daemon=True).start()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end."""
        if self._thread.ident is not None:
            self._thread.join(deadline.left())
        self._server.server_close()
        return not self._thread.is_alive()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        pages: dict[str, tuple[str, Callable[[], bytes]]] = {
            "/metrics": ("text/plain; version=0.0.4; charset=utf-8", self._text),
            "/wanted": ("application/json", lambda: json.dumps(dict(self._wanted())).encode()),
        }
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Allow", "GET, HEAD")])
            return [b"this only answers GET\n"]
        page = pages.get(environ.get("PATH_INFO", ""))
        if page is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there are /metrics and /wanted\n"]
        body = page[1]()
        start_response("200 OK", [("Content-Type", page[0]), ("Content-Length", str(len(body)))])
        return [body]
