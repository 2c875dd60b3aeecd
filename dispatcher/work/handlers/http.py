"""`http`: ask a URL. Waits end with the run, answers are read within limits, private places are refused."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

import httpcore

from dispatcher.core.instant import Instant
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.work.handlers.http_answer import Body, unexpected
from dispatcher.work.handlers.http_guard import Refused, refusal
from dispatcher.work.handlers.http_line import Backend, Here, Line, Resolve, TooMuch, resolve
from dispatcher.work.handlers.http_request import HttpPayload, Request, first_request
from dispatcher.work.handlers.limit import Ended, Overdue, limit_of
from dispatcher.work.handling import Payload, Task

USUAL_SECONDS = 60.0
_IDLE_CONNECTIONS = 20
_IDLE_SECONDS = 4.0
"""Less than after which servers usually close an idle connection: a request must not meet its end."""
_LONGEST_REASON = 300
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAYBE = "; what was asked may have been done, another attempt asks with the same Idempotency-Key"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: Body


class Http:
    """Asks URLs, over one pool of connections.

    This stands on httpcore, the layer below httpx: there the network can be replaced, and nothing keeps
    cookies, follows redirects, or reads proxies and passwords from the environment.
    """

    name = "http"
    instant = False
    payload: type[Payload] = HttpPayload

    def __init__(
        self,
        *,
        allow_private: bool,
        now: Callable[[], Instant],
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._now = now
        self._here = Here()
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=None,  # a run has one at a time
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=Backend(self._here, resolve, allow_private=allow_private),
        )

    def run(self, task: Task) -> Outcome:
        """Ask, follow redirects as far as allowed, and judge the answer."""
        payload: HttpPayload = task.payload
        limit = limit_of(task, payload.timeout_seconds, USUAL_SECONDS)
        line = Line(limit, payload.max_bytes)
        self._here.line = line
        try:
            return self._asked(task, payload, line)
        except Refused as error:
            return refusal(error)
        except Ended as error:
            return Cancelled(str(error))
        except Overdue:
            return Failed(f"no complete answer within {limit.seconds:g} s{_MAYBE if line.asked else ''}")
        except TooMuch:
            return Failed(f"the answer is larger than {payload.max_bytes} bytes, see `maxBytes`", final=True)
        except (OSError, ValueError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            return _broken(error, line)
        finally:
            line.let_go()
            self._here.line = None

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _asked(self, task: Task, payload: HttpPayload, line: Line) -> Outcome:
        request = first_request(task, payload, allow_private=self._allow_private)
        followed = 0
        while True:
            answer = self._exchange(request, payload, line)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or location is None or payload.expects(answer.status):
                break
            if payload.redirects == 0:
                break
            if followed == payload.redirects:
                return Failed(f"more than {followed} redirects, see `redirects`", final=True)
            followed += 1
            request = request.redirected(answer.status, location, allow_private=self._allow_private)
        text = answer.body.text()
        if not payload.expects(answer.status):
            return unexpected(answer.status, answer.headers, text, self._now)
        return Succeeded({"status": answer.status, "bytes": answer.body.size, "body": text})

    def _exchange(self, request: Request, payload: HttpPayload, line: Line) -> _Answer:
        line.limit.check()
        with self._pool.stream(
            request.method,
            str(request.url),
            headers=list(request.headers),
            content=request.body,
        ) as response:
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
            }
            body = Body(headers.get("content-encoding", ""), payload.max_bytes)
            body.read(response.iter_stream())
            line.let_go()  # from here on the connection may serve another run
            return _Answer(response.status, headers, body)


def _broken(error: Exception, line: Line) -> Outcome:
    """Say that there was no answer, or no good one; a cancelled run breaks its connection itself."""
    cancel = line.limit.cancel
    if cancel.is_set():
        return Cancelled(cancel.reason)
    what = "no connection" if isinstance(error, httpcore.ConnectError) else "no good answer"
    return Failed(
        f"{what}: {str(error)[:_LONGEST_REASON] or type(error).__name__}{_MAYBE if line.asked else ''}"
    )
