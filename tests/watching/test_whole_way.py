"""One installation on a real Kafka, watched as operators do: by its log, traces and a real Prometheus."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from broker.cluster import free_ports
from broker.process import Dispatcher, ensure_topics, until
from broker.working import Worker
from collector import Collector, Received
from handler_world import Server, answer, saying, serving
from programs import program

from dispatcher.observe.metric_table import TABLE, Role
from watching.promql import OF_PROCESSES, PACKAGE, RULES

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
JOB = "report"


@dataclass
class Site:
    """A dispatcher, a worker, and everything that looks at them."""

    bootstrap: str
    prefix: str
    directory: Path
    called: Server
    collector: Collector
    ports: dict[str, int]

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def tail(self) -> str:
        """Write the records of the job's lane and of the events topic to a file, as their users do."""
        topics = ("--topic", f"{self.prefix}.jobs.normal", "--topic", f"{self.prefix}.events")
        command = [sys.executable, "-m", "dispatcher", "tail", *topics, "--from", "beginning", "--no-follow"]
        done = subprocess.run(
            [*command, "--json", "--bootstrap-servers", self.bootstrap, "--prefix", self.prefix],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def fires(self) -> list[str]:
        """Return the fires that the worker has called the server for, in order."""
        found = [re.search(rb"(?i)idempotency-key: (\S+)", request) for request in self.called.requests]
        return list(dict.fromkeys(one[1].decode() for one in found if one))


@pytest.fixture(scope="module")
def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    prefix = f"watch{os.getpid()}x{time.monotonic_ns():x}"
    ensure_topics(kafka, prefix)
    dispatcher_port, worker_port = free_ports(2)
    with ExitStack() as entered:
        collector = entered.enter_context(Collector())
        called = entered.enter_context(serving(saying(answer("503 Service Unavailable"), answer())))
        schedule = directory / "schedule.json"
        retry = {"attempts": 3, "backoff": {"type": "fixed", "delayMs": 100}}
        entry = {"jobName": JOB, "cronTime": "* * * * * *", "job": "http", "payload": {"url": called.url}}
        schedule.write_text(json.dumps({"jobs": [{**entry, "retry": retry}]}), encoding="utf-8")
        flags = ("--log-level", "debug", "--otlp-endpoint", collector.endpoint)
        site = Site(
            kafka,
            prefix,
            directory,
            called,
            collector,
            {"dispatcher": dispatcher_port, "worker": worker_port},
        )
        entered.enter_context(
            Dispatcher(
                kafka, prefix, schedule, site.log("dispatcher"), *flags,
                "--instance", "d1", "--address", f"127.0.0.1:{dispatcher_port}",
            )
        )  # fmt: skip
        entered.enter_context(
            Worker(
                kafka, prefix, site.log("worker"), *flags, "--http-allow-private", "true",
                "--instance", "w1", "--work-address", f"127.0.0.1:{worker_port}",
            )
        )  # fmt: skip
        until(lambda: len(site.fires()) > 3, "the worker calls the server", 60)
        yield site


def told(lines: str, fire: str) -> list[dict[str, Any]]:
    """Return the JSON lines that hold a text, as `grep -F` does."""
    return [json.loads(line) for line in lines.splitlines() if fire in line]


def test_a_fire_is_followed_by_its_id_through_dispatcher_kafka_and_worker(site: Site) -> None:
    first = site.fires()[0]
    site.log("worker").touch()
    until(lambda: len(told(site.log("worker").read_text(), first)) > 1, "both attempts end")
    until(lambda: "run.succeeded" in str(told(site.tail(), first)), "the outcome is committed")
    committed = told(site.log("dispatcher").read_text(), first)
    assert [(one["event"], one["attempt"]) for one in committed] == [
        ("fire.committed", 1),
        ("fire.committed", 2),
    ]
    ended = [one for one in told(site.log("worker").read_text(), first) if one["event"] == "run.ended"]
    assert [(one["attempt"], one["outcome"]) for one in ended] == [(1, "retrying"), (2, "succeeded")]
    records = told(site.tail(), first)
    kinds = [one["headers"]["ce_type"] for one in records]
    assert sorted(kinds) == ["dispatcher.fire", "dispatcher.fire", "run.retrying", "run.succeeded"]
    sent = next(one for one in records if one["headers"]["ce_type"] == "dispatcher.fire")
    assert (sent["topic"], sent["partition"]) == (committed[0]["topic"], committed[0]["partition"])
    assert (sent["partition"], sent["offset"]) == (ended[0]["partition"], ended[0]["offset"])


def spans_of(site: Site, fire: str) -> list[Received]:
    found = [span for span in site.collector.spans if span.attributes["messaging.message.id"] == fire]
    return sorted(found, key=lambda span: (span.attributes["dispatcher.attempt"], span.name))


def test_a_trace_leads_from_the_fire_to_its_runs_and_on_to_whom_they_call(site: Site) -> None:
    first = site.fires()[0]
    until(lambda: len(spans_of(site, first)) == 4, "fire and run of both attempts")
    fire, run, again, second = spans_of(site, first)
    assert {span.trace for span in (fire, run, again, second)} == {fire.trace}
    assert (fire.service, run.service) == ("dispatcher", "dispatcher-worker")
    assert (fire.parent, run.parent, again.parent, second.parent) == ("", fire.span, fire.span, fire.span)
    assert (run.status, second.status) == ((2, "retrying"), (0, ""))
    assert fire.start % 1_000_000_000 == 0  # the planned instant
    assert fire.start <= fire.end <= run.end <= second.end
    contexts = [
        re.search(rb"traceparent: (\S+)", one) for one in site.called.requests if first.encode() in one
    ]
    handed_on = [one[1].decode() for one in contexts if one]
    assert handed_on == [f"00-{span.trace}-{span.span}-01" for span in (run, second)]


class Prometheus:
    """A real one, that scrapes the site and evaluates the rules."""

    def __init__(self, site: Site) -> None:
        self._directory = site.directory / "prometheus"
        self._directory.mkdir()
        (self.port,) = free_ports(1)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for name, port in site.ports.items()
            ],
        }
        path = self._directory / "prometheus.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML too
        self._log = (self._directory / "log").open("wb")
        self._process = subprocess.Popen(
            [
                program("prometheus", PACKAGE),
                f"--config.file={path}",
                f"--storage.tsdb.path={self._directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._log.close()

    def ask(self, query: str) -> list[dict[str, Any]]:
        address = f"http://127.0.0.1:{self.port}/api/v1/query?query={urllib.parse.quote(query)}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answered:
                return list(json.load(answered)["data"]["result"])
        except OSError:
            return []

    def value(self, query: str) -> float:
        found = self.ask(query)
        return float(found[0]["value"][1]) if found else float("nan")


@pytest.fixture(scope="module")
def prometheus(site: Site) -> Iterator[Prometheus]:
    server = Prometheus(site)
    yield server
    server.close()


def page(site: Site, name: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.ports[name]}/metrics", timeout=5) as answered:
        return bytes(answered.read())


def test_prometheus_scrapes_dispatcher_and_worker(site: Site, prometheus: Prometheus) -> None:
    until(lambda: prometheus.value("sum(up)") == len(site.ports), "both are up")
    until(lambda: prometheus.value("sum(rate(dispatcher_fires_total[10s]))") > 0, "fires are counted")
    runs = 'dispatcher_worker_runs_total{outcome="succeeded", lane="normal"}'
    until(lambda: prometheus.value(runs) > 0, "runs are counted")
    assert prometheus.value("sum(dispatcher_shards_owned)") == 4
    spans = 'sum({__name__=~"dispatcher_(worker_)?trace_spans_total", outcome="sent"})'
    until(lambda: prometheus.value(spans) > 0, "spans are counted")
    late = (
        'histogram_quantile(0.99, sum by (le) (rate(dispatcher_lateness_seconds_bucket{kind="fresh"}[10s])))'
    )
    assert 0 < prometheus.value(late) < 10


def test_what_is_scraped_is_what_the_table_says(site: Site, prometheus: Prometheus) -> None:
    until(lambda: prometheus.value("sum(up)") == len(site.ports), "both are up")
    for role in Role:
        lines = page(site, str(role)).decode().splitlines()
        typed = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE ")}
        ours = {metric.name: str(metric.kind) for metric in TABLE if metric.role is role}
        shown = {name: kind for name, kind in typed.items() if name.startswith("dispatcher_")}
        assert not set(shown.items()) - set(ours.items())
        assert typed.keys() >= OF_PROCESSES


def test_the_rules_run_on_it_and_nothing_is_alarming(prometheus: Prometheus) -> None:
    until(lambda: bool(prometheus.ask("dispatcher_overdue_seconds")), "the absence alarm is told")
    until(lambda: prometheus.value("sum(up)") == 2, "both are up")
    assert prometheus.ask('ALERTS{severity="critical", alertname!~"WorkerAbsent|DispatcherAbsent"}') == []


def test_promtool_has_no_complaint_about_the_metrics(site: Site) -> None:
    for name in site.ports:
        done = subprocess.run(
            [program("promtool", PACKAGE), "check", "metrics"],
            input=page(site, name),
            capture_output=True,
            check=False,
        )
        ours = [line for line in done.stdout.decode().splitlines() if line.startswith("dispatcher_")]
        assert ours == []
