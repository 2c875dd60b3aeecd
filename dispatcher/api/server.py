"""A small HTTP server for views: it answers GET with pages that others make, and knows nothing of them.

It is to be asked often and never to harm who is asked. Few threads make pages. A request has a small limit
and no body, a connection lives for a short time in all, and where there are too many the oldest one that
waits for its client goes: so neither slow clients nor many of them keep others out for long.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from dispatcher.errors import InvalidSettings
from dispatcher.service import Deadline

_THREADS = 2
_MOST_CONNECTIONS = 50
_LIFE_SECONDS = 10.0
_HEADER_BYTES = 8 * 1024
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 1
_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "application/json"


Page = Callable[[], Answer]
"""Makes an answer. It is called from one of a few threads, and takes no longer than a scrape may."""


def json_answer(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """Return a value as JSON."""
    return Answer((json.dumps(value, ensure_ascii=False) + "\n").encode(), status)


class _Server(TcpWSGIServer):
    """Closes connections that live too long, and the oldest when there are too many."""

    def handle_accept(self) -> None:
        """Accept a connection; make room for it first."""
        waiting = [one for one in self._channels() if not one.requests]
        if len(self._channels()) >= _MOST_CONNECTIONS and waiting:
            waiting[0].handle_close()
        super().handle_accept()

    def maintenance(self, now: float) -> None:
        """Close what is older than a connection may be, unless its page is just being made."""
        for channel in self._channels():
            if not channel.requests and channel.creation_time < now - _LIFE_SECONDS:
                channel.will_close = True

    def _channels(self) -> list[HTTPChannel]:
        """Return the open connections, the oldest first."""
        return list(cast("dict[int, HTTPChannel]", self.active_channels).values())


class ViewServer:
    """A service that answers for `pages`, by path. `setting` is the one that `address` comes from.

    The address is taken at once: raises InvalidSettings when it cannot be.
    """

    def __init__(self, address: str, setting: str, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._stopping = threading.Event()
        listener = _listener(address, setting)
        self.port = int(listener.getsockname()[1])
        """The port that is listened on; of use where 0 was asked for."""
        limits: dict[str, Any] = {
            "sockets": [listener],
            "threads": _THREADS,
            "connection_limit": 2 * _MOST_CONNECTIONS,
            "cleanup_interval": 1,
            "max_request_header_size": _HEADER_BYTES,
            "max_request_body_size": 0,
            "asyncore_use_poll": True,
            "ident": None,
        }
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._map: dict[int, Any] = {}
        self._server = _Server(
            self._answer,
            self._map,
            True,  # noqa: FBT003 - the library has it by position
            listener,
            adj=Adjustments(**limits),
            bind_socket=False,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        )
        self._thread = threading.Thread(target=self._serve, name="views", daemon=True)

    def show(self, pages: Mapping[str, Page]) -> None:
        """Answer for these pages from now on. Any thread may say so."""
        self._pages = pages

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        structlog.get_logger().info("views.served", port=self.port)

    def stop(self) -> None:
        """Answer no more."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._server.pull_trigger()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end."""
        if self._thread.ident is None:
            self._close()
        else:
            self._thread.join(deadline.left())
        return not self._thread.is_alive()

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set():
                wasyncore.loop(_LOOK_SECONDS, use_poll=True, map=self._map, count=1)
        except Exception:  # noqa: BLE001 - the top of a thread: fires go on without views, but it must be told
            structlog.get_logger().critical("thread.failed", thread="views", exc_info=True)
        finally:
            self._close()

    def _close(self) -> None:
        self._server.task_dispatcher.shutdown(timeout=_STOP_SECONDS)
        wasyncore.close_all(self._map, ignore_all=True)

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        answer, more = self._look_up(environ)
        headers = [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body)))]
        start(f"{answer.status.value} {answer.status.phrase}", [*headers, *_HEADERS, *more])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _look_up(self, environ: WSGIEnvironment) -> tuple[Answer, list[tuple[str, str]]]:
        pages, path = self._pages, environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            error = {"error": "this only answers GET and HEAD"}
            return json_answer(error, HTTPStatus.METHOD_NOT_ALLOWED), [("Allow", "GET, HEAD")]
        if path not in pages:
            return json_answer({"error": "not found", "paths": sorted(pages)}, HTTPStatus.NOT_FOUND), []
        began = time.monotonic()
        try:
            return pages[path](), []
        except Exception:  # noqa: BLE001 - the top of a thread: a page at fault must not end its server
            seconds = round(time.monotonic() - began, 3)
            structlog.get_logger().error("view.failed", path=path, seconds=seconds, exc_info=True)
            return json_answer({"error": "see the log"}, HTTPStatus.INTERNAL_SERVER_ERROR), []


def _listener(address: str, setting: str) -> socket.socket:
    """Return a socket bound to host:port. Raises InvalidSettings."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise InvalidSettings(
            f"{setting} {address}: cannot be listened on: {error.strerror}; give another host:port"
        ) from error
    return listener
