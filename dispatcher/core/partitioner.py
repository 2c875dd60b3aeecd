"""Kafka's default partitioner in our own arithmetic: murmur2 of the key, modulo the partitions."""

from __future__ import annotations

from struct import unpack_from

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_SEED = 0x9747B28C


def murmur2(data: bytes) -> int:
    """Return the positive 31-bit murmur2 hash that `org.apache.kafka.common.utils.Utils` gives for a key."""
    length = len(data)
    h = _SEED ^ length
    for k in unpack_from(f"<{length >> 2}I", data):
        k = k * _M & _MASK  # noqa: PLW2901 - the mixing steps of the algorithm, one name as in its source
        h = h * _M & _MASK ^ (k ^ k >> 24) * _M & _MASK
    tail = length & 3
    if tail:
        h = (h ^ int.from_bytes(data[length - tail :], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return (h ^ h >> 15) & 0x7FFFFFFF


def shard_of(job_name: str, shards: int) -> int:
    """Return the shard that owns a job."""
    return murmur2(job_name.encode()) % shards
