"""Fixtures for tests that need a real broker."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import NoReturn

import pytest
from broker.cluster import QUICK, Cluster, NoKafka, own_kafka, running_kafka
from broker.postgres import NoPostgres, running_postgres

_NO_KAFKA, _NO_POSTGRES = "no Kafka: ", "no PostgreSQL: "


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The bootstrap address of a real Apache Kafka that all tests share."""
    try:
        with running_kafka() as bootstrap:
            yield bootstrap
    except NoKafka as lack:
        _without(_NO_KAFKA, lack)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL, user and password included."""
    try:
        with running_postgres() as dsn:
            yield dsn
    except NoPostgres as lack:
        _without(_NO_POSTGRES, lack)


@pytest.fixture(scope="session")
def spare_cluster() -> Iterator[Cluster]:
    """A second Kafka for the tests that mistreat theirs."""
    try:
        with own_kafka(settings=QUICK) as cluster:
            yield cluster
    except NoKafka as lack:
        _without(_NO_KAFKA, lack)


@pytest.fixture
def own_cluster(spare_cluster: Cluster) -> Iterator[Cluster]:
    """A Kafka that is this test's alone while it runs; it may kill, pause and restart it."""
    spare_cluster.heal()
    yield spare_cluster
    spare_cluster.heal()


@pytest.fixture
def prefix() -> str:
    """A topic prefix that no other test uses."""
    return f"t{uuid.uuid4().hex[:10]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that the promise itself was not tested."""
    skipped = terminalreporter.stats.get("skipped", [])
    why = {str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped}
    for lack in sorted(one for one in why if one.startswith(_NO_KAFKA)):
        terminalreporter.section("NO KAFKA: the tests on a real broker did NOT run", red=True, bold=True)
        terminalreporter.line(f"{lack}; or give an address in DISPATCHER_TEST_BOOTSTRAP")
    for lack in sorted(one for one in why if one.startswith(_NO_POSTGRES)):
        terminalreporter.section("NO POSTGRESQL: its tests did NOT run", red=True, bold=True)
        terminalreporter.line(lack)


def _without(what: str, lack: Exception) -> NoReturn:
    """Fail on a build machine, skip elsewhere; what is skipped for is told at the end, by any process."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}{lack} (in CI nothing is skipped for that)", pytrace=False)
    pytest.skip(f"{what}{lack}")
