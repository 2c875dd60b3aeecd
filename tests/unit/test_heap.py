"""Freed memory goes back to the system, where the C library is glibc."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PIECES = """
import ctypes
from pathlib import Path
from dispatcher.heap import give_back

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

pieces = [libc.malloc(16_384) for _ in range(4_000)]
for piece in pieces:
    ctypes.memset(piece, 1, 16_384)
for number, piece in enumerate(pieces):
    if number % 50:
        libc.free(piece)
held = resident()
give_back()
print(held - resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_lies_free_in_pieces_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30_000_000
