"""What a shard thread needs from its surroundings, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.clock import Clock
from dispatcher.core.batch import Batch, Limits
from dispatcher.core.instant import Instant
from dispatcher.core.ledger import Identity
from dispatcher.core.message import TopicNames
from dispatcher.ports import ShardLog, TopicDirectory, Wake
from dispatcher.produce.counting import Counting


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a shard lives.

    `log` makes the transactional side of a shard, `identity` tells what ledgers must belong to,
    `recompare` asks for another look at the schedule file, `listen` attaches the shard's commands from an
    offset (None: the end). `clock_limit_ms` is how far clocks may jump or differ. `fenced` is told of a
    shard that was fenced and answers whether to take it back; if not, the shard's end is on its way.
    `committed` is told of every transaction, by the thread that fires: it must not block, nor raise.
    `counting` makes what a shard counts with.
    """

    topics: TopicNames
    shards: int
    instance: str
    clock: Clock
    limits: Limits
    clock_limit_ms: int
    log: Callable[[int], ShardLog]
    directory: TopicDirectory
    identity: Callable[[], Identity]
    recompare: Wake
    listen: Callable[[int, int | None], None]
    failed: Callable[[str, BaseException], None]
    fenced: Callable[[int], bool] = lambda _shard: True
    committed: Callable[[int, Batch, Instant], None] | None = None
    counting: Callable[[], Counting] = Counting
