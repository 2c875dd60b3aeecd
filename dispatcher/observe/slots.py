"""Where each planned fire has its byte: one row of bytes for all, a stretch of it for each tenure."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.observe.instants import instant_of
from dispatcher.observe.shard_history import History, Tenure
from dispatcher.observe.timing import Table, Timing, Window


@dataclass(slots=True)
class Slot:
    """The bytes of the fires that one tenure plans in (after, until]: `shift` + rank is the place of each.

    `topic` is where the messages go, `end` the place behind the last byte.
    """

    tenure: Tenure
    table: Table
    topic: str
    after: int
    until: int
    shift: int
    end: int

    def place(self, planned: int) -> int:
        """Return the place of a fire in the row, -1 when it is not planned; for instants within the slot."""
        rank = self.table.rank(planned)
        return self.shift + rank if self.table.at(rank) == planned else -1

    def stretch(self, after: int, until: int) -> tuple[int, int]:
        """Return the places [begin, end) of the fires planned in (after, until] and the slot."""
        low, high = max(after, self.after), min(until, self.until)
        if low >= high:
            return 0, 0
        return self.shift + self.table.rank(low) + 1, self.shift + self.table.rank(high) + 1


class Slots:
    """The slots of all tenures of a history within a window, by job and in the order of the row."""

    def __init__(self, history: History, window: Window) -> None:
        self.by_job: dict[bytes, list[Slot]] = {}
        self.row: list[Slot] = []
        self.size = 0
        tenures = _tenures(history)
        tables = _tables(tenures, window)
        topics: dict[str, str] = {}
        for name, all_of in tenures.items():
            slots = self.by_job[name] = []
            for tenure in all_of:
                version = tenure.version
                after, until = _window(tenure, window)
                topic = version.topic
                if not version.own_topic:
                    topic = topics.setdefault(topic, f"{history.prefix}.{topic}")
                table = tables[version.timing] if after < until else version.timing.table((after, after))
                slots.append(self._slot(tenure, table, topic, (after, until)))

    def find(self, job: bytes, planned: int) -> Slot | None:
        """Return the slot that an instant of a job falls into."""
        for slot in self.by_job.get(job, ()):
            if slot.after < planned <= slot.until:
                return slot
        return None

    def locate(self, fire: bytes) -> int:
        """Return the place of a fire by its id, -1 when it is not planned, or not in the window."""
        job, _, text = fire.rpartition(b"@")
        try:
            planned = instant_of(text.decode())
        except ValueError:
            return -1
        slot = self.find(job, planned)
        return -1 if slot is None else slot.place(planned)

    def _slot(self, tenure: Tenure, table: Table, topic: str, window: Window) -> Slot:
        after, until = window
        first = table.rank(after)
        begin = self.size
        if after < until:
            self.size += table.rank(until) - first
        slot = Slot(tenure, table, topic, after, until, begin - first - 1, self.size)
        if self.size > begin:
            self.row.append(slot)
        return slot


def _tenures(history: History) -> dict[bytes, list[Tenure]]:
    found: dict[bytes, list[Tenure]] = {}
    for shard in history.shards:
        for name, tenures in shard.tenures().items():
            found.setdefault(name, []).extend(tenures)
    return found


def _window(tenure: Tenure, window: Window) -> Window:
    """Return the part of a window in which a tenure plans."""
    return tenure.version.within(max(tenure.after, window[0]), min(tenure.until, window[1]))


def _tables(tenures: dict[bytes, list[Tenure]], window: Window) -> dict[Timing, Table]:
    """Return one table for each timing, wide enough for all its tenures."""
    widest: dict[Timing, Window] = {}
    for all_of in tenures.values():
        for tenure in all_of:
            after, until = _window(tenure, window)
            if after < until:
                timing = tenure.version.timing
                wide = widest.get(timing)
                if wide is not None:
                    after, until = min(after, wide[0]), max(until, wide[1])
                widest[timing] = (after, until)
    return {timing: timing.table(wide) for timing, wide in widest.items()}
