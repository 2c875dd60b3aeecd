"""The views of a process: what it answers over HTTP, from before it has reached Kafka until its very end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus

from dispatcher.api.server import Answer, Page, ViewServer, json_answer
from dispatcher.clock import SystemClock
from dispatcher.core.health import Health
from dispatcher.daemon import Daemon
from dispatcher.observe import metric_table as table
from dispatcher.observe.daemon_figures import DaemonFigures
from dispatcher.observe.daemon_metrics import daemon_metrics
from dispatcher.observe.daemon_status import daemon_status
from dispatcher.observe.exposition import CONTENT_TYPE, Exposition, versions
from dispatcher.observe.tracing import counts_of
from dispatcher.service import Deadline
from dispatcher.standstill import standstills

Pages = Mapping[str, Page]
_END_SECONDS = 3.0
_NOT_YET = Health(("it starts: Kafka has not answered yet, or topics and ledger are looked at",))


def dispatcher_views(address: str | None) -> AbstractContextManager[Callable[[Pages], None]]:
    """Serve what a dispatcher shows: see `views`."""
    return views(address, "address", table.Role.DISPATCHER)


@contextmanager
def views(address: str | None, setting: str, role: table.Role) -> Iterator[Callable[[Pages], None]]:
    """Serve views at an address, none without one; give what takes the pages of a process that has begun.

    Until then they say that it starts. Raises InvalidSettings for an address that cannot be had.
    """
    if address is None:
        yield lambda _pages: None
        return
    server = ViewServer(address, setting, _first_pages(role))
    server.start()
    try:
        yield server.show
    finally:
        server.stop()
        server.join(Deadline(_END_SECONDS))


def daemon_pages(daemon: Daemon, instance: str) -> Pages:
    """Return the pages of a dispatcher."""

    def owner_of(shard: int) -> str | None:
        owner = daemon.tail.owner_of(shard)
        return None if owner is None else owner.instance

    def status() -> Answer:
        figures = daemon_figures(daemon)
        return json_answer(daemon_status(instance, figures, owner_of, daemon.absence.next_due))

    exposition = Exposition(lambda: daemon_metrics(daemon_figures(daemon)))
    return pages_of(
        lambda: standstills(daemon.motions()), daemon.health, daemon.readiness, status, exposition
    )


def daemon_figures(daemon: Daemon) -> DaemonFigures:
    """Return a dispatcher as it is now, with what it reads of the others."""
    error = daemon.feed.error
    return DaemonFigures(
        SystemClock().read().now,
        daemon.shards,
        daemon.host.figures(),
        daemon.absence.seen,
        daemon.tail.stands.lags(),
        () if error is None else tuple(str(error).splitlines()),
        daemon.health(),
        daemon.readiness(),
        counts_of(daemon.tracer),
    )


def _first_pages(role: table.Role) -> Pages:
    dispatcher = role is table.Role.DISPATCHER
    healthy = (table.HEALTHY if dispatcher else table.WORKER_HEALTHY).gauge(1)
    ready = (table.READY if dispatcher else table.WORKER_READY).gauge(0)
    exposition = Exposition(lambda: [healthy, ready])
    told = {"role": str(role), "version": versions()[0], "healthy": True, "ready": False}

    def status() -> Answer:
        return json_answer({**told, "reasons": list(_NOT_YET.reasons)})

    pages = pages_of(tuple, Health, lambda: _NOT_YET, status, exposition)
    return pages if dispatcher else {**pages, "/wanted": lambda: _judged("known", _NOT_YET)}


def pages_of(
    still: Callable[[], tuple[str, ...]],
    health: Callable[[], Health],
    readiness: Callable[[], Health],
    status: Page,
    exposition: Exposition,
) -> Pages:
    """Return the pages that every process has.

    `/health` is answered with 503 only for threads that stand still, which nothing but a new process mends:
    while Kafka is away none need be started anew. What else is not well it says all the same.
    """
    return {
        "/health": lambda: _alive(still(), health()),
        "/ready": lambda: _judged("ready", readiness()),
        "/status": status,
        "/metrics": lambda: Answer(exposition.text(), kind=CONTENT_TYPE),
    }


def _alive(still: tuple[str, ...], health: Health) -> Answer:
    reasons = list(dict.fromkeys((*still, *health.reasons)))
    status = HTTPStatus.SERVICE_UNAVAILABLE if still else HTTPStatus.OK
    return json_answer({"alive": not still, "healthy": not reasons, "reasons": reasons}, status)


def _judged(word: str, health: Health) -> Answer:
    status = HTTPStatus.OK if health.healthy else HTTPStatus.SERVICE_UNAVAILABLE
    return json_answer({word: health.healthy, "reasons": list(health.reasons)}, status)
