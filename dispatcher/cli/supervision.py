"""What `run` shows of itself to a supervisor, and how any command tells of its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dispatcher.core.health import Health
from dispatcher.daemon import Daemon
from dispatcher.kafka.config import Connection
from dispatcher.notify import Herald, Notifier, View
from dispatcher.service import Deadline
from dispatcher.standstill import standstills

_END_SECONDS = 3.0


@contextmanager
def supervised() -> Iterator[Herald]:
    """Tell a supervisor, if there is one, how the process is; an error that ends it too."""
    notifier = Notifier()
    herald = Herald(notifier)
    herald.start()
    try:
        yield herald
    except Exception as error:
        _end(herald)
        herald.ended(f"failed: {error}")
        raise
    finally:
        _end(herald)
        notifier.close()


def _end(herald: Herald) -> None:
    herald.stop()
    herald.join(Deadline(_END_SECONDS))


def in_turn(*calls: Callable[[], object]) -> Callable[[], None]:
    """Return one call of several."""

    def call_all() -> None:
        for call in calls:
            call()

    return call_all


def waiting_for(connection: Connection) -> Callable[[], View]:
    """Return the view of a process that waits for Kafka."""
    return lambda: View(f"waiting for Kafka at {connection.bootstrap}")


def view_of_daemon(daemon: Daemon, shards: int) -> View:
    """Return how a daemon of so many shards is."""
    readiness = daemon.readiness()
    words = [*_refused(daemon), *trouble(daemon.health(), readiness), *_work_of(daemon, shards, readiness)]
    return View("; ".join(words), readiness.healthy, standstills(daemon.motions()))


def trouble(health: Health, readiness: Health) -> Iterator[str]:
    """Yield in words what is the matter, nothing when all is well."""
    if not health.healthy:
        yield f"not well: {', '.join(health.reasons)}"
    elif not readiness.healthy:
        yield f"not ready: {', '.join(readiness.reasons)}"


def _refused(daemon: Daemon) -> Iterator[str]:
    if (error := daemon.feed.error) is not None:
        yield f"reload refused: {error}"


def _work_of(daemon: Daemon, shards: int, readiness: Health) -> Iterator[str]:
    standings = [one for one in daemon.host.standings() if one.taken]
    if standings:
        numbers = ", ".join(str(one.shard) for one in standings)
        revisions = ", ".join(sorted({one.revision[:12] for one in standings if one.revision}))
        yield f"at work on shards {numbers} of {shards}, schedule {revisions or 'none'}"
    elif readiness.healthy:
        yield "stands by"
