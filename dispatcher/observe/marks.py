"""The byte of a fire: how often it was committed, how often skipped, and by how much its ends outweigh.

The lowest two bits count commits, the next two skips, up to 3 each. The upper four hold how many more ends
than redrives are told of, from -8 to 7: each redrive is to bring one more end. 0 is a fire of which nothing
is known.
"""

from __future__ import annotations

_COMMITS, _SKIP, _MOST_SKIPS, _END = 3, 4, 12, 16


def commits(byte: int) -> int:
    """Return how often a fire was committed; 3 stands for more, too."""
    return byte & _COMMITS


def skips(byte: int) -> int:
    """Return how often a fire was skipped; 3 stands for more, too."""
    return byte >> 2 & _COMMITS


def balance(byte: int) -> int:
    """Return how many more ends than redrives a fire has: 0 while it runs, 1 once it has ended."""
    high = byte >> 4
    return high if high < 8 else high - 16


def settled(byte: int) -> int:
    """Return what is told of commits and skips alone."""
    return byte & 15


def committed(byte: int) -> int:
    """Return the byte with one more commit."""
    return byte if byte & _COMMITS == _COMMITS else byte + 1


def _skipped(byte: int) -> int:
    return byte if byte & _MOST_SKIPS == _MOST_SKIPS else byte + _SKIP


def ended(byte: int) -> int:
    """Return the byte with one more end."""
    return byte if byte >> 4 == 7 else (byte + _END) % 256


def redriven(byte: int) -> int:
    """Return the byte with one more redrive."""
    return byte if byte >> 4 == 8 else (byte - _END) % 256


SKIPPED = bytes(map(_skipped, range(256)))
"""Turns bytes into those with one more skip, for `bytes.translate`."""
SETTLED = bytes(map(settled, range(256)))
"""Turns bytes into what is told of commits and skips alone, for `bytes.translate`."""
OPEN = bytes(byte for byte in range(256) if not settled(byte))
"""The bytes of fires that were neither committed nor skipped."""
TWICE = bytes(byte for byte in range(256) if settled(byte) not in (0, 1, 4))
"""The bytes of fires that were settled more than once."""
OVERENDED = bytes(byte for byte in range(256) if settled(byte) == 1 and balance(byte) > 1)
"""The bytes of fires that were committed once and ended more than once."""
UNENDED = bytes(byte for byte in range(256) if commits(byte) and balance(byte) < 1)
"""The bytes of fires that were committed and have not ended, as far as is told."""
