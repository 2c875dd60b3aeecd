"""The thread of one shard: fence, read, claim; then decide, act, remember, until it is told to stop."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from queue import SimpleQueue

import structlog

from dispatcher.clock import Reading
from dispatcher.core.batch import Batch, Encoder, Rest
from dispatcher.core.burst import spare
from dispatcher.core.codec import OWNER_KEY, decode
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.message import MessageMaker
from dispatcher.core.schedule import ShardBase
from dispatcher.core.shard import Shard
from dispatcher.core.state import ShardState
from dispatcher.errors import DispatcherError, Fenced, KafkaUnreachable, TransactionFailed
from dispatcher.ports import Committed
from dispatcher.produce.clocks import Clocks
from dispatcher.produce.counting import Counting
from dispatcher.produce.culprit import Culprits
from dispatcher.produce.known_topics import KnownTopics
from dispatcher.produce.ledger import check_identity, read_on, read_to_end
from dispatcher.produce.moving_log import MovingLog
from dispatcher.produce.staged import Staged
from dispatcher.produce.telling import tell_committed, tell_if_ahead, tell_of_taker
from dispatcher.produce.wiring import Surroundings
from dispatcher.service import Loop, Looped

_LONGEST_WAIT_S = 10.0
"""The wall clock may be set while a shard sleeps; it looks again after at most this long."""
_ALARM_AFTER = 3
_COPY_GOOD_MS = 12 * 3_600_000
"""Half of the ledger's `delete.retention.ms`: so long a tombstone stays to be read for certain."""

Letter = Callable[[Shard], None]
"""Something that arrives for a shard: a frozen value with the method that takes it."""


class ShardThread(Looped):
    """One shard at work: a service with an inbox."""

    def __init__(
        self, number: int, around: Surroundings, copy: LedgerCopy, counting: Counting | None = None
    ) -> None:
        self.number = number
        self.counting = counting or Counting()
        self.base: ShardBase | None = None
        """What is in force, replaced as a whole; None while it is not known or about to change."""
        self._around = around
        self._copy = copy
        """What is known of the ledger, up to the offset to read on from."""
        self._inbox: SimpleQueue[Letter] = SimpleQueue()
        self._shard: Shard | None = None
        self.taken = False
        """Whether the shard was fenced, read and claimed."""
        self._sure = False
        """Whether memory holds all that the ledger does; nothing is decided before."""
        self._sure_at = around.clock.read().monotonic
        self._yielded = False
        """Whether another replica has the shard: nothing more is done before the end, which is near."""
        self._failures = 0
        self._suspects = 0
        self._culprits = Culprits()
        self._topics = KnownTopics(around.directory, around.topics)
        self._staged: Staged | None = None
        self._say = structlog.get_logger().bind(shard=number)
        self._clocks = Clocks(self._say)
        self._loop = Loop(f"shard-{number}", self._step, close=self._close, failed=around.failed)
        self._log = MovingLog(around.log(number), self.motion)

    def post(self, letter: Letter) -> None:
        """Hand something to the shard. Never blocks, from any thread."""
        self._inbox.put(letter)
        self._loop.waiter.wake()

    @property
    def sure_at(self) -> int:
        """When memory was last known to hold all that the ledger does, in monotonic milliseconds."""
        return self._sure_at

    # One step of the loop.

    def _step(self) -> float | None:
        if self._yielded:
            return None
        try:
            self._drop_old_copy(self._around.clock.read().monotonic)
            if not self.taken:
                self._take()
            elif not self._sure:
                self._resync()
            wait = self._turn(self._around.clock.read())
            self._failures = 0
        except (TransactionFailed, KafkaUnreachable) as error:
            self.counting.failure(fenced=isinstance(error, Fenced))
            wait = self._after_failure(error)
        self.counting.show(self._shard, self._log.epoch())
        return wait

    def _take(self) -> None:
        """Fence, then read, then claim: what was committed before is known before anything is decided."""
        around = self._around
        self._log.fence()
        state = read_to_end(self._log, self._copy)
        identity = around.identity()
        check_identity(state.identity, identity)
        shard = self._mind(state)
        reading = around.clock.read()
        self._clocks.begin(reading)
        self._forget()
        self._shard = shard
        committed = self._perform(shard.claim(reading.now, identity), reading.now)
        shard.resume()
        held = self._clocks.compare(shard, reading.now, committed.appended, around.clock_limit_ms)
        if not held and (missed := shard.missed(reading.now)) is not None:
            self._perform(missed, reading.now)
        assert state.position is not None
        shard.await_commands(reading.now)
        around.listen(self.number, state.position.commands or 0)
        tell_if_ahead(self._say, shard.state.cursor().due, reading.now)
        self._say.info("shard.taken", jobs=len(state.records), revision=state.position.revision[:12])
        self.base = shard.base()
        self.taken = True
        around.recompare()

    def _mind(self, state: ShardState) -> Shard:
        around = self._around
        maker = MessageMaker(around.topics, self.number, self._topics.partitions)
        encoder = Encoder(around.topics, self.number)
        return Shard(self.number, state, maker, encoder, instance=around.instance, limits=around.limits)

    def _turn(self, reading: Reading) -> float | None:
        shard = self._shard
        assert shard is not None
        self._clocks.watch(shard, reading, self._around.clock_limit_ms)
        self._topics.refresh(reading.monotonic)
        if self._staged is not None:
            return self._keep(shard, self._staged, reading)
        self._open_inbox(shard)
        decision = shard.decide(reading.now)
        if shard.changing.recompare:
            shard.changing.recompare = False
            self._around.recompare()
        if isinstance(decision, Batch):
            if decision.at is None:
                self._perform(decision, reading.now)
            else:
                self._stage(shard, decision, decision.at, reading.monotonic)
            return 0
        return 0 if shard.prepare(reading.now) else self._pause(decision, reading.now)

    def _perform(self, batch: Batch, now: int) -> Committed:
        """Act, then remember. What the ledger may hold beyond a suspect commit is read at once."""
        shard = self._shard
        assert shard is not None
        self._culprits.trying(batch)
        self._sure = False
        began = self._around.clock.read().monotonic
        committed = self._log.commit(batch.outgoing, isolate=self._culprits.isolate)
        return self._remember(shard, batch, Reading(now, began), committed)

    def _remember(self, shard: Shard, batch: Batch, began: Reading, committed: Committed) -> Committed:
        done = self._around.clock.read()
        shard.remember(batch, began.now)
        suspect = committed.suspect is not None
        self.counting.committed(batch, done.now, done.monotonic - began.monotonic, suspect=suspect)
        self._copy.next = committed.offset + 1
        self._sure = committed.suspect is None
        self._culprits.committed()
        self._tell(batch, shard)
        if self._around.committed is not None:
            self._around.committed(self.number, batch, done.now)
        self._suspects = 0 if committed.suspect is None else self._suspects + 1
        if committed.suspect is not None:
            loud = self._say.error if self._suspects >= _ALARM_AFTER else self._say.warning
            loud("commit.suspect", why=committed.suspect, kind=batch.kind, in_a_row=self._suspects)
            self._resync()
        return committed

    # Bursts.

    def _stage(self, shard: Shard, batch: Batch, at: Instant, monotonic: int) -> None:
        """Write a batch ahead of its instant. Memory still holds all that was committed."""
        self._culprits.trying(batch)
        self._sure = False
        try:
            self._log.stage(batch.outgoing, at, spare(at, self._around.clock.read().now))
        except TransactionFailed:
            shard.firing.never_stage(at)
            raise
        self._sure = True
        self._staged = Staged(batch, at, monotonic)
        self._say.debug("burst.staged", due=to_text(at), fires=batch.fires)

    def _keep(self, shard: Shard, staged: Staged, reading: Reading) -> float:
        """Commit what is staged once its instant has come; until then see whether it must be given up.

        What arrives is taken in but waits for the commit. At the instant itself fires come first, as ever.
        """
        if reading.now < staged.at:
            self._open_inbox(shard)
        why = staged.spoiled(shard, reading, self._around.limits)
        if why is not None:
            self._say.info("burst.given_up", due=to_text(staged.at), fires=staged.batch.fires, why=why)
            self._staged = None
            self.counting.given_up()
            self._resync(given_up=True)  # which lets go of the producer, and so aborts
            return 0
        if reading.now < staged.at:
            return self._pause(Rest(staged.at), reading.now)
        self._staged = None
        self._sure = False
        self._remember(shard, staged.batch, reading, self._log.seal())
        return 0

    def _tell(self, batch: Batch, shard: Shard) -> None:
        """Log what was committed, and show the others what is in force now."""
        tell_committed(self._say, batch, shard)
        unknown = self.base is None
        if batch.kind == "asked":
            tell_if_ahead(self._say, shard.state.cursor().due, self._around.clock.read().now)
        if batch.kind in ("change", "change.piece"):
            self.base = shard.base()
        if batch.kind == "change":
            self._topics.tell_unfit(shard.state.records.values(), self._say)
            gc.collect(0)  # young circles that are garbage would be frozen too; of all, it took 0.4 s once
            gc.freeze()  # what is in force stays: no collection need walk it again
            if unknown:  # the file may have changed while there was nothing to compare it with
                self._around.recompare()

    # Trouble.

    def _after_failure(self, error: DispatcherError) -> float | None:
        """Learn from a failed step; return the seconds until the next try, None when there is none."""
        self._failures += 1
        loud = self._say.error if self._failures >= _ALARM_AFTER else self._say.warning
        loud("transaction.failed", error=str(error), kind=type(error).__name__, failures=self._failures)
        self._topics.doubt()
        shard = self._shard
        if self._loop.stopping or (isinstance(error, Fenced) and self._yields()):
            return None  # a successor in this process may be at work: to fence would be to fence that one
        if not self.taken or shard is None:
            self._forget()
            return self._back_off()
        if isinstance(error, Fenced) or (isinstance(error, KafkaUnreachable) and not self._sure):
            return self._back_off()  # who fenced it may own the shard now
        try:
            self._resync()
            refused = self._culprits.blame(error, lambda: self._probe(shard))
        except (TransactionFailed, KafkaUnreachable) as again:
            self._say.warning("shard.unreachable", error=str(again))
            return None if isinstance(again, Fenced) and self._yields() else self._back_off()
        if refused is not None:
            self._say.error("fire.unsendable", fire=refused.fire, why=refused.reason)
            shard.firing.refuse(refused.fire, refused.reason)
            self._failures = 0  # that is progress: many refused fires must not slow their shard down
        elif self._culprits.searching:
            shard.firing.halve()
        return 0 if self._failures < _ALARM_AFTER else self._back_off()

    def _yields(self) -> bool:
        """Tell that the shard was fenced; learn whether it is another's now, which nobody may fence back."""
        self._yielded = not self._around.fenced(self.number)
        if self._yielded:
            self.base = None
        return self._yielded

    def _resync(self, *, given_up: bool = False) -> None:
        """Fence, then read what the ledger holds beyond what is remembered; the ledger is right.

        A change that waits is kept when nothing failed and a staging alone was given up.
        """
        shard = self._shard
        assert shard is not None
        self._sure = False
        self._log.fence()
        fresh, self._copy.next = read_on(self._log, self._copy.next)
        if fresh:
            shard.state.read_on(decode(key, value) for key, value in fresh)
            if any(key == OWNER_KEY for key, _ in fresh):
                tell_of_taker(self._say, shard.state.owner, instance=self._around.instance)
            self._say.warning("ledger.ahead", why="a transaction reported as failed was committed")
            shard.resume()
        elif given_up:
            shard.firing.put_back()
        else:
            shard.retry()
        self._sure = True
        self.base = shard.base()

    def _probe(self, shard: Shard) -> None:
        """Commit a transaction without any fire; it raises when the trouble is not one message's."""
        now = self._around.clock.read().now
        self._perform(shard.probe(now), now)

    def _back_off(self) -> float:
        longest = min(5.0, 0.1 * (1 << min(self._failures, 6)))
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - spreads retries, guards nothing

    # Small things.

    def _drop_old_copy(self, monotonic: int) -> None:
        """Read the whole ledger anew after so long that compaction may have taken tombstones unseen."""
        if self._sure or monotonic - self._sure_at <= _COPY_GOOD_MS:
            self._sure_at = monotonic if self._sure else self._sure_at
            return
        self._copy, self.taken, self.base, self._sure_at = LedgerCopy(), False, None, monotonic

    def _open_inbox(self, shard: Shard) -> None:
        while not self._inbox.empty():  # nobody else takes from it
            self._inbox.get_nowait()(shard)

    def _pause(self, rest: Rest, now: int) -> float:
        return (
            _LONGEST_WAIT_S
            if rest.until is None
            else min(_LONGEST_WAIT_S, max(0.001, (rest.until - now) / 1000))
        )

    def _close(self) -> None:
        self.base = None
        self._log.close()
        self._forget()
        self._staged, self._copy = None, LedgerCopy()

    def _forget(self) -> None:
        if self._shard is not None:
            self._shard.let_go()
        self._shard = None
