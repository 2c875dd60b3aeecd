"""The fresh fires of a shard: from the plan and the timers into batches, made ahead where there is time."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from operator import itemgetter

from dispatcher.core.backlog import Skip
from dispatcher.core.batch import Draft, Limits
from dispatcher.core.burst import begins, fitting, shares_partitions
from dispatcher.core.instant import Instant
from dispatcher.core.job import CatchUp, Job
from dispatcher.core.ledger import Cursor, Interval, Timer, TimerGone
from dispatcher.core.message import MessageMaker, Outgoing, fire_id, is_planned, message_of, timer_of
from dispatcher.core.plan import Fire, Plan
from dispatcher.core.run_event import fire_of_timer, not_sent
from dispatcher.core.state import ShardState

PAUSED = "paused"
"""The reason of skips of jobs that somebody paused."""
_MADE_AT_ONCE = 1_000


class Firing:
    """Decides which fires go out next. `resume` follows a restore, `settled` a commit."""

    def __init__(self, state: ShardState, maker: MessageMaker, limits: Limits) -> None:
        self.plan = Plan(Cursor(0))
        self.limit = limits.batch
        """Messages in the next batch: halved while a culprit is looked for."""
        self._state = state
        self._maker = maker
        self._limits = limits
        self._made: list[Outgoing | None] = []
        self._timers: list[tuple[Instant, str]] = []
        self._refused: dict[str, str] = {}
        self._unstaged: Instant | None = None

    def resume(self) -> None:
        """Build plan and timers anew from the state."""
        self.plan = Plan(self._state.cursor(), self._state.records.values())
        self._made = []
        self._timers = sorted((timer.due, timer.id) for timer in self._state.timers.values())

    def put_back(self) -> None:
        """Forget what was pulled and made ahead; nothing of it was committed."""
        self.plan.put_back()
        self._made = []

    def next_due(self) -> Instant | None:
        """Return when the next fire or timer is due."""
        due = self.plan.next_due()
        timer = self._timers[0][0] if self._timers else None
        return due if timer is None else timer if due is None else min(due, timer)

    def wake_at(self, now: Instant) -> Instant | None:
        """Return when there is something to do next: to make messages, to stage or to send."""
        due, planned = self.next_due(), self.plan.next_due()
        if due is None or planned is None or not self._limits.stage_ahead_ms:
            return due
        soon = planned - self._limits.ahead_ms
        begin = soon if soon > now else self.stage_at(now)
        return due if begin is None or begin <= now else min(due, begin)

    def stage_at(self, now: Instant) -> Instant | None:
        """Return when to begin to stage what is due next, or None when that is not to be staged.

        It is not when a timer is due before it or with it, nor while a culprit is looked for.
        """
        due = self.plan.next_due()
        if due is None or due <= now or due - now > self._limits.ahead_ms or due == self._unstaged:
            return None
        if self.limit < self._limits.batch or (self._timers and self._timers[0][0] <= due):
            return None
        return begins(due, self.plan.together(), self._limits)

    def draft_burst(self, shards: int, into: Draft) -> bool:
        """Put what is due next, before it is due, into a draft to be staged; return whether it may be.

        Fires that may lie in partitions of other shards stay behind as timers; too many are no burst.
        """
        due = self.plan.next_due()
        assert due is not None
        fires = self.plan.ready(due, self._limits.stage_most)
        self._make(fires[len(self._made) :])
        fires = fires[: fitting(self._made[: len(fires)], self._limits.stage_bytes)]
        shared = frozenset(
            one.name
            for (_, _, _, one), message in zip(fires, self._made, strict=False)
            if message is not None and self._shares(one.job, message[0], shards)
        )
        if len(shared) > self._limits.batch:
            self._unstaged = due
            return False
        self._put_fires(fires, into, shared)
        into.at = due
        return True

    def never_stage(self, at: Instant) -> None:
        """Learn that staging what is due at an instant failed: it goes out from the instant on."""
        self._unstaged = at

    def behind(self, now: Instant) -> bool:
        """Return whether fires are so late that nobody can have been at work: they are missed, not fresh."""
        due = self.plan.next_due()
        return due is not None and due < now - self._limits.behind_ms

    def draft(self, now: Instant, into: Draft) -> bool:
        """Put what is due at `now` into a draft; return whether there is anything."""
        timers = self._due_timers(now)
        due = self.plan.next_due()
        fires = (
            self.plan.ready(now, max(0, self.limit - len(timers))) if due is not None and due <= now else []
        )
        for timer in timers:
            self._put_timer(timer, now, into)
        if fires:
            self._put_fires(fires, into)
        return bool(fires or timers)

    def prepare(self, now: Instant) -> bool:
        """Make some messages that are due soon; return whether there are more to make."""
        due = self.plan.next_due()
        if due is None or due - now > self._limits.ahead_ms or len(self._made) >= self._limits.ahead:
            return False
        made = len(self._made)
        fires = self.plan.ready(due, made + _MADE_AT_ONCE)
        self._make(fires[made:])
        return len(fires) == made + _MADE_AT_ONCE

    def settled(self, fires: int) -> None:
        """Learn that so many ready fires are committed, and perhaps timers."""
        self.plan.settle(fires)
        del self._made[:fires]
        gone = 0
        while gone < len(self._timers) and self._standing(self._timers[gone]) is None:
            gone += 1
        del self._timers[:gone]
        self.limit = min(self.limit * 2, self._limits.batch)

    def moved(self, cursor: Cursor) -> None:
        """Learn that the cursor was moved past fires settled elsewhere."""
        if cursor != self.plan.cursor:
            self._made = []
            self.plan.skip_to(cursor)

    def timer(self, timer: Timer) -> None:
        """Learn of a new timer."""
        insort(self._timers, (timer.due, timer.id))

    def refuse(self, fire: str, reason: str) -> None:
        """Learn that a fire's message cannot be sent: it becomes a recorded skip."""
        if len(self._refused) > 10_000:
            self._refused.clear()
        self._refused[fire] = reason
        self.put_back()

    def halve(self) -> None:
        """Look for the message at fault in half as many."""
        self.limit = max(1, self.limit // 2)

    def put(self, job: Job, planned: Instant, into: Draft) -> None:
        """Put one fire into a draft: its message, or the skip that says why there is none."""
        self._put(job, planned, self._message(job, planned), into)

    def _put(self, job: Job, planned: Instant, message: Outgoing | None, into: Draft) -> None:
        reason = self._withheld(job, planned, message)
        if reason is None:
            assert message is not None  # without one there is a reason
            into.fire(message, planned + job.delay_ms)
        else:
            into.skips.append(Skip(job.name, reason, 1, planned - 1, planned))

    def _withheld(self, job: Job, planned: Instant, message: Outgoing | None) -> str | None:
        """Return why a planned fire does not go out, None when it does."""
        if job.name in self._state.paused:
            return PAUSED
        refused = self._refused.get(fire_id(job.name, planned)) if self._refused else None
        if refused is not None:
            return f"unsendable: {refused}"
        if message is None:
            return f"unsendable: no topic {self._maker.topic_of(job)!r} that this dispatcher may write"
        return None

    def _put_fires(self, fires: list[Fire], into: Draft, later: frozenset[str] = frozenset()) -> None:
        self._make(fires[len(self._made) :])
        made = self._made[: len(fires)]
        paused = self._state.paused
        if self._refused or paused or later or None in made:
            for (_, _, planned, record), message in zip(fires, made, strict=True):
                if message is not None and record.name in later and record.name not in paused:
                    into.facts.append(_kept(record.job, planned, message))
                else:
                    self._put(record.job, planned, message, into)
        else:
            into.fires += made  # type: ignore[arg-type] # the branch above took every None
            for due, count in _dues(fires):
                into.dues[due] = into.dues.get(due, 0) + count
        into.settled = len(fires)
        into.move(cursor=Cursor(fires[-1][0], fires[-1][1]))

    def _make(self, fires: list[Fire]) -> None:
        assert self._state.position is not None
        self._made += [self._message(record.job, planned) for _, _, planned, record in fires]

    def _message(self, job: Job, planned: Instant) -> Outgoing | None:
        assert self._state.position is not None
        try:
            return self._maker.fire(job, planned, self._state.position.revision)
        except KeyError:
            return None

    def _shares(self, job: Job, topic: str, shards: int) -> bool:
        if job.route.key is None and job.route.topic is None:
            return False
        return shares_partitions(job, self._maker.partitions(topic), shards)

    def _due_timers(self, now: Instant) -> list[Timer]:
        due = []
        for place in islice(self._timers, self.limit):
            if place[0] > now:
                break
            timer = self._standing(place)
            if timer is not None:
                due.append(timer)
        return due

    def _standing(self, place: tuple[Instant, str]) -> Timer | None:
        """Return the timer that waits for an instant, None when it is gone, or waits for another by now."""
        timer = self._state.timers.get(place[1])
        return timer if timer is not None and timer.due == place[0] else None

    def _put_timer(self, timer: Timer, now: Instant, into: Draft) -> None:
        into.facts.append(TimerGone(timer.id))
        reason = self._timer_withheld(timer, now)
        if reason is None:
            into.fire(message_of(timer), timer.due)
        elif is_planned(timer):
            into.skips.append(Skip(timer.job, reason, 1, timer.planned - 1, timer.planned))
        else:
            into.events.append(not_sent(timer.job, fire_of_timer(timer), timer.attempt, reason))

    def _timer_withheld(self, timer: Timer, now: Instant) -> str | None:
        """Return why a timer's message does not go out; what was asked for does though its job is paused."""
        if timer.grace_ms is not None and now - timer.due >= max(timer.grace_ms, self._limits.behind_ms):
            return "missed"
        if timer.job in self._state.paused and is_planned(timer):
            return PAUSED
        refused = self._refused.get(fire_of_timer(timer)) if self._refused else None
        return None if refused is None else f"unsendable: {refused}"


def _dues(fires: list[Fire]) -> Iterable[tuple[Instant, int]]:
    """Return how many fires are due when; mostly all at once."""
    first, last = fires[0][0], fires[-1][0]
    return [(first, len(fires))] if first == last else Counter(map(itemgetter(0), fires)).items()


def _kept(job: Job, planned: Instant, message: Outgoing) -> Timer:
    """Return a fire as a timer; unless its job has no use for late ones it goes out however late it is."""
    grace = job.policy.grace_ms if job.policy.catch_up is CatchUp.NONE else None
    return timer_of(job, planned, message, grace)


def missed_until(draft: Draft, now: Instant, most: int) -> Draft:
    """Turn what was missed into an interval; from now on only what is due from `now` on is fresh.

    `most` fires of a job with `catchUp: all` will be sent of it at the most; 0: all.
    """
    position = draft.position
    interval = Interval(position.cursor, now, position.change, most=most)
    draft.position = position._replace(cursor=Cursor(now), backlog=(*position.backlog, interval))
    return draft
