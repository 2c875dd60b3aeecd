"""The table of metrics, its page, and what the program shows: all three say the same."""

from __future__ import annotations

import gc
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from memory_log import Commit
from prometheus_client.parser import text_string_to_metric_families
from shard_world import job
from test_shard_thread import T0, Bench

from dispatcher.cli.root import root
from dispatcher.core.figures import Figures, LaneFigures
from dispatcher.core.health import Health
from dispatcher.core.job import Lane
from dispatcher.core.ledger import Cursor, Interval, Position
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.shard_figures import Counts, Epoch, HostFigures, ShardNow
from dispatcher.core.spread import Spread, Tally
from dispatcher.errors import ScheduleUnreadable
from dispatcher.observe import metric_table as table
from dispatcher.observe.absence import Seen
from dispatcher.observe.daemon_figures import DaemonFigures
from dispatcher.observe.daemon_metrics import daemon_metrics
from dispatcher.observe.daemon_status import daemon_status
from dispatcher.observe.exposition import Exposition
from dispatcher.observe.metric_table import TABLE, Kind, Metric, Role
from dispatcher.observe.pool_figures import wanted, worker_metrics, worker_status
from dispatcher.produce.counting import Counting
from dispatcher.produce.host import ShardHost

PAGE = Path(__file__).parents[2] / "dispatcher" / "METRICS.md"
OTHERS = ("process_", "python_gc_")
ILL = Health(("no broker answers",))

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def spread(bounds: tuple[float, ...], *values: float) -> Spread:
    tally = Tally(bounds)
    for value in values:
        tally.add(value)
    return tally.frozen()


def position(due: int = T0 - 5_000, *backlog: Interval) -> Position:
    return Position(Cursor(due), "r" * 64, 3, backlog=backlog)


COUNTS = Counts(
    7, {"missed": 2, "unsendable": 1}, {"fresh": spread(table.LATENESS.buckets, 0.004, 0.3, 9_000)},
    {"fires": spread(table.TRANSACTIONS.buckets, 0.02)}, {"landed": 2}, {"a": 3}, 4, 1, 2, 5,
)  # fmt: skip
STATES = {"enabled": 5, "paused": 1}
FIGURES = DaemonFigures(
    T0, 2,
    HostFigures(
        {0: ShardNow("r", 3, "the clock jumped", "it removes 9 of 10 jobs", STATES, Epoch(40, 6))},
        {0: COUNTS, 1: COUNTS}, taken=3, given_up=2, refused=1, refused_since=T0 - 9_000,
    ),
    {
        0: Seen(position(), T0 - 75_000),
        1: Seen(position(0, Interval(Cursor(T0 - 60_000), T0 - 1_000, 3))),
    },
    {0: 4, 1: 0}, ("line 1: wrong", "line 2: wrong"), readiness=ILL,
)  # fmt: skip
POOL = Figures(
    seats=4, most_seats=8, lanes={Lane.HIGH: LaneFigures(1, 2, 3, 4.5), Lane.LOW: LaneFigures()},
    runs={("succeeded", Lane.HIGH): 6, ("dead", Lane.HIGH): 2}, handler_seconds={"http": 1.5},
    handler_runs={"http": 8}, run_times={"http": spread(table.RUN_TIMES.buckets, 0.2, 70)},
    first_attempts=7, later_attempts=1, redelivered=1, overlaps=2, failed_commits=3, replicas=2,
)  # fmt: skip


def read(text: bytes) -> tuple[dict[str, str], Samples]:
    """Return kinds by name and samples, as a Prometheus client reads them."""
    kinds, samples = {}, {}
    for family in text_string_to_metric_families(text.decode()):
        if not family.name.startswith(OTHERS):
            counter = family.type == "counter"
            kinds[f"{family.name}_total" if counter else family.name] = family.type
            for one in family.samples:
                assert (one.name, tuple(sorted(one.labels.items()))) not in samples
                samples[one.name, tuple(sorted(one.labels.items()))] = one.value
    return kinds, samples


DISPATCHER, WORKER = (
    Exposition(lambda: daemon_metrics(FIGURES)).text(),
    Exposition(lambda: worker_metrics(POOL, Health(), ILL)).text(),
)


@pytest.mark.parametrize(("role", "text"), [(Role.DISPATCHER, DISPATCHER), (Role.WORKER, WORKER)])
def test_what_is_shown_is_the_table_and_what_is_in_the_table_is_shown(role: Role, text: bytes) -> None:
    assert read(text)[0] == {one.name: str(one.kind) for one in TABLE if one.role is role}


@pytest.mark.parametrize(("role", "text"), [(Role.DISPATCHER, DISPATCHER), (Role.WORKER, WORKER)])
def test_every_metric_has_the_labels_of_the_table(role: Role, text: bytes) -> None:
    found: dict[str, set[str]] = {}
    for name, labels in read(text)[1]:
        base = re.sub(r"_(bucket|sum|count)$", "", name) if name not in {one.name for one in TABLE} else name
        found.setdefault(base, set()).update(label for label, _ in labels if label != "le")
    assert found == {one.name: set(one.labels) for one in TABLE if one.role is role}


def test_every_metric_of_the_module_is_in_the_table_once() -> None:
    declared = [one for one in vars(table).values() if isinstance(one, Metric)]
    assert sorted(declared, key=lambda one: one.name) == sorted(TABLE, key=lambda one: one.name)
    assert len({one.name for one in TABLE}) == len(TABLE)


def test_names_follow_the_rules_of_prometheus() -> None:
    for one in TABLE:
        assert one.name.startswith("dispatcher_worker_" if one.role is Role.WORKER else "dispatcher_")
        assert one.name.endswith("_total") == (one.kind is Kind.COUNTER), one.name
        assert bool(one.buckets) == (one.kind is Kind.HISTOGRAM), one.name
        assert list(one.buckets) == sorted(one.buckets)
        assert "|" not in one.text


def test_the_page_says_what_the_table_says() -> None:
    made = CliRunner().invoke(root, ["metrics"]).output
    assert made == PAGE.read_text(encoding="utf-8"), "run `dispatcher metrics > dispatcher/METRICS.md`"


def test_values_are_those_of_the_figures() -> None:
    _, found = read(DISPATCHER)

    def of(name: str, **labels: str) -> float:
        return found[f"dispatcher_{name}", tuple(sorted(labels.items()))]

    assert of("fires_total") == 14
    assert (of("skips_total", reason="missed"), of("skips_total", reason="unsendable")) == (4, 2)
    assert of("lateness_seconds_bucket", kind="fresh", le="0.005") == 2
    assert of("lateness_seconds_bucket", kind="fresh", le="0.5") == 4
    assert of("lateness_seconds_bucket", kind="fresh", le="+Inf") == 6
    assert of("lateness_seconds_sum", kind="fresh") == pytest.approx(18_000.608)
    assert (of("overdue_seconds", shard="0"), of("overdue_seconds", shard="1")) == (15, 0)
    assert (of("cursor_age_seconds", shard="0"), of("cursor_age_seconds", shard="1")) == (5, 0)
    assert (of("backlog_age_seconds", shard="0"), of("backlog_age_seconds", shard="1")) == (0, 60)
    assert of("reload_refused_since_seconds") == T0 / 1000 - 9
    assert (of("healthy"), of("ready"), of("reload_held"), of("clock_held")) == (1, 0, 1, 1)
    assert of("staged_bursts_total", outcome="given_up") == 0
    assert (of("ledger_tail_lag", shard="0"), of("job_fires_total", job="a")) == (4, 6)
    assert (of("jobs", state="enabled"), of("jobs", state="disabled"), of("jobs", state="paused")) == (
        5,
        0,
        1,
    )


def test_a_worker_tells_dead_letters_by_lane_and_attempts() -> None:
    _, found = read(WORKER)
    assert found["dispatcher_worker_dead_total", (("lane", "high"),)] == 2
    assert found["dispatcher_worker_dead_total", (("lane", "low"),)] == 0
    assert found["dispatcher_worker_attempts_total", (("attempt", "again"),)] == 1
    assert found["dispatcher_worker_run_seconds_bucket", (("handler", "http"), ("le", "0.5"))] == 1
    assert found["dispatcher_worker_behind", (("lane", "high"),)] == 3
    assert wanted(POOL)["wantedSeats"] == 4.5
    status = worker_status("w1", POOL, Health(), ILL)
    assert (status["ready"], status["reasons"]) == (False, ["no broker answers"])


def test_the_status_says_what_is_in_force_and_what_is_not() -> None:
    status = daemon_status("a", FIGURES, {1: "b"}.get, {0: T0 + 1, 1: None}.get)
    assert status["schedule"] == {
        "revisions": ["r" * 64],
        "refused": {
            "since": "2026-11-20T12:00:21Z", "count": 2, "problems": ["line 1: wrong", "line 2: wrong"]
        },
        "held": {"0": "it removes 9 of 10 jobs"},
    }  # fmt: skip
    ours, others = status["shards"]
    assert (ours["owner"], ours["ours"], ours["clockHold"]) == ("a", True, "the clock jumped")
    assert (ours["producerId"], ours["producerEpoch"]) == (40, 6)
    assert "producerEpoch" not in others, "the owner alone knows"
    assert (ours["nextDue"], ours["overdueSeconds"]) == ("2026-11-20T12:00:30.001Z", 15)
    assert (others["owner"], others["ours"], others["backlogAgeSeconds"]) == ("b", False, 60)
    nothing = daemon_status("a", DaemonFigures(T0, 1), lambda _: None, lambda _: None)
    assert nothing["shards"][0]["cursor"] is None


def test_who_asks_again_and_again_leaves_nothing_behind() -> None:
    def ask() -> None:
        daemon_status("a", FIGURES, {1: "b"}.get, {0: T0 + 1, 1: None}.get)
        [*daemon_metrics(FIGURES)]

    ask()
    gc.collect()
    gc.disable()
    try:
        ask()
        assert gc.collect() == 0, "circles stay for ever once they are frozen"
    finally:
        gc.enable()


def test_ages_are_counted_at_once_as_they_are_one_by_one() -> None:
    chance = random.Random(3)
    for _ in range(200):
        now, at_once, singly = 10**12, Tally(table.LATENESS.buckets), Tally(table.LATENESS.buckets)
        scale = chance.choice((10, 1_000, 10**6))
        dues = {now + 5 - chance.randrange(scale): chance.randrange(1, 4) for _ in range(4)}
        at_once.add_ages(now, dues)
        for due, times in dues.items():
            singly.add(max(0, now - due) / 1000, times)
        assert at_once.frozen().counts == singly.frozen().counts
        assert at_once.frozen().total == pytest.approx(singly.frozen().total)


# What shards count.


def counted(*names: str) -> tuple[Bench, Counting]:
    bench = Bench()
    bench.thread.counting = counting = Counting(names)
    return bench, counting


def lateness(counting: Counting, kind: str) -> tuple[int, float]:
    found = counting.counts.lateness[kind]
    return sum(found.counts), found.total


def test_a_shard_counts_its_fires_and_how_late_they_were() -> None:
    bench, counting = counted("a")
    bench.started(job("a"), job("b", enabled=False), job("c"))
    bench.minutes(2)
    assert (counting.counts.fires, counting.counts.reloads) == (4, 1)
    assert lateness(counting, "fresh") == (4, 0)
    assert counting.counts.job_fires == {"a": 2}
    assert counting.now.jobs == {"enabled": 2, "disabled": 1, "paused": 0}
    assert counting.now.revision == "r1"
    bench.clock.pass_(60_000 + 2_500)
    bench.rest()
    assert lateness(counting, "fresh") == (6, 2 * 2.5)
    assert sum(counting.counts.transactions["fires"].counts) == 3


def test_fires_that_were_missed_are_counted_as_caught_up_and_skips_by_the_first_word() -> None:
    bench, counting = counted()
    bench.started(job("a"), job("b", topic="absent"))
    bench.directory.topics["absent"] = None
    bench.clock.pass_(30 * 60_000)
    bench.rest()
    assert lateness(counting, "caught_up")[0] >= 1
    assert counting.counts.skips.keys() <= {"coalesced", "unsendable", "missed"}
    assert counting.counts.skips["coalesced"] > 20


def test_reasons_do_not_grow_without_bound() -> None:
    counting = Counting()
    for number in range(100):
        counting._skip(f"reason {number}: more", 1)
    skips = counting._sums().skips
    assert len(skips) == 21
    assert sum(skips.values()) == 100


def test_counts_are_shown_anew_only_when_there_are_others() -> None:
    bench, counting = counted()
    bench.started(job("a"))
    before = counting.counts
    counting.show(bench.thread._shard)
    assert counting.counts is before
    counting.given_up()
    counting.show(bench.thread._shard)
    assert counting.counts.bursts == {"given_up": 1}


def test_failures_suspects_and_fences_are_counted() -> None:
    bench, counting = counted()
    bench.started(job("a"))
    bench.broker.commits.extend([Commit.SUSPECT, Commit.LOST])
    bench.minutes(2)
    assert (counting.counts.suspects, counting.counts.failed, counting.counts.fenced) == (1, 1, 0)
    bench.broker.epoch += 1
    bench.minutes(1)
    assert counting.counts.fenced == 1


def test_the_epoch_shown_is_that_of_the_producer_in_use() -> None:
    bench, counting = counted()
    bench.started(job("a"))
    assert counting.now.epoch == Epoch(7, 1)
    bench.broker.commits.append(Commit.SUSPECT)
    bench.minutes(1)
    assert counting.now.epoch == Epoch(7, 2)


def test_pauses_are_seen_as_they_come() -> None:
    bench, counting = counted()
    bench.started(job("a"))
    assert bench.thread._shard is not None
    bench.thread._shard.state.paused["a"] = T0
    bench.minutes(1)
    assert counting.now.jobs == {"enabled": 0, "disabled": 0, "paused": 1}


def test_a_file_that_cannot_be_used_is_counted_once_and_since_when() -> None:
    bench = Bench()
    host = ShardHost(
        bench.around(), copy=lambda _: LedgerCopy(), release=lambda _: None, hopeless=lambda _: None
    )

    def figures() -> tuple[int, int]:
        found = host.figures()
        return found.refused, found.refused_since

    host.looked((), "good")
    host.refused("bad", ScheduleUnreadable("line 1"))
    host.refused("bad", ScheduleUnreadable("line 1"))
    host.looked((), "bad")
    assert figures() == (1, T0)
    bench.clock.pass_(1_000)
    host.refused("", ScheduleUnreadable("it is gone"))
    assert figures() == (2, T0), "it was not well in between"
    host.looked((), "good")
    assert figures() == (2, 0)
    host.refused("bad", ScheduleUnreadable("line 1"))
    assert figures() == (3, T0 + 1_000)
