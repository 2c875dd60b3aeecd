"""What is kept of an output: its head and its tail, however much there was."""

from __future__ import annotations


class Kept:
    """Takes bytes and keeps at most `most` of them, half from the head and half from the tail."""

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._taken = 0

    def add(self, data: bytes) -> None:
        """Take more of it."""
        self._taken += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 4 * self._half:
            del self._tail[: -self._half]

    def text(self) -> str:
        """Return it as text that has at most `most` bytes in UTF-8, beside the line that tells of a gap."""
        tail = self._tail[-self._half :]
        left_out = self._taken - len(self._head) - len(tail)
        if not left_out:
            whole = bytes(self._head + tail).decode(errors="replace")
            if len(whole.encode()) <= 2 * self._half:
                return whole
        head, end = self._cut(self._head), self._cut(tail, last=True)
        told = f"{left_out} bytes are left out" if left_out else "some is left out"
        return f"{head}\n… {told} …\n{end}"

    def _cut(self, data: bytearray, *, last: bool = False) -> str:
        """Return the text of bytes; what is not UTF-8 makes it longer, so it is cut again."""
        text = bytes(data).decode(errors="replace").encode()
        return (text[-self._half :] if last else text[: self._half]).decode(errors="ignore")
