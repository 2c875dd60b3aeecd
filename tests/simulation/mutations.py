"""Every safety rule, taken away: what the simulation must notice. Each says what it breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import Any
from unittest.mock import patch

from confluent_kafka import KafkaException

from dispatcher.clock import Reading
from dispatcher.core import asked, changing, firing, shard
from dispatcher.core.asked import Asked
from dispatcher.core.batch import Batch, Draft, Encoder
from dispatcher.core.catching_up import CatchingUp
from dispatcher.core.change import Numbered
from dispatcher.core.firing import Firing, missed_until
from dispatcher.core.ledger import Done, TimerGone
from dispatcher.core.message import Outgoing
from dispatcher.core.obeying import Obeying
from dispatcher.core.plan import Plan
from dispatcher.core.shard import Shard
from dispatcher.core.state import ShardState
from dispatcher.kafka import shard_log
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.ports import Committed, LogEnds
from dispatcher.produce import shard_thread
from dispatcher.produce.ledger import read_to_end
from dispatcher.produce.shard_thread import ShardThread
from simulation.replica import TOPICS, MemoryLog

Mutation = Callable[[], AbstractContextManager[object]]


@contextmanager
def read_before_fence() -> Iterator[None]:
    """An owner that reads before it fences misses what its predecessor commits in between."""
    fence, ready = KafkaShardLog.fence, KafkaShardLog._ready

    def late(self: Any) -> None:
        self.close()
        self.unfenced = True

    def fenced(self: Any) -> Any:
        if getattr(self, "unfenced", False):
            self.unfenced = False
            fence(self)
        return ready(self)

    with patch.object(KafkaShardLog, "fence", late), patch.object(KafkaShardLog, "_ready", fenced):
        yield


def read_to_the_committed_end() -> AbstractContextManager[object]:
    """The committed end can lie below records that are committed: an owner would begin with an old cursor."""
    return patch.object(MemoryLog, "ends", lambda self: LogEnds(0, self.stable_end()))


def trust_slow_commits() -> AbstractContextManager[object]:
    """A slow commit may hide a second request: the first, late, ends another transaction."""
    return patch.object(KafkaShardLog, "_suspicion", lambda *_: None)


def suspect_too_late() -> AbstractContextManager[object]:
    """A hidden retry costs less than a second: the threshold must lie below the library's back-off."""
    return patch.object(shard_log, "SUSPECT_COMMIT_SECONDS", 1.0)


@contextmanager
def keep_after_failure() -> Iterator[None]:
    """A producer that goes on after an abort meets the late request of that abort."""
    fence, close = KafkaShardLog.fence, KafkaShardLog.close

    def keep(self: Any) -> None:
        transactor = self._transactor
        if transactor is None or not transactor._may_abort:
            close(self)
            return
        with suppress(KafkaException):
            transactor._producer.abort_transaction(2.0)
            transactor._may_abort = False

    def again(self: Any) -> None:
        if self._transactor is None:
            fence(self)

    with patch.object(KafkaShardLog, "close", keep), patch.object(KafkaShardLog, "fence", again):
        yield


def trust_memory() -> AbstractContextManager[object]:
    """After a failure the ledger may hold what memory does not."""
    return patch.object(shard_thread, "read_on", lambda log, _: ([], log.ends().high))


def trust_a_warm_copy() -> AbstractContextManager[object]:
    """A copy of the ledger is old the moment it was read."""
    read = read_to_end
    return patch.object(
        shard_thread, "read_to_end", lambda log, copy: copy.state() if copy.next else read(log, copy)
    )


@contextmanager
def commit_fires_apart() -> Iterator[None]:
    """The cursor belongs into the transaction of the fires it stands for."""
    commit = KafkaShardLog.commit

    def apart(self: Any, outgoing: Sequence[Outgoing], *, isolate: bool = False) -> Committed:
        fires = [one for one in outgoing if one[0] != TOPICS.ledger]
        if fires and commit(self, fires, isolate=isolate).suspect is not None:
            self.fence()
        return commit(self, [one for one in outgoing if one[0] == TOPICS.ledger])

    with patch.object(KafkaShardLog, "commit", apart):
        yield


@contextmanager
def remember_before_commit() -> Iterator[None]:
    """What is remembered before it is committed is lost when it is not."""
    perform = ShardThread._perform

    def early(self: Any, batch: Batch, now: int) -> Committed:
        self._shard.remember(batch, now)
        with patch.object(self._shard, "remember", lambda *_: None):
            return perform(self, batch, now)

    with patch.object(ShardThread, "_perform", early):
        yield


def an_id_for_each_replica() -> AbstractContextManager[object]:
    """Only producers of one transactional id fence one another."""
    make = KafkaShardLog.fence

    def own(self: Any) -> None:
        self._id = f"t-shard-0-{self._process.machine.name}"
        make(self)

    return patch.object(KafkaShardLog, "fence", own)


def change_from_when_it_was_seen() -> AbstractContextManager[object]:
    """A change must not take effect before what is settled already."""
    return patch.object(changing, "max", lambda first, *_: first, create=True)


def change_from_its_instant_on() -> AbstractContextManager[object]:
    """A change takes effect strictly after an instant, else that one is both versions'."""
    return patch.dict(Plan.__init__.__kwdefaults__, {"floor": lambda record: record.effective_from - 1})


def forget_what_is_owed() -> AbstractContextManager[object]:
    """Fires that the old version planned, and that are due later, are kept as timers."""
    return patch("dispatcher.core.change.owed", lambda *_: ([], []))


def forget_the_backlog_of_retimed_jobs() -> AbstractContextManager[object]:
    """The backlog of a job that is removed or re-timed ends as a recorded skip."""
    return patch("dispatcher.core.change.ended_backlog", lambda *_: [])


def forget_old_versions() -> AbstractContextManager[object]:
    """While there is backlog, a job's older versions are needed to settle it."""

    def without(number: int, revision: str, effective_from: int | None, **_: bool) -> Numbered:
        return Numbered(number, revision, effective_from, keep_old=effective_from is None)

    return patch.object(changing, "Numbered", without)


@contextmanager
def open_backlog_a_transaction_later() -> Iterator[None]:
    """The cursor that skips what was missed and the interval that says so are one fact."""
    missed, fires, draft, remember = Shard.missed, Shard._fires, Shard._draft, Shard.remember
    late: list[Any] = []

    def without(into: Draft, now: int, *rest: Any) -> Draft:
        opened = missed_until(into, now, *rest)
        late.append(opened.position.backlog[-1])
        opened.position = opened.position._replace(backlog=opened.position.backlog[:-1])
        return opened

    def keep(self: Any, found: Any) -> Any:
        self.late = list(late)
        late.clear()
        return found

    def later(self: Any, *rest: Any) -> Draft:
        made = draft(self, *rest)
        made.move(backlog=(*made.position.backlog, *getattr(self, "late", ())))
        return made

    def remembered(self: Any, batch: Batch, now: int) -> None:
        remember(self, batch, now)
        if batch.kind != "backlog.open":
            self.late = []

    with (
        patch.object(shard, "missed_until", without),
        patch.object(Shard, "missed", lambda self, now: keep(self, missed(self, now))),
        patch.object(Shard, "_fires", lambda self, into, now: keep(self, fires(self, into, now))),
        patch.object(Shard, "_draft", later),
        patch.object(Shard, "remember", remembered),
    ):
        yield


def reuse_change_numbers() -> AbstractContextManager[object]:
    """Pieces of a change that was given up must not come into force with the next one."""
    return patch.object(ShardState, "abandoned", lambda _: ())


def take_changes_against_another_base() -> AbstractContextManager[object]:
    """A change set fits only what it was compared with."""
    return patch.object(changing.Changing, "_fits", lambda *_: True)


@contextmanager
def keep_timers_that_fired() -> Iterator[None]:
    """A timer goes in the transaction that sends it."""
    put = Firing._put_timer

    def without(self: Any, timer: Any, now: int, into: Draft) -> None:
        put(self, timer, now, into)
        into.facts = [fact for fact in into.facts if not isinstance(fact, TimerGone)]
        self._state.timers.pop(timer.id, None)

    with patch.object(Firing, "_put_timer", without):
        yield


@contextmanager
def send_timers_as_jobs_are_now() -> Iterator[None]:
    """A timer holds the whole message: an edit in between changes nothing in it."""
    put = Firing._put_timer

    def renewed(self: Any, timer: Any, now: int, into: Draft) -> None:
        record = self._state.records.get(timer.job)
        put(self, timer if record is None else replace(timer, value=record.job.definition), now, into)

    with patch.object(Firing, "_put_timer", renewed):
        yield


def commit_bursts_at_once() -> AbstractContextManager[object]:
    """A burst is committed at its instant, not before."""
    keep = ShardThread._keep
    return patch.object(
        ShardThread,
        "_keep",
        lambda self, one, staged, reading: keep(
            self, one, staged, Reading(max(staged.at, reading.now), reading.monotonic)
        ),
    )


@contextmanager
def stage_several_instants() -> Iterator[None]:
    """Only fires of one instant may wait for it."""
    draft_burst = Firing.draft_burst

    def wider(self: Any, *rest: Any) -> bool:
        ready = self.plan.ready
        with patch.object(self.plan, "ready", lambda until, most: ready(until + 1_000, most)):
            return draft_burst(self, *rest)

    with patch.object(Firing, "draft_burst", wider):
        yield


@contextmanager
def put_changes_in_force_by_halves() -> Iterator[None]:
    """A change brought in pieces takes force when all of them are written."""
    next_piece = changing.Changing._next_piece

    def hasty(self: Any, now: int, staging: Any, into: Draft) -> bool:
        if staging.done:
            staging.todo = staging.todo[: staging.done]
        return next_piece(self, now, staging, into)

    with patch.object(changing.Changing, "_next_piece", hasty):
        yield


@contextmanager
def forget_backlog_progress() -> Iterator[None]:
    """How far backlog is settled is written with what settles it."""
    draft, pieces = CatchingUp.draft, count()

    def without(self: Any, now: int, into: Draft) -> bool:
        before = into.position.backlog
        found = draft(self, now, into)
        if found and into.position.backlog and next(pieces) % 3 == 0:  # or it would never come to an end
            into.move(backlog=before)
        return found

    with patch.object(CatchingUp, "draft", without):
        yield


def forget_ids_of_commands() -> AbstractContextManager[object]:
    """What is asked twice is done once: clients repeat themselves, and so does whoever reads them."""
    return patch.object(Asked, "_is_done", lambda *_: False)


@contextmanager
def _kept_in_memory(prefix: bytes) -> Iterator[None]:
    """Have memory hold what is not written to the ledger."""
    make = Encoder.batch

    def without(self: Any, draft: Draft, now: int, *waiting: Any) -> Batch:
        batch = make(self, draft, now, *waiting)
        kept = [one for one in batch.outgoing if one[1] is None or not (one[2] or b"").startswith(prefix)]
        return replace(batch, outgoing=kept)

    with patch.object(Encoder, "batch", without):
        yield


def keep_ids_of_commands_in_memory() -> AbstractContextManager[object]:
    """What is done must be known to whoever takes the shard next."""
    return _kept_in_memory(b"done/")


def keep_pauses_in_memory() -> AbstractContextManager[object]:
    """A job stays paused whoever takes the shard next."""
    return _kept_in_memory(b"paused/")


@contextmanager
def pass_commands_a_transaction_later() -> Iterator[None]:
    """What a command does and the offset behind it are one transaction."""
    draft, remember, make, read_to = Obeying.draft, Shard.remember, Shard._draft, Obeying._read_to

    def late(self: Any, now: int, into: Draft, *, held: bool) -> bool:
        before = into.position.commands
        found = draft(self, now, into, held=held)
        if found:
            self.after = into.position.commands
            into.move(commands=before)
        return found

    def remembered(self: Any, batch: Batch, now: int) -> None:
        remember(self, batch, now)
        if batch.kind == "asked":
            self._obeying.passed = getattr(self._obeying, "after", 0)
            self._obeying.committed()

    def moved(self: Any, *rest: Any) -> Draft:
        made = make(self, *rest)
        made.move(commands=max(made.position.commands or 0, getattr(self._obeying, "passed", 0)))
        return made

    with (
        patch.object(Obeying, "draft", late),
        patch.object(Obeying, "_read_to", lambda self: max(read_to(self), getattr(self, "passed", 0))),
        patch.object(Shard, "remember", remembered),
        patch.object(Shard, "_draft", moved),
    ):
        yield


@contextmanager
def count_commands_as_done_before_the_commit() -> Iterator[None]:
    """What is asked is done once its transaction is committed: else it is lost with it."""
    draft = Obeying.draft

    def early(self: Any, now: int, into: Draft, *, held: bool) -> bool:
        found = draft(self, now, into, held=held)
        for fact in into.facts:
            if isinstance(fact, Done):
                self._state.apply(fact)
        return found

    with patch.object(Obeying, "draft", early):
        yield


def withhold_what_was_asked_for() -> AbstractContextManager[object]:
    """A pause is for the fires of the plan, and their skips are not those of an attempt."""
    return patch.object(firing, "is_planned", lambda _: True)


def cancel_fires_of_the_plan_unrecorded() -> AbstractContextManager[object]:
    """A fire that the plan left as a timer and that is cancelled is a recorded skip."""
    return patch.object(asked, "is_planned", lambda _: False)


@contextmanager
def retry_at_once() -> Iterator[None]:
    """A retry waits for its instant."""
    again = Asked._again

    def hasty(self: Any, *rest: Any) -> Any:
        return replace(again(self, *rest), due=self._now)

    with patch.object(Asked, "_again", hasty):
        yield


MUTATIONS: Mapping[str, Mutation] = {
    one.__name__: one
    for one in (
        read_before_fence,
        read_to_the_committed_end,
        trust_slow_commits,
        suspect_too_late,
        keep_after_failure,
        trust_memory,
        trust_a_warm_copy,
        commit_fires_apart,
        remember_before_commit,
        an_id_for_each_replica,
        change_from_when_it_was_seen,
        change_from_its_instant_on,
        forget_what_is_owed,
        forget_the_backlog_of_retimed_jobs,
        forget_old_versions,
        open_backlog_a_transaction_later,
        reuse_change_numbers,
        take_changes_against_another_base,
        keep_timers_that_fired,
        send_timers_as_jobs_are_now,
        commit_bursts_at_once,
        stage_several_instants,
        put_changes_in_force_by_halves,
        forget_backlog_progress,
        forget_ids_of_commands,
        keep_ids_of_commands_in_memory,
        keep_pauses_in_memory,
        pass_commands_a_transaction_later,
        count_commands_as_done_before_the_commit,
        withhold_what_was_asked_for,
        cancel_fires_of_the_plan_unrecorded,
        retry_at_once,
    )
}
