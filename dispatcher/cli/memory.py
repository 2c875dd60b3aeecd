"""Keeping what is in memory out of files: passwords lie there as they are."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def no_core_dumps() -> None:
    """Have no core be dumped of this process, whatever ends it, and no other process of its user read it.

    The limit of zero is inherited by what is started from here. What dumps to a program (`|` in
    kernel.core_pattern) heeds no limit; that the process cannot be dumped is what stops those. Root sees all.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
