"""The partitioner gives what Kafka's own gives; the hashes are those of its UtilsTest."""

from __future__ import annotations

import pytest

from dispatcher.core.partitioner import murmur2, shard_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_hashes_are_those_of_kafkas_own_test(key: str, hashed: int) -> None:
    assert murmur2(key.encode()) == hashed & 0x7FFFFFFF


def test_the_shard_is_the_hash_of_the_utf8_name_modulo_the_shards() -> None:
    assert shard_of("foobar", 4) == (-790332482 & 0x7FFFFFFF) % 4
    assert shard_of("Zählung", 12) == murmur2("Zählung".encode()) % 12


def test_a_shard_writes_only_partitions_that_are_its_own_modulo_the_shards() -> None:
    names = [f"job-{number}" for number in range(500)]
    assert all(murmur2(name.encode()) % 12 % 4 == shard_of(name, 4) for name in names)
    assert {shard_of(name, 4) for name in names} == {0, 1, 2, 3}
