"""Fixtures for tests that need a real broker."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from broker.cluster import Cluster, NoKafka, own_kafka, running_kafka
from broker.postgres import NoPostgres, running_postgres

_MISSING = pytest.StashKey[str]()
_MISSING_POSTGRES = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """The bootstrap address of a real Apache Kafka that all tests share."""
    try:
        with running_kafka() as bootstrap:
            yield bootstrap
    except NoKafka as lack:
        _without_kafka(request.config, str(lack))


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a real PostgreSQL, user and password included."""
    try:
        with running_postgres() as dsn:
            yield dsn
    except NoPostgres as lack:
        request.config.stash[_MISSING_POSTGRES] = str(lack)
        if os.environ.get("CI") == "true":
            pytest.fail(f"no PostgreSQL in CI: {lack}", pytrace=False)
        pytest.skip(f"no PostgreSQL: {lack}")


@pytest.fixture(scope="session")
def spare_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A second Kafka for the tests that mistreat theirs."""
    try:
        with own_kafka() as cluster:
            yield cluster
    except NoKafka as lack:
        _without_kafka(request.config, str(lack))


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly that the promise itself was not tested."""
    if lack := config.stash.get(_MISSING, ""):
        terminalreporter.section("NO KAFKA: the tests on a real broker did NOT run", red=True, bold=True)
        terminalreporter.line(f"{lack}; or give an address in DISPATCHER_TEST_BOOTSTRAP")
    if lack := config.stash.get(_MISSING_POSTGRES, ""):
        terminalreporter.section("NO POSTGRESQL: its tests did NOT run", red=True, bold=True)
        terminalreporter.line(lack)


def _without_kafka(config: pytest.Config, lack: str) -> None:
    config.stash[_MISSING] = lack
    if os.environ.get("CI") == "true":
        pytest.fail(f"no Kafka in CI: {lack}", pytrace=False)
    pytest.skip(f"no Kafka: {lack}")
