"""A shard's thread moves with each call of its log, however many make up one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from dispatcher.core.instant import Instant
from dispatcher.core.message import Outgoing
from dispatcher.core.shard_figures import Epoch
from dispatcher.ports import Chunk, Committed, LedgerRecord, LogEnds
from dispatcher.produce.moving_log import MovingLog
from dispatcher.service import Motion


class SlowLog:
    """Takes ten seconds for everything."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[Any, ...]] = []

    def seconds(self) -> float:
        return self.now

    def _take(self, *call: Any) -> None:
        self.now += 10
        self.calls.append(call)

    def fence(self) -> None:
        self._take("fence")

    def commit(self, outgoing: Sequence[Outgoing], *, isolate: bool = False) -> Committed:
        self._take("commit", outgoing, isolate)
        return Committed(7, 8, None)

    def stage(self, outgoing: Sequence[Outgoing], at: Instant, over: float = 0.0) -> None:
        self._take("stage", outgoing, at, over)

    def seal(self) -> Committed:
        self._take("seal")
        return Committed(9, 10, "slow")

    def ends(self) -> LogEnds:
        self._take("ends")
        return LogEnds(1, 2)

    def read(self, start: int, until: int) -> Iterator[LedgerRecord]:
        for offset in range(start, until):
            self._take("read")
            yield LedgerRecord(b"k", b"v", offset, 0)

    def chunks(self, start: int, until: int) -> Iterator[Chunk]:
        for offset in range(start, until):
            self._take("chunk")
            yield [(b"k", b"v")], offset + 1

    def epoch(self) -> Epoch:
        self._take("epoch")
        return Epoch(3, 4)

    def close(self) -> None:
        self._take("close")


CALLS: list[tuple[Callable[[MovingLog], Any], list[tuple[Any, ...]], Any]] = [
    (MovingLog.fence, [("fence",)], None),
    (lambda log: log.commit([], isolate=True), [("commit", [], True)], Committed(7, 8, None)),
    (lambda log: log.stage([], 5, 1.5), [("stage", [], 5, 1.5)], None),
    (MovingLog.seal, [("seal",)], Committed(9, 10, "slow")),
    (MovingLog.ends, [("ends",)], LogEnds(1, 2)),
    (lambda log: [one.offset for one in log.read(3, 5)], [("read",)] * 2, [3, 4]),
    (lambda log: [after for _, after in log.chunks(3, 5)], [("chunk",)] * 2, [4, 5]),
    (MovingLog.epoch, [("epoch",)], Epoch(3, 4)),
    (MovingLog.close, [("close",)], None),
]


@pytest.mark.parametrize(("call", "calls", "result"), CALLS)
def test_each_call_is_handed_on_and_is_a_move(
    call: Callable[[MovingLog], Any], calls: list[tuple[Any, ...]], result: Any
) -> None:
    slow = SlowLog()
    motion = Motion(slow.seconds)
    motion.moved()
    slow.now += 50  # what the step did before
    assert call(MovingLog(slow, motion)) == result
    assert slow.calls == calls
    assert motion.still() <= 10
