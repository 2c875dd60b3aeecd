"""Reading whole topics while a bar tells how far that is, on standard error, if that is a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dispatcher.core.instant import Instant
from dispatcher.core.log_record import Record
from dispatcher.kafka.history import Extent, HistoryReader, Partition


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show how far the reading is."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def read_with(
    progress: Progress,
    reader: HistoryReader,
    label: str,
    extents: Mapping[Partition, Extent],
    first: dict[Partition, Instant],
) -> Iterator[Record]:
    """Yield the records of partitions; note in `first` the time of the first record of each."""
    task = progress.add_task(label, total=sum(one.high - one.low for one in extents.values()))
    for batch in reader.read(extents):
        for record in batch:
            first.setdefault((record.topic, record.partition), record.timestamp)
            yield record
        progress.advance(task, len(batch))
    progress.remove_task(task)
