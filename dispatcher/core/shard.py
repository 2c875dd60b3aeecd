"""A shard's mind: given `now`, it decides what the next transaction holds, and remembers it once committed.

Decide, then act, then remember: the caller performs a decided batch in one transaction, and only
`remember` takes the committed facts into the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dispatcher.core.batch import Batch, Draft, Encoder, Limits, Rest
from dispatcher.core.burst import landed, touches
from dispatcher.core.catching_up import CatchingUp
from dispatcher.core.changing import Changing
from dispatcher.core.command import Command
from dispatcher.core.event import Event
from dispatcher.core.firing import Firing, missed_until
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.ledger import (
    Change,
    ChangeGone,
    Cursor,
    DoneGone,
    Identity,
    JobVersions,
    Owner,
    Position,
    Timer,
)
from dispatcher.core.message import MessageMaker
from dispatcher.core.obeying import Obeying
from dispatcher.core.record import JobRecord
from dispatcher.core.schedule import ChangeSet, ShardBase
from dispatcher.core.state import ShardState, fresh_position


class Shard:
    """One shard: its state, what it fires, what it changes, what it still owes."""

    def __init__(
        self,
        number: int,
        state: ShardState,
        maker: MessageMaker,
        encoder: Encoder,
        *,
        instance: str,
        limits: Limits,
    ) -> None:
        self.number = number
        self.state = state
        self.firing = Firing(state, maker, limits)
        self.changing = Changing(number, state, maker, instance=instance, limits=limits)
        self.clock_hold: str | None = None
        """Why nothing fires until somebody accepts the clock, or None."""
        self._encoder = encoder
        self._instance = instance
        self._limits = limits
        self._catching_up = CatchingUp(state, self.firing, limits)
        self._obeying = Obeying(
            number, state, self.firing, self.changing, maker, accept_clock=self._accept_clock, limits=limits
        )
        self._waiting: list[Event] = []
        self._landed: list[Event] = []
        """Events of bursts: they go with whatever is written next, but nothing is written for them."""
        self._beaten: Instant = 0
        self._fired_last = False
        self._obeyed_last = False
        """Whether commands were obeyed last: a long row of them lets what is due go out in between."""
        self._burst_last = False
        """Whether a burst went out since the last piece of backlog, which then comes before the next."""

    # Taking the shard.

    def claim(self, now: Instant, identity: Identity) -> Batch:
        """Return the first transaction of an owner: its name, and what the ledger belongs to."""
        state = self.state
        self._catching_up.await_file(now)
        draft = self._draft("claim", state.position or fresh_position())
        draft.facts.append(Owner(self._instance, now))
        draft.move(abandoned=state.abandoned())
        if state.identity != identity:
            draft.facts.append(identity)
        if state.identity is not None and _rules(state.identity) != _rules(identity):
            self._change_rules(draft, state.identity, identity)
        return self._encoder.batch(draft, now)

    def resume(self) -> None:
        """Plan anew from the state, after the ledger was read."""
        self.firing.resume()
        self.changing.reset()
        self._catching_up.reset()
        self._obeying.committed()

    def retry(self) -> None:
        """Go on after a transaction that the ledger does not know: nothing of it happened."""
        self.firing.put_back()
        self.changing.reset()
        self._catching_up.reset()

    def missed(self, now: Instant) -> Batch | None:
        """Return the transaction that makes what is due before `now` backlog, or None when nothing is."""
        due = self.firing.plan.next_due()
        if due is None or due >= now:
            return None
        draft = missed_until(self._draft("backlog.open"), now, self._limits.catch_up_most)
        return self._encoder.batch(draft, now)

    def probe(self, now: Instant) -> Batch:
        """Return a transaction that fires nothing: it tells whether the shard can write at all."""
        return self._encoder.batch(self._draft("probe"), now)

    # What arrives.

    def base(self) -> ShardBase | None:
        """Return what is in force, or None while a change is being brought in."""
        if self.changing.staging:
            return None
        jobs = tuple([record.job for record in self.state.records.values()])
        return ShardBase(self.number, self._position().change, self._position().revision, jobs)

    def offer(self, change: ChangeSet) -> None:
        """Take a change set of the file."""
        self.changing.offer(change)

    def looked(self, revision: str) -> None:
        """Learn that the file was looked at and is of this revision (empty: it cannot be read).

        Backlog need not wait for it any longer, and what waits of another revision is gone.
        """
        self._catching_up.file_seen()
        ended = self.changing.forget_all_but(revision)
        if ended is not None:
            data = {"revision": ended.change.revision, "reason": ended.reason}
            ident = f"schedule.released/{self.number}/{ended.change.revision}/{ended.change.seen}"
            self.tell(Event("schedule.released", ident, "", data))

    def take(self, command: Command | None, next_offset: int) -> None:
        """Take a command (None: a record that was none) and the offset behind it."""
        self._obeying.take(command, next_offset)

    def await_commands(self, now: Instant) -> None:
        """Have backlog wait until the commands were read to their end, for a bounded time."""
        self._catching_up.await_commands(now)

    def commands_read(self) -> None:
        """Learn that the commands were read to the end they had: backlog need not wait for them."""
        self._catching_up.commands_read()

    def disturbs(self, at: Instant, now: Instant) -> bool:
        """Return whether a change came that what is staged for an instant must not be committed before."""
        change = self.changing.pending
        return change is not None and (
            len(change) > self._limits.piece or touches(change, self.state.records, self._position(), at, now)
        )

    def tell(self, event: Event) -> None:
        """Have an event written with the next transaction."""
        self._waiting.append(event)

    # Deciding and remembering.

    def decide(self, now: Instant) -> Batch | Rest:
        """Return the next transaction, or until when there is nothing to do."""
        draft = self._draft("")
        for draft.kind, turn in self._turns():
            if turn(draft, now):
                waiting = self._waiting if draft.at is None else []
                return self._encoder.batch(draft, now, [*self._landed, *waiting])
        return Rest(self._wake_at(now))

    def _turns(self) -> Iterator[tuple[str, Callable[[Draft, Instant], bool]]]:
        """Yield who may say, one after the other, what comes next. Whoever says nothing leaves no trace."""
        held = self.clock_hold is not None
        if self._obeyed_last and self._obeying.waiting and not held:
            yield "fires", self._fires
        yield "asked", self._asked
        if not held:
            changes_first = self._fired_last and self.changing.waiting
            if changes_first:
                yield "changes", self._changes
            yield "fires", self._fires
            if not changes_first:
                yield "changes", self._changes
            if self._burst_last:
                yield "backlog", self._backlog
            yield "burst", self._burst
            if not self._burst_last:
                yield "backlog", self._backlog
            yield "heartbeat", self._heartbeat
        yield "tidy", self._tidy

    def prepare(self, now: Instant) -> bool:
        """Make some messages that are due soon; return whether there are more to make."""
        return self.clock_hold is None and self.firing.prepare(now)

    def remember(self, batch: Batch, now: Instant) -> None:
        """Take in a batch committed at `now`."""
        self._beaten = now
        self._fired_last = batch.kind in ("fires", "burst")
        self._obeyed_last = batch.kind == "asked"
        self._burst_last = batch.kind == "burst" or (self._burst_last and batch.piece is None)
        if batch.told:
            del self._waiting[: batch.told - len(self._landed)]
            self._landed = []
        if batch.at is not None:
            self._landed.append(landed(batch, now, self.number))
        before = self.state.position
        touched = self._touched(batch)
        for fact in batch.facts:
            if isinstance(fact, Timer) and fact.id not in self.state.timers:
                self.firing.timer(fact)
            self.state.apply(fact, batch.jobs)
        self.firing.settled(batch.settled)
        if before is not None and before.change != self._position().change:
            self._replan(touched)
        self.firing.moved(self._position().cursor)
        self.changing.committed(batch.kind)
        self._catching_up.settled(batch.piece)
        self._obeying.committed()

    # Turns: each puts its next piece of work into the draft, or returns False.

    def _fires(self, draft: Draft, now: Instant) -> bool:
        if self.firing.behind(now):
            draft.kind = "backlog.open"
            missed_until(draft, now, self._limits.catch_up_most)
            return True
        return self.firing.draft(now, draft)

    def _changes(self, draft: Draft, now: Instant) -> bool:
        found = self.changing.draft(now, draft)
        if self.changing.held is not None:
            self._catching_up.file_seen()
        return found

    def _asked(self, draft: Draft, now: Instant) -> bool:
        found = self._obeying.draft(now, draft, held=self.clock_hold is not None)
        return found or bool(self._waiting)

    def _backlog(self, draft: Draft, now: Instant) -> bool:
        return self._catching_up.draft(now, draft)

    def _burst(self, draft: Draft, now: Instant) -> bool:
        """Stage what is due next, when its time has come and no change can come before it."""
        begin = self.firing.stage_at(now)
        if begin is None or now < begin:
            return False
        at, identity, held_until = self.firing.next_due(), self.state.identity, self.changing.until()
        if at is None or identity is None or self.changing.waiting:
            return False
        if held_until is not None and held_until <= at:
            return False
        return self.firing.draft_burst(identity.shards, draft)

    def _tidy(self, draft: Draft, now: Instant) -> bool:
        if self.changing.staging:
            return False
        if self.state.garbage:
            garbage = sorted(self.state.garbage)[: self._limits.piece]
            draft.facts += map(self.state.tidied, garbage)
        draft.facts += map(ChangeGone, self.state.unused_changes())
        if self.state.done and self.clock_hold is None:
            draft.facts += map(DoneGone, self.state.long_done(now, self._limits.piece))
        return bool(draft.facts)

    def _heartbeat(self, draft: Draft, now: Instant) -> bool:
        if now - self._beaten < self._limits.heartbeat_ms:
            return False
        due = self.firing.plan.next_due()
        reached = Cursor(now if due is None else min(now, due))
        draft.move(cursor=max(draft.position.cursor, reached))
        return True

    # Parts.

    def _draft(self, kind: str, position: Position | None = None) -> Draft:
        return Draft(kind, position or self._position())

    def _position(self) -> Position:
        assert self.state.position is not None
        return self.state.position

    def _wake_at(self, now: Instant) -> Instant | None:
        if self.clock_hold is not None:
            return None
        wakes = [self.firing.wake_at(now), self.changing.until(), self._beaten + self._limits.heartbeat_ms]
        wakes.append(self._catching_up.wake(now))
        return min(wake for wake in wakes if wake is not None)

    def _touched(self, batch: Batch) -> dict[str, JobRecord | None]:
        """Return the records that a batch replaces, as they were."""
        if batch.kind != "change":
            return {}
        names = self.changing.touched()
        if names is None:
            names = [fact.name for fact in batch.facts if isinstance(fact, JobVersions)]
        return {name: self.state.records.get(name) for name in names}

    def _replan(self, touched: dict[str, JobRecord | None]) -> None:
        self.firing.put_back()
        plan = self.firing.plan
        for name, old in touched.items():
            if old is not None:
                plan.discard(old)
            new = self.state.records.get(name)
            if new is not None:
                plan.add(new)
        self._catching_up.reset()

    def let_go(self) -> None:
        """Hold nothing any more; nothing may be asked of it afterwards.

        It refers to itself through its parts: all its jobs would stay until a full collection, which a daemon
        of many jobs as good as never makes.
        """
        self.__dict__.clear()

    def _accept_clock(self) -> bool:
        held, self.clock_hold = self.clock_hold is not None, None
        return held

    def _change_rules(self, draft: Draft, before: Identity, after: Identity) -> None:
        """Note as a change of its own that the rules of time, or the cron engine, are others than before.

        They plan all that is not settled. The clock has no say: nobody knows yet whether it is right.
        """
        number = self.state.next_change()
        effective_from = max(draft.position.cursor.due, draft.position.effective_from)
        draft.facts.append(Change(number, effective_from))
        draft.move(change=number, effective_from=effective_from)
        data = {
            "change": number,
            "revision": draft.position.revision,
            "effectiveFrom": to_text(effective_from),
            "rules": {"before": _rules(before), "after": _rules(after)},
        }
        draft.events.append(Event("schedule.applied", f"schedule.applied/{self.number}/{number}", "", data))


def _rules(identity: Identity) -> dict[str, str]:
    return {"tzdata": identity.tzdata, "engine": identity.engine}
