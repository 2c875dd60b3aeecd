"""Fixtures for tests of what is guarded."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from broker.cluster import NoKafka
from faults.papers import NoPapers

from security.site import Site, guarded_kafka


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A broker that denies what it was not told to allow."""
    try:
        with guarded_kafka(tmp_path_factory.mktemp("guarded")) as site:
            yield site
    except (NoKafka, NoPapers) as lack:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Kafka in CI: {lack}", pytrace=False)
        pytest.skip(f"no Kafka: {lack}")
