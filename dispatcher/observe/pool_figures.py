"""The figures of a worker as Prometheus metrics and as JSON for autoscalers; each name stands here once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dispatcher.core.figures import Figures


class PoolFigures(Collector):
    """Shows the figures that `figures` returns when it is asked. Any thread may ask."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return everything in Prometheus' text form."""
        return generate_latest(self._registry)

    def wanted(self) -> dict[str, Any]:
        """Return what autoscalers ask for: workers wanted, seats wanted in all and in each lane."""
        now = self._figures()
        lanes = {
            str(lane): {"wantedSeats": round(one.wanted, 3), "waiting": one.waiting, "behind": one.behind}
            for lane, one in now.lanes.items()
        }
        seats = round(sum(one.wanted for one in now.lanes.values()), 3)
        return {
            "wantedReplicas": now.replicas,
            "wantedSeats": seats,
            "seatsPerReplica": now.most_seats,
            "lanes": lanes,
        }

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        now = self._figures()
        yield _gauge("dispatcher_worker_seats", "Seats that there are", now.seats)
        yield _gauge("dispatcher_worker_seats_most", "Seats that there may be", now.most_seats)
        yield _gauge(
            "dispatcher_worker_wanted_replicas", "Workers like this one that are wanted", now.replicas
        )
        for name, text, field in (
            ("waiting", "Runs that wait for a seat", "waiting"),
            ("busy", "Seats that run something", "busy"),
            ("behind", "Messages of this worker's partitions that were not delivered yet", "behind"),
            ("wanted_seats", "Seats wanted for what comes and what waits", "wanted"),
        ):
            family = GaugeMetricFamily(f"dispatcher_worker_{name}", text, labels=["lane"])
            for lane, one in now.lanes.items():
                family.add_metric([str(lane)], getattr(one, field))
            yield family
        yield from self._counters(now)

    def _counters(self, now: Figures) -> Iterator[Metric]:
        runs = CounterMetricFamily(
            "dispatcher_worker_runs", "Runs that ended, by how and in which lane", labels=["outcome", "lane"]
        )
        for (outcome, lane), count in now.runs.items():
            runs.add_metric([outcome, str(lane)], count)
        yield runs
        seconds = CounterMetricFamily(
            "dispatcher_worker_handler_seconds", "Time that runs took, by handler", labels=["handler"]
        )
        ended = CounterMetricFamily(
            "dispatcher_worker_handler_runs", "Runs that ended, by handler", labels=["handler"]
        )
        for handler, spent in now.handler_seconds.items():
            seconds.add_metric([handler], spent)
            ended.add_metric([handler], now.handler_runs.get(handler, 0))
        yield seconds
        yield ended
        for name, text, value in (
            ("redelivered", "Deliveries that another life had begun before", now.redelivered),
            ("overlaps", "Runs skipped because another one of their job had not ended", now.overlaps),
            ("failed_commits", "Transactions of outcomes that were not committed", now.failed_commits),
        ):
            yield CounterMetricFamily(f"dispatcher_worker_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
