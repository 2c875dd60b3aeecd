"""What is asked of jobs and fires, worked into one transaction: triggers, retries, pauses, cancellations.

All of it lies in the ledger: timers, jobs that are paused, and what is done already. Nothing in memory
changes before that is committed, so a transaction that fails is simply decided anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dispatcher.core.backlog import Skip
from dispatcher.core.batch import Draft
from dispatcher.core.command import Command, CommandType, retry_id
from dispatcher.core.instant import Instant, from_text
from dispatcher.core.ledger import Done, Paused, PausedGone, Timer, TimerGone
from dispatcher.core.message import MessageMaker, asked_id, fire_in, is_planned, timer_of
from dispatcher.core.record import JobRecord
from dispatcher.core.run_event import cancelled, fire_of_timer, not_sent, redriven, triggered
from dispatcher.core.state import ShardState

OF_JOBS: frozenset[CommandType] = frozenset(("trigger", "pause", "resume", "cancel", "retry"))
"""The commands about one job or fire."""

Answer = dict[str, Any]


class Refused(Exception):
    """A command is not obeyed; the text says why."""


class Asked:
    """Obeys commands about jobs and fires into one draft. What stands in it already counts as done."""

    def __init__(self, state: ShardState, maker: MessageMaker, now: Instant, into: Draft) -> None:
        self._state = state
        self._maker = maker
        self._now = now
        self._into = into
        self._done: set[str] = set()
        self._paused: dict[str, Instant | None] = {}
        self._timers: dict[str, Timer | None] = {}
        self._by_fire: defaultdict[str, list[str]] | None = None

    def obey(self, command: Command) -> Answer:
        """Do what a command asks for; return what is answered. Raises Refused when it cannot be."""
        ways: Mapping[str, Callable[[Command], Answer]] = {
            "trigger": self._trigger,
            "retry": self._retry,
            "pause": self._pause,
            "resume": self._resume,
            "cancel": self._cancel,
        }
        return ways[command.type](command)

    def refused(self, command: Command, why: str) -> None:
        """Record that a retry which nobody waits for will not go out: the fire would be lost in silence."""
        if command.type == "retry" and command.origin == "pool":
            assert command.job is not None
            assert command.fire is not None
            assert command.attempt is not None
            event = not_sent(command.job, command.fire, command.attempt, f"refused: {why}")
            self._into.events.append(event)

    # The ways.

    def _trigger(self, command: Command) -> Answer:
        assert command.job is not None
        assert self._state.position is not None
        job, now, fire = self._record(command.job).job, self._now, asked_id(command.job, command.id)
        answer = {"job": job.name, "fire": fire, "done": True}
        if self._is_done(fire):
            return {**answer, "repeated": True}
        try:
            message = self._maker.asked(job, fire, now, self._state.position.revision)
        except KeyError as error:
            raise Refused(f"there is no topic {error.args[0]!r} that this dispatcher may write") from error
        timer = replace(timer_of(job, now, message, None), id=fire, due=now)
        self._put(timer, fire)
        self._into.events.append(triggered(timer, command.id))
        return answer

    def _retry(self, command: Command) -> Answer:
        """Have an attempt made, whoever asks for it: once for the attempt, and once for the command's id.

        An id that asked for another attempt before does nothing, and the answer tells no attempt.
        """
        assert command.fire is not None
        assert command.attempt is not None
        answer = {"job": command.job, "fire": command.fire, "done": True}
        ident, once = f"{command.fire}#{command.attempt}", retry_id(command.fire, command.attempt)
        if self._is_done(once) or self._timer(ident) is not None:
            self._note(command.id)
            return {**answer, "attempt": command.attempt, "repeated": True}
        if self._is_done(command.id):
            return {**answer, "repeated": True}
        timer = self._again(ident, command)
        self._put(timer, once)
        self._note(command.id)
        if command.origin != "pool":
            self._into.events.append(redriven(timer, command.id))
        return {**answer, "attempt": command.attempt}

    def _again(self, ident: str, command: Command) -> Timer:
        """Return the timer that sends a command's message again. Raises Refused when it may not be sent.

        A message that does not say which fire it is could not be told from others if brokers refused it.
        """
        parcel, fire, attempt, at = command.parcel, command.fire, command.attempt, command.at
        assert parcel is not None
        assert fire is not None
        assert attempt is not None
        assert at is not None
        if fire_in(parcel.headers) != fire:
            raise Refused("its message is not that of the fire: `ce_type` and `ce_id` must say so")
        key = fire.encode() if parcel.key is None else parcel.key
        try:
            partition, headers = self._maker.again(parcel.topic, key, attempt, list(parcel.headers))
        except KeyError as error:
            raise Refused(f"there is no topic {parcel.topic!r} that messages may be sent to") from error
        return Timer(
            id=ident,
            job=command.job or "",
            planned=_planned(parcel.headers, at),
            due=at,
            attempt=attempt,
            topic=parcel.topic,
            partition=partition,
            key=parcel.key,
            value=parcel.value,
            headers=tuple(headers),
        )

    def _pause(self, command: Command) -> Answer:
        assert command.job is not None
        name = self._record(command.job).name
        if self._is_paused(name):
            return {"job": name, "done": False}
        self._paused[name] = self._now
        self._into.facts.append(Paused(name, self._now))
        return {"job": name, "done": True}

    def _resume(self, command: Command) -> Answer:
        assert command.job is not None
        if not self._is_paused(command.job):
            return {"job": self._record(command.job).name, "done": False}
        self._paused[command.job] = None
        self._into.facts.append(PausedGone(command.job))
        return {"job": command.job, "done": True}

    def _cancel(self, command: Command) -> Answer:
        assert command.fire is not None
        timers = self._of_fire(command.fire)
        for timer in timers:
            self._timers[timer.id] = None
            self._into.facts.append(TimerGone(timer.id))
            self._into.events.append(cancelled(timer, command.id))
            if is_planned(timer):
                skip = Skip(timer.job, "cancelled", 1, timer.planned - 1, timer.planned)
                self._into.skips.append(skip)
        return {"fire": command.fire, "done": bool(timers)}

    # What holds, with what stands in the draft.

    def _record(self, name: str) -> JobRecord:
        record = self._state.records.get(name)
        if record is None:
            raise Refused(f"no job {name!r} is in force in this shard")
        return record

    def _is_done(self, ident: str) -> bool:
        return ident in self._done or ident in self._state.done

    def _is_paused(self, name: str) -> bool:
        return (self._paused if name in self._paused else self._state.paused).get(name) is not None

    def _timer(self, ident: str) -> Timer | None:
        return (self._timers if ident in self._timers else self._state.timers).get(ident)

    def _note(self, ident: str) -> None:
        """Note that something is done, if nobody knows yet."""
        if not self._is_done(ident):
            self._done.add(ident)
            self._into.facts.append(Done(ident, self._now))

    def _put(self, timer: Timer, done: str) -> None:
        """Put a timer into the draft, and that it is done."""
        self._timers[timer.id] = timer
        self._into.facts.append(timer)
        self._note(done)
        if self._by_fire is not None:
            self._by_fire[fire_of_timer(timer)].append(timer.id)

    def _of_fire(self, fire: str) -> list[Timer]:
        """Return the timers of a fire. All are looked through once for a draft, if any is cancelled."""
        if self._by_fire is None:
            self._by_fire = defaultdict(list)
            for timer in {**self._state.timers, **self._timers}.values():
                if timer is not None:
                    self._by_fire[fire_of_timer(timer)].append(timer.id)
        found = map(self._timer, self._by_fire.pop(fire, ()))
        return [timer for timer in found if timer is not None]


def _planned(headers: tuple[tuple[str, bytes], ...], at: Instant) -> Instant:
    """Return the instant that a message was planned for; messages are not trusted."""
    try:
        return from_text(dict(headers)["ce_time"].decode())
    except (KeyError, ValueError):
        return at
