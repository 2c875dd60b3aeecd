"""The views of a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from prometheus_client.metrics_core import Metric

from dispatcher.api.server import Answer, json_answer
from dispatcher.cli.serving import Pages, pages_of, views
from dispatcher.observe import metric_table as table
from dispatcher.observe.exposition import Exposition
from dispatcher.observe.pool_figures import wanted, worker_metrics, worker_status
from dispatcher.observe.tracing import counts_of
from dispatcher.standstill import Spared, standstills
from dispatcher.worker import Worker


def worker_views(address: str | None) -> AbstractContextManager[Callable[[Pages], None]]:
    """Serve what a worker shows: see `views`."""
    return views(address, "work_address", table.Role.WORKER)


def worker_pages(worker: Worker, instance: str, spared: Spared) -> Pages:
    """Return the pages of a worker."""
    judging = threading.Lock()

    def still() -> tuple[str, ...]:
        with judging:
            return spared.judge(standstills(worker.motions()))

    def status() -> Answer:
        figures, health = worker.pool.figures, worker.health()
        return json_answer(worker_status(instance, figures, health, worker.readiness()))

    def metrics() -> Iterable[Metric]:
        traces = counts_of(worker.tracer)
        return worker_metrics(worker.pool.figures, worker.health(), worker.readiness(), traces)

    exposition = Exposition(metrics)
    pages = pages_of(still, worker.health, worker.readiness, status, exposition)
    return {**pages, "/wanted": lambda: json_answer(wanted(worker.pool.figures))}
