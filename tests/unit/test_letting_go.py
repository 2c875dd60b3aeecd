"""What a shard's thread held goes with the shard, though full collections are as good as never made."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

from test_shard_thread import Bench

from dispatcher.service import Deadline


def test_an_ended_thread_holds_nothing_of_its_shard() -> None:
    bench = Bench()
    taken = threading.Event()
    bench.thread._around = replace(bench.around(), recompare=taken.set)
    gc.collect()
    gc.disable()
    try:
        bench.thread.start()
        assert taken.wait(10)
        assert bench.thread._shard is not None
        held: list[weakref.ref[object]] = [
            weakref.ref(bench.thread._shard.firing),
            weakref.ref(bench.thread._copy),
        ]
        bench.thread.stop()
        assert bench.thread.join(Deadline(10))
        assert bench.ended == []
        assert [each() for each in held] == [None, None], [
            [type(one) for one in gc.get_referrers(each())] for each in held
        ]
        itself = weakref.ref(bench.thread)
        bench.thread = bench.another()
        assert itself() is None, [type(one) for one in gc.get_referrers(itself())]
    finally:
        gc.enable()
