"""What the `http` handler makes of an answer: how much of it is read, and what its status means."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime

from dispatcher.core.instant import Instant, from_datetime
from dispatcher.core.outcome import Failed
from dispatcher.work.handlers.http_line import TooMuch

KEPT_BYTES = 4096
_STEP = 65_536
_AGAIN = frozenset({408, 409, 423, 425, 429})
"""The statuses from 400 to 499 that say "not now" rather than "not like this"."""
_LONGEST_WAIT_MS = 86_400_000


class Body:
    """A body as it is read: the first bytes are kept, all are counted, compressed and not."""

    def __init__(self, encoding: str, most: int) -> None:
        self.size = 0
        self._most = most
        self._kept = bytearray()
        self._raw = 0
        packed = encoding.strip().lower() in {"gzip", "x-gzip", "deflate"}
        self._unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if packed else None

    def read(self, chunks: Iterable[bytes]) -> None:
        """Read to the end. Raises TooMuch beyond the limit, ValueError when it cannot be unpacked."""
        for chunk in chunks:
            self._raw += len(chunk)
            if self._raw > self._most:
                raise TooMuch
            self._take(chunk)

    def text(self) -> str:
        """Return the beginning as text; what is not UTF-8 becomes a replacement character."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(bytes(self._kept), final=self.size <= KEPT_BYTES)

    def _take(self, chunk: bytes) -> None:
        if self._unpack is None:
            self._add(chunk)
            return
        try:
            while chunk and not self._unpack.eof:
                self._add(self._unpack.decompress(chunk, _STEP))
                chunk = self._unpack.unconsumed_tail
        except zlib.error as error:
            raise ValueError(f"the body is not what its encoding says: {error}") from error

    def _add(self, piece: bytes) -> None:
        self.size += len(piece)
        self._kept += piece[: KEPT_BYTES - len(self._kept)]
        if self.size > self._most:
            raise TooMuch


def unexpected(status: int, headers: Mapping[str, str], output: str, now: Callable[[], Instant]) -> Failed:
    """Return what a status means that was not expected.

    From 500 on, and for some below, another attempt may help, after the wait that `Retry-After` asks for.
    Redirects and other refusals fail the same way each time.
    """
    reason = f"status {status}"
    if 300 <= status < 400 and "location" in headers:
        reason += ", a redirect; allow it with `redirects`, or give the URL it leads to"
    if status < 300 or status >= 500 or status in _AGAIN:
        return Failed(reason, retry_after_ms=_wait(headers.get("retry-after", ""), now), output=output)
    return Failed(reason, final=True, output=output)


def _wait(text: str, now: Callable[[], Instant]) -> int | None:
    """Return the milliseconds that a `Retry-After` asks for, at most a day; None when it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * 1000, _LONGEST_WAIT_MS)
    try:
        until = from_datetime(parsedate_to_datetime(text))
    except (ValueError, IndexError, OverflowError):
        return None
    return min(max(0, until - now()), _LONGEST_WAIT_MS)
