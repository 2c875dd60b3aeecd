"""Fixtures for tests of faults."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from broker.cluster import NoKafka

from faults.odd import Odd, odd_kafka
from faults.papers import NoPapers


@pytest.fixture(scope="package")
def odd_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    """A broker with a door for each kind of trouble."""
    try:
        with odd_kafka(tmp_path_factory.mktemp("odd")) as odd:
            yield odd
    except (NoKafka, NoPapers) as lack:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Kafka in CI: {lack}", pytrace=False)
        pytest.skip(f"no Kafka: {lack}")


@pytest.fixture
def odd(odd_broker: Odd) -> Iterator[Odd]:
    """The same, its doors open before and after."""
    yield odd_broker
    for link in (odd_broker.plain, odd_broker.guarded, odd_broker.sealed, odd_broker.named):
        link.heal()
    odd_broker.sealed.target = odd_broker.tls_ports["good"]
