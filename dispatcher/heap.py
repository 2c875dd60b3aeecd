"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc, malloc_trim(3); other C libraries have none."""


def give_back() -> None:
    """Give back what is free in whole pages: 3 ms for 64 MiB, in which the interpreter goes on.

    glibc gives back only the end of its heap by itself. What clients of Kafka freed lies in pieces below it,
    and with each shard that comes and goes there is more of it.
    """
    if _TRIM is not None:
        _TRIM(0)
