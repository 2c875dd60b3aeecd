"""The desk: every delivery comes in here, and every run ends here. The consumer thread's own.

Nothing is committed here: what is decided goes into the book.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dispatcher.clock import Reading
from dispatcher.core.instant import Instant
from dispatcher.core.job import Lane
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.core.run import Delivery, Poison, Run, RunReader
from dispatcher.core.settling import MOST_BEGUN, Settled, Settler
from dispatcher.ports import End, Place, Witness
from dispatcher.work.book import Book
from dispatcher.work.handling import Cancel
from dispatcher.work.held import Ended, Held, Word
from dispatcher.work.intake import Intake, Ready
from dispatcher.work.overlap import Gate
from dispatcher.work.seats import attempt
from dispatcher.work.tally import Counting
from dispatcher.work.waiting import WaitingRoom

_CANCELS_KEPT = 10_000
_NEVER = Cancel()


@dataclass(frozen=True, slots=True)
class Times:
    """How long things may take, in milliseconds.

    A run is told of as begun after `told_after`. One that was told to end and did not within `grace` is given
    up. A handler ends overdue runs by itself; `leeway` later it is told to.
    """

    told_after: int = 500
    grace: int = 15_000
    leeway: int = 500


USUAL_TIMES = Times()


class Desk:
    """Takes deliveries in, and settles what ended."""

    def __init__(
        self,
        reader: RunReader,
        intake: Intake,
        settler: Settler,
        room: WaitingRoom,
        *,
        lanes: Mapping[str, Lane],
        times: Times = USUAL_TIMES,
        witness: Witness = lambda _end: None,
    ) -> None:
        self.book = Book()
        self.counting = Counting()
        self.held: dict[tuple[Place, int], Held] = {}
        """Every run that was delivered and has not ended."""
        self.by_topic: Counter[str] = Counter()
        """How many of them there are of each topic."""
        self.held_bytes = 0
        self._reader = reader
        self._intake = intake
        self._settler = settler
        self._room = room
        self._lanes = lanes
        self._times = times
        self._witness = witness
        self._gate = Gate()
        self._cancelled: dict[str, tuple[Instant, str]] = {}

    # Coming in.

    def take(self, delivery: Delivery, now: Instant) -> None:
        """Take a delivery in: settle it at once, or let it wait for a seat."""
        page = self.book.page(delivery.place)
        if page is None:
            return  # its partition went to another worker meanwhile
        past = page.progress.take(delivery.offset)
        if past is None:
            return  # it was settled in another life of this partition
        maybe = page.may_have_begun(delivery.timestamp)
        run = self._reader.read(delivery, past, maybe=maybe)
        if isinstance(run, Poison):
            settled = self._settler.poisoned(run, self._reader.shard_of(delivery), now)
            self._settle(delivery, settled, self._lanes.get(delivery.topic, Lane.NORMAL), "")
            return
        lane = self._lanes.get(delivery.topic, run.spec.lane)
        self.counting.arrived[lane] += 1
        self.counting.redelivered += past.known
        ready = self._admitted(run, now)
        if isinstance(ready, Settled):
            self._settle(delivery, ready, lane, "")  # names in messages are without number
        elif ready.handler.instant:
            outcome = attempt(run, ready.handler, ready.payload, _NEVER)
            settled = self._settler.ended(run, outcome, now, now)
            self._settle(delivery, settled, lane, ready.handler.name, (now, now))
        else:
            self._let_wait(Held(run, lane, ready.handler, ready.payload, past.unended or maybe), now)

    def _admitted(self, run: Run, now: Instant) -> Ready | Settled:
        """Return who runs it, or the end of what nobody is to run."""
        if self._cancelled:
            cancel = self._cancelled.get(run.fire)
            if cancel is not None and run.delivery.timestamp <= cancel[0]:
                return self._settler.cancelled(run, cancel[1], now)
        if run.not_after is not None and now > run.not_after:
            return self._settler.expired(run, now)
        ready = self._intake.ready(run)
        if isinstance(ready, str):
            return self._settler.dead(run, ready, now, now)
        if run.begun >= MOST_BEGUN:
            why = f"its worker died while it ran, {run.begun} times: it is not tried once more"
            return self._settler.dead(run, why, now, now)
        return ready

    def _let_wait(self, held: Held, now: Instant) -> None:
        in_way = self._gate.enter(held)
        if in_way is not None and in_way is not held:
            self.counting.overlaps += 1
            settled = self._settler.overlapped(held.run, in_way.run.fire, now)
            self._settle(held.run.delivery, settled, held.lane, held.handler.name)
            return
        self.held[held.place, held.offset] = held
        self.by_topic[held.run.delivery.topic] += 1
        self.held_bytes += len(held.run.delivery.value or b"")
        if in_way is None:
            self._let_on(held)

    def _let_on(self, held: Held) -> None:
        """Let a run go on to a seat; count it if another one of its job may be under way all the same."""
        self.counting.unfenced += self._gate.meets(held)
        self._room.put(held)

    # Ending.

    def collect(self, ended: Ended) -> None:
        """Settle a run that a seat brings back, unless its partition is another's or it is to run again."""
        held = ended.held
        if not self._drop(held):
            return
        settled = self._end_of(ended)
        if settled is None:
            self.book.note_handed_back(held.place, held.offset, ended=True)
        else:
            times = None if ended.outcome is None else (ended.started, ended.ended)
            self._settle(held.run.delivery, settled, held.lane, held.handler.name, times)

    def _end_of(self, ended: Ended) -> Settled | None:
        held, outcome = ended.held, ended.outcome
        if outcome is None:
            return self._settler.expired(held.run, ended.ended)
        if not isinstance(outcome, Succeeded):
            if held.word is Word.HANDED_BACK:
                return None
            outcome = _by_word(held, outcome)
        return self._settler.ended(held.run, outcome, ended.started, ended.ended)

    def _drop(self, held: Held) -> bool:
        """Forget a run that is held, and let the next of its job go on; return whether it was held."""
        if self.held.pop((held.place, held.offset), None) is not held:
            return False
        self.by_topic[held.run.delivery.topic] -= 1
        self.held_bytes -= len(held.run.delivery.value or b"")
        following = self._gate.leave(held)
        if following is not None:
            self._let_on(following)
        return True

    def _settle(
        self,
        delivery: Delivery,
        settled: Settled,
        lane: Lane,
        handler: str,
        times: tuple[Instant, Instant] | None = None,
    ) -> None:
        """Note an end; `times` are those of a run that began."""
        if self.book.settle(delivery.place, delivery.offset, settled.outgoing):
            took = 0 if times is None else times[1] - times[0]
            self.counting.end(settled.kind, lane, handler, took)
            if times is not None:
                self.counting.attempt(handler, settled.attempt, took)
            self._witness(End(delivery, settled, handler, times))

    # What is asked, and what time brings.

    def cancel(self, fire: str, asked: Instant, reading: Reading) -> None:
        """Cancel the runs of a fire that are held, and those that were sent before it was asked."""
        reason = "somebody asked for it"
        if len(self._cancelled) >= _CANCELS_KEPT:
            del self._cancelled[next(iter(self._cancelled))]
        self._cancelled[fire] = (asked, reason)
        for held in [one for one in self.held.values() if one.run.fire == fire]:
            if held.run.delivery.timestamp > asked:
                continue
            if held.started is not None or not self._leaves(held):
                held.end(Word.CANCELLED, reason, reading.monotonic)
                continue
            settled = self._settler.cancelled(held.run, reason, reading.now)
            self._settle(held.run.delivery, settled, held.lane, held.handler.name)

    def _leaves(self, held: Held) -> bool:
        """Take out a run that has not begun; return whether it had not."""
        waits = self._room.remove(held) or self._gate.waits(held)
        return waits and self._drop(held)

    def watch(self, reading: Reading) -> list[Held]:
        """Tell overdue runs to end, note those that go on; return those that do not end and are given up."""
        hopeless = []
        for held in list(self.held.values()):
            started = held.started
            if started is None:
                continue
            if not held.told and reading.now - started >= self._times.told_after:
                held.told = True
                note = self._settler.started(held.run, started, reading.now)
                self.book.note_begun(held.place, held.offset, note)
            limit = held.run.spec.timeout_ms
            if limit is not None and reading.monotonic - held.started_monotonic > limit + self._times.leeway:
                held.end(Word.OVERDUE, f"it took longer than its {limit / 1000:g} s", reading.monotonic)
            if held.word is not None and reading.monotonic - held.told_to_end > self._times.grace:
                hopeless.append(held)
        for held in hopeless:
            self._give_up(held, reading.now)
        return hopeless

    def _give_up(self, held: Held, now: Instant) -> None:
        """End a run whose handler does not end: its seat is lost until it does."""
        self._abandon(held)
        if held.word is not Word.HANDED_BACK:
            why = f"{held.cancel.reason}, and its handler did not end when it was told to"
            outcome = _by_word(held, Failed(why))
            started = held.started or now
            settled = self._settler.ended(held.run, outcome, started, now)
            self._settle(held.run.delivery, settled, held.lane, held.handler.name, (started, now))

    def _abandon(self, held: Held) -> None:
        held.given_up = True
        self._gate.give_up(held)
        self._drop(held)

    def came_back(self, held: Held) -> None:
        """Learn that the handler of a run that was given up has ended."""
        self._gate.came_back(held)

    # Partitions.

    def hand_back_waiting(self, places: Collection[Place]) -> None:
        """Forget what has not begun of some partitions: it is delivered again, here or elsewhere."""
        while True:  # what leaves lets others of its job go on, which then wait too
            waiting = [one for one in self._of(places) if one.started is None and self._leaves(one)]
            if not waiting:
                return

    def running(self, places: Collection[Place]) -> list[Held]:
        """Return the runs of some partitions that have begun, or are about to."""
        return self._of(places)

    def let_go(self, places: Collection[Place], reading: Reading, why: str) -> list[Held]:
        """Forget partitions, and tell what still runs of them to end; return what was running."""
        self.hand_back_waiting(places)
        left = self._of(places)
        for held in left:
            held.end(Word.HANDED_BACK, why, reading.monotonic)
            self._abandon(held)
        self.book.tear_out(places)
        return left

    def close(self, places: Collection[Place]) -> None:
        """Note what still runs of partitions that are let go of, so that another life knows it exactly.

        It is handed back, too: that it does not end when it is told to is no reason to count it.
        """
        for held in self._of(places):
            self.book.note_handed_back(held.place, held.offset, ended=False)
        self.book.close(places)

    def _of(self, places: Collection[Place]) -> list[Held]:
        return [held for held in self.held.values() if held.place in places]


def _by_word(held: Held, outcome: Outcome) -> Outcome:
    """Return what an end means that was asked for: cancelled is cancelled, overdue has failed."""
    if held.word is Word.CANCELLED and isinstance(outcome, Failed):
        return Cancelled(held.cancel.reason, outcome.output)
    if held.word is not Word.CANCELLED and isinstance(outcome, Cancelled):
        return Failed(held.cancel.reason or outcome.reason, output=outcome.output)
    return outcome
