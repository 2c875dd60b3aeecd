"""The pool: one thread owns all Kafka I/O of a worker and never stops polling, whatever handlers do.

    deliveries → desk → waiting room → seats → ended → desk → book → one transaction

Stopping goes with the flow: nothing more is delivered, what runs may end, what is decided is committed, and
only then does the worker leave its group.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from dispatcher.clock import Clock, Reading
from dispatcher.core.figures import Figures
from dispatcher.core.instant import Instant
from dispatcher.core.message import Outgoing
from dispatcher.errors import DispatcherError
from dispatcher.ports import Place, WorkHooks, WorkLog
from dispatcher.service import Deadline, Loop, Looped
from dispatcher.work.desk import Desk
from dispatcher.work.flow import Flow
from dispatcher.work.health import Pulse
from dispatcher.work.held import Ended, Held, Word
from dispatcher.work.intake import Handlers
from dispatcher.work.scaler import Scaler
from dispatcher.work.seats import Seats
from dispatcher.work.waiting import WaitingRoom

_LEAST_WAIT_S, _BUSY_WAIT_S, _MOST_WAIT_S = 0.005, 0.03, 0.1
"""While seats work, what they bring back is taken in this soon: the next run of its job may wait for it."""
_LAST_SECONDS = 2.0
"""What of the time for a stop is kept for the last commit and for leaving the group."""
_ALARM_AFTER = 3
_LAST_TRIES = 3


@dataclass(frozen=True, slots=True)
class Habits:
    """The numbers a pool lives by; times in milliseconds.

    A transaction is written once `batch` records wait, or the first has waited for `flush`. At `most` waiting
    records nothing more is delivered. A partition that goes to another worker gives its runs `revoke` to end,
    and those that must not overlap `revoke_hard` more.
    """

    batch: int = 2_000
    flush: int = 100
    most: int = 20_000
    look: int = 200
    revoke: int = 3_000
    revoke_hard: int = 10_000
    stop_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Staff:
    """Who works in a pool: made outside, connected here."""

    desk: Desk
    room: WaitingRoom
    handlers: Handlers
    scaler: Scaler
    flow: Flow
    clock: Clock
    habits: Habits = field(default_factory=Habits)


class Pool(Looped):
    """A worker's pool: a service. `log` makes its Kafka side, in the pool's own thread."""

    def __init__(
        self,
        log: Callable[[WorkHooks], WorkLog],
        staff: Staff,
        *,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._make_log = log
        self._desk, self._room, self._clock = staff.desk, staff.room, staff.clock
        self._handlers, self._scaler, self._flow = staff.handlers, staff.scaler, staff.flow
        self._habits = staff.habits
        self._log: WorkLog | None = None
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._words: SimpleQueue[tuple[str, Instant]] = SimpleQueue()
        self._seats = Seats(staff.room, self._ended, staff.clock)
        self._looked = self._waits_since = self._not_before = 0
        self._failures = 0
        self._say = structlog.get_logger()
        self.figures = Figures()
        """The worker as it was at the last look; replaced as a whole, any thread may read it."""
        begun = staff.clock.read().monotonic
        self.pulse = Pulse(begun, begun, member=False)
        """When the pool last went round; replaced as a whole, any thread may read it."""
        self._member = False
        self._loop = Loop("pool", self._step, close=self._finish, failed=failed)

    def cancel(self, fire: str, asked: Instant) -> None:
        """Cancel what is held of a fire, and what was sent of it before the instant. Never blocks."""
        self._words.put((fire, asked))

    # One step of the loop.

    def _step(self) -> float:
        if self._log is None:
            self._seats.resize(self._scaler.seats)
            self._log = self._make_log(self)
        reading = self._clock.read()
        self._show(self._log, reading)
        self._obey(reading)
        for delivery in self._log.take(self._patience(reading)):
            self._desk.take(delivery, reading.now)
            if self._desk.book.size >= self._habits.most and self._is_due(again := self._clock.read()):
                self._commit(again)
        self._collect()
        self._steer(self._log)
        reading = self._clock.read()
        if reading.monotonic - self._looked >= self._habits.look:
            self._look(self._log, reading)
        if self._is_due(reading):
            self._commit(reading)
        return 0

    def _show(self, log: WorkLog, reading: Reading) -> None:
        """Show that the pool goes round, and when a broker last answered it."""
        heard = reading.monotonic - round(log.silence() * 1000)
        self.pulse = Pulse(reading.monotonic, heard, self._member)

    def _patience(self, reading: Reading) -> float:
        """Return how long to wait for a delivery: not beyond the next commit, nor long while seats work."""
        if self._desk.book.size:
            left = self._waits_since + self._habits.flush - reading.monotonic
            return min(_MOST_WAIT_S, max(_LEAST_WAIT_S, left / 1000))
        return _BUSY_WAIT_S if self._desk.held else _MOST_WAIT_S

    def _obey(self, reading: Reading) -> None:
        while True:
            try:
                fire, asked = self._words.get_nowait()
            except Empty:
                return
            self._desk.cancel(fire, asked, reading)

    def _collect(self, wait: float = 0.0) -> bool:
        """Take in what seats bring back; wait for the first so long. Return whether there was anything."""
        found = False
        while True:
            try:
                ended = self._ended.get(timeout=wait) if wait and not found else self._ended.get_nowait()
            except Empty:
                return found
            found = True
            if ended.held.given_up:
                self._seats.came_back(ended.held)
                self._desk.came_back(ended.held)
            else:
                self._desk.collect(ended)

    def _look(self, log: WorkLog, reading: Reading) -> None:
        """Look after what time brings: overdue runs, the number of seats, partitions that are to wait."""
        self._looked = reading.monotonic
        positions = log.positions()
        self._desk.book.reached(positions)
        for held in self._desk.watch(reading):
            self._lose(held, "it did not end when it was told to")
        wanted = self._scaler.look(self._desk.counting, self._room, positions, reading.monotonic)
        if wanted != self._seats.wanted:
            self._say.debug("seats.changed", before=self._seats.wanted, now=wanted)
        if wanted != self._seats.wanted or self._seats.short():
            self._seats.resize(wanted)
        self.figures = self._scaler.figures(self._desk.counting, self._room, self._seats.wanted)

    def _steer(self, log: WorkLog) -> None:
        hold, go_on = self._flow.steer(self._desk, self._seats.wanted)
        if hold:
            log.hold(hold)
        if go_on:
            log.go_on(go_on)

    # Committing.

    def _is_due(self, reading: Reading) -> bool:
        size = self._desk.book.size
        if not size and not self._desk.book.dirty:
            self._waits_since = reading.monotonic
            return False
        if reading.monotonic < self._not_before:
            return False
        return size >= self._habits.batch or reading.monotonic - self._waits_since >= self._habits.flush

    def _commit(self, reading: Reading) -> bool:
        """Write all that is decided in one transaction; return whether it is committed."""
        assert self._log is not None
        outgoing: Sequence[Outgoing] = ()
        try:
            if self._log.recall():
                self._desk.book.committed()
            outgoing, offsets = self._desk.book.content()
            done = not offsets or self._log.commit(outgoing, offsets)
        except DispatcherError as error:
            done = False
            self._failures += 1
            loud = self._say.error if self._failures >= _ALARM_AFTER else self._say.warning
            topics = sorted({one[0] for one in outgoing})
            loud("outcomes.not_committed", error=str(error), topics=topics, failures=self._failures)
        self._waits_since = reading.monotonic
        if done:
            self._desk.book.committed()
            self._failures = 0
            return True
        self._desk.counting.failed_commits += 1
        self._not_before = reading.monotonic + min(5_000, 100 << min(self._failures, 6))
        return False

    # What the group says, from within the log's calls: the consumer thread's own.

    def assigned(self, places: Mapping[Place, tuple[int, str]]) -> None:
        """Begin with partitions that are this worker's now, once the group knows that it does."""
        self._member = True
        reading = self._clock.read()
        for place, (offset, metadata) in places.items():
            self._desk.book.open(place, offset, metadata, reading.now)
        if self._log is not None and not self._commit(reading):
            self._log.hold(list(places))
            self._flow.note(places)
        self._say.info("partitions.assigned", count=len(places), all=len(list(self._desk.book)))

    def revoked(self, places: Sequence[Place]) -> None:
        """Let runs of partitions that go to another worker end, commit what is decided, and forget them.

        What runs on after that is told to end, and its outcome no longer counts: it is run again. A run
        that must not overlap has to have ended before its partition goes, as long as that can be waited for.
        """
        gone = set(places)
        self._desk.hand_back_waiting(gone)
        self._await(gone, self._habits.revoke, lambda _held: True)
        reading = self._clock.read()
        for held in self._desk.running(gone):
            held.end(Word.HANDED_BACK, "its partition goes to another worker", reading.monotonic)
        self._await(gone, self._habits.revoke_hard, lambda held: held.run.spec.overlap != "allow")
        self._desk.close(gone)
        self._commit(self._clock.read())
        self._forget(gone, "revoked", len(places))

    def lost(self, places: Sequence[Place]) -> None:
        """Forget partitions that may be another worker's already; nothing of them may be committed."""
        self._member = False
        self._forget(set(places), "lost", len(places))

    def _await(self, places: Collection[Place], milliseconds: int, which: Callable[[Held], bool]) -> None:
        deadline = Deadline(milliseconds / 1000)
        while deadline.left() and any(map(which, self._desk.running(places))):
            self._collect(min(0.1, deadline.left()))

    def _forget(self, places: Collection[Place], word: str, count: int) -> None:
        left = self._desk.let_go(places, self._clock.read(), f"its partition was {word}")
        for held in left:
            self._lose(held, f"its partition was {word}")
        self._flow.forget(places)
        event = "partitions.revoked" if word == "revoked" else "partitions.lost"
        self._say.info(event, count=count, abandoned=len(left))

    def _lose(self, held: Held, why: str) -> None:
        """Write a seat off until its handler returns; a run that had no seat yet loses none."""
        if held.started is not None:
            self._seats.write_off(held)
        self._say.warning("run.abandoned", fire=held.run.fire, attempt=held.run.attempt, why=why)

    # The end.

    def _finish(self) -> None:
        """Deliver nothing more, let runs end, tell those that do not to, commit, leave the group."""
        log = self._log
        self._room.close()
        if log is not None:
            self._drain(log)
            log.close()
        self._seats.join(Deadline(_LAST_SECONDS / 4))
        self._handlers.close()

    def _drain(self, log: WorkLog) -> None:
        every = list(self._desk.book)
        log.hold(every)
        self._desk.hand_back_waiting(every)
        self._say.info("pool.draining", runs=len(self._desk.held), seconds=self._habits.stop_seconds)
        deadline = Deadline(max(0.0, self._habits.stop_seconds - _LAST_SECONDS))
        self._poll_until_ended(log, deadline)
        reading = self._clock.read()
        for held in list(self._desk.held.values()):
            held.end(Word.HANDED_BACK, "the worker stops", reading.monotonic)
        self._poll_until_ended(log, Deadline(_LAST_SECONDS / 2))
        if self._desk.held:
            self._say.warning("runs.handed_back", count=len(self._desk.held))
        for _ in range(_LAST_TRIES):
            self._desk.close(every)
            if self._commit(self._clock.read()):
                return
            log.take(_MOST_WAIT_S)  # the group may have taken partitions away, which is why

    def _poll_until_ended(self, log: WorkLog, deadline: Deadline) -> None:
        """Wait for runs to end; go on polling, and commit as ever: a stop must not cost the membership."""
        while self._desk.held and deadline.left():
            if not self._collect(min(0.05, deadline.left())):
                log.take(0.0)  # held partitions deliver nothing: this keeps the membership alone
            self._show(log, reading := self._clock.read())
            if self._is_due(reading):
                self._commit(reading)
