"""The checker's own evaluator, against a second opinion and against the planner it is to judge."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random
from typing import Any

import grimp
import oracle
import pytest

from dispatcher.core.cron import DstRule, parse
from dispatcher.core.instant import from_text
from dispatcher.core.job import JobReader, delay_of, encode_definition
from dispatcher.observe.instants import instant_of, period_of
from dispatcher.observe.timing import walls
from dispatcher.observe.version import Version, read_version

ZONES = (
    *("UTC", "Europe/Berlin", "Europe/Dublin", "America/St_Johns", "America/Sao_Paulo", "America/Havana"),
    *("Africa/Casablanca", "Antarctica/Troll", "Australia/Lord_Howe", "Asia/Beirut", "Asia/Kolkata"),
    *("Pacific/Apia", "America/Caracas", "Asia/Pyongyang"),
)
FIRST_YEAR, LAST_YEAR = 2010, 2012
DAYS = ("*", "*", "*", "?", "L", "15W", "31W", "1W", "1-5", "*/2", "13", "1,L,15W")
WEEKDAYS = ("*", "*", "*", "?", "MON-FRI", "L5", "2#1", "0,6", "7", "1/2", "5-7", "FRI#3,LMON")
MONTHS = ("*", "*", "*", "MAR,OCT", "*/3", "3-10")


def ranks(
    text: str, zone: str, after: int, until: int, *, gap: str = "run", overlap: str = "once"
) -> list[int]:
    """Return the checker's planned instants in (after, until], all in milliseconds."""
    table = walls(text, "job", zone, gap, overlap).table((after, until))
    return [table.at(rank) for rank in range(table.rank(after) + 1, table.rank(until) + 1)]


def some_field(chance: Random, low: int, high: int) -> str:
    first = chance.randint(low, high)
    last = chance.randint(first, high)
    forms = ("*", f"*/{chance.choice([2, 3, 7, 15, 20])}", str(first), f"{first}-{last}", f"{first}/5")
    return chance.choice([*forms, f"{first}-{last}/2", f"{low},{first},{last}"])


def some_expression(chance: Random) -> str:
    fields = [some_field(chance, 0, 59), some_field(chance, 0, chance.choice([4, 23]))]
    if chance.random() < 0.15:
        fields.insert(0, some_field(chance, 0, 59))
    return " ".join([*fields, chance.choice(DAYS), chance.choice(MONTHS), chance.choice(WEEKDAYS)])


def some_window(chance: Random, zone: str, text: str) -> tuple[int, int]:
    """Return whole minutes around a change of the zone's clocks, if it has any; narrow ones for seconds."""
    changes = oracle.changes(zone, FIRST_YEAR, LAST_YEAR)
    at = chance.choice(changes) if changes else chance.randrange(1_262_304_000, 1_325_376_000)
    before, after = (1800, 7200) if text.count(" ") == 5 else (chance.randrange(129_600), 129_600)
    begin = (at - before) // 60 * 60
    return begin, begin + before // 60 * 60 + after


@pytest.mark.parametrize("seed", range(6))
def test_it_agrees_with_a_look_at_every_clock_reading(seed: int) -> None:
    chance = Random(seed)
    for _ in range(25):
        zone, text = chance.choice(ZONES), some_expression(chance)
        begin, end = some_window(chance, zone, text)
        gap, overlap = chance.choice(["run", "skip"]), chance.choice(["once", "twice"])
        wanted = oracle.fires(text, zone, begin, end, gap=gap, overlap=overlap)
        found = ranks(text, zone, begin * 1000 - 1, end * 1000 - 1, gap=gap, overlap=overlap)
        assert found == [1000 * at for at in wanted], f"{text} in {zone} from {begin}, {gap}, {overlap}"


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_the_planner(seed: int) -> None:
    chance = Random(f"planner {seed}")
    for _ in range(150):
        zone, text = chance.choice(ZONES), some_expression(chance)
        if chance.random() < 0.3:
            text = chance.choice(
                ["H H * * *", "H/7 * * * *", "H(10-20) H(1-3) * * *", "H H H * *", "@hourly"]
            )
        dst = DstRule(chance.choice(["run", "skip"]), chance.choice(["once", "twice"]))
        cron = parse(text, zone, dst, hash_id="job")
        after = chance.randrange(0, 4_000_000_000_000)
        wanted: list[int] = []
        at: int | None = after
        while at is not None and len(wanted) < 30:
            at = cron.next_ms(at)
            if at is None or at > after + 400 * 86_400_000:
                break
            wanted.append(at)
        until = wanted[-1] if len(wanted) == 30 else after + 400 * 86_400_000
        assert ranks(text, zone, after, until, gap=dst.gap, overlap=dst.overlap) == wanted, (
            f"{text} in {zone}"
        )


def planned(version: Version, after: int, until: int) -> list[int]:
    low, high = version.within(after, until)
    if low >= high:
        return []
    table = version.timing.table((low, high))
    return [table.at(rank) for rank in range(table.rank(low) + 1, table.rank(high) + 1)]


TRIGGERS: list[dict[str, Any]] = [
    {"every": "7s"},
    {"every": "1h 30m", "startAt": "2026-11-20T12:00:01.500+05:30"},
    {"every": "PT1M30S", "endAt": "2026-11-20T12:03:00Z"},
    {"every": "P1DT2H", "startAt": "2026-11-19T00:00:00Z", "endAt": "2026-11-22T00:00:00Z"},
    {"every": "2 minutes", "enabled": False},
    {"every": "1 hour 2 mins 3 sec"},
    {"every": "P1W"},
    {"at": "2026-11-20T13:00:00+01:00"},
    {"at": "2026-11-20T12:30:00Z", "startAt": "2026-11-20T12:30:00Z"},
    {"at": "2026-11-20T12:30:00Z", "endAt": "2026-11-20T12:30:00Z"},
    {"cronTime": "*/5 * * * *", "startAt": "2026-11-20T12:05:00Z", "endAt": "2026-11-20T12:20:00Z"},
    {"cronTime": "H H * * THU,fri", "timezone": "Asia/Kolkata"},
    {"cronTime": " @Hourly "},
    {"cronTime": "30 2 * mar *", "timezone": "Europe/Berlin", "dst": {"gap": "skip"}},
]


@pytest.mark.parametrize("fields", TRIGGERS, ids=str)
def test_a_definition_means_to_it_what_it_means_to_the_planner(fields: dict[str, Any]) -> None:
    entry = {"jobName": "a job", "job": "noop", **fields}
    job = JobReader().read(encode_definition(entry))
    after, until = from_text("2026-11-18T23:59:59.999Z"), from_text("2027-05-01T00:00:00Z")
    wanted: list[int] = []
    at = job.trigger.next_after(after)
    while at is not None and at <= until and len(wanted) < 500:
        wanted.append(at)
        at = job.trigger.next_after(at)
    until = wanted[-1] if len(wanted) == 500 else until
    assert planned(read_version(job.definition), after, until) == wanted


@pytest.mark.parametrize("jitter", [0, 1, 2.5, 3600, 86_400])
def test_the_jitter_of_a_job_is_the_planners(jitter: float) -> None:
    for number in range(50):
        entry = {"jobName": f"job {number} ä", "every": "1m", "jitterSeconds": jitter}
        version = read_version(json.dumps(entry).encode())
        assert version.delay == delay_of(f"job {number} ä", round(jitter * 1000))


def test_the_lane_of_a_priority_is_the_planners() -> None:
    for priority in range(11):
        definition = encode_definition({"jobName": "a", "every": "1m", "job": "x", "priority": priority})
        assert read_version(definition).topic == f"jobs.{JobReader().read(definition).route.lane}"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T02:00:00Z",
        "2026-11-20T02:00:00.007Z",
        "2026-02-28T23:59:59.999Z",
        "2026-11-20t02:00z",
        "2026-11-20T02:00:00+05:45",
        "2026-11-20 02:00:00.123456789-03:30",
        "1970-01-01T00:00:00Z",
    ],
)
def test_an_instant_is_read_as_the_planner_reads_it(text: str) -> None:
    assert instant_of(text) == from_text(text)


def test_what_is_no_instant_is_refused() -> None:
    for text in ("", "soon", "2026-11-20T02:00:00", "2026-13-20T02:00:00Z"):
        with pytest.raises(ValueError, match=r"\w"):
            instant_of(text)


def test_a_period_of_words_is_read() -> None:
    assert period_of(" 1 Day 2 hrs ") == 26 * 3_600_000


def test_instants_far_apart_are_found() -> None:
    leap_mondays = ranks("0 0 29 2 *", "UTC", 0, int(datetime(2101, 1, 1, tzinfo=UTC).timestamp()) * 1000)
    assert len(leap_mondays) == 32  # 1972 to 2096, and 2100 is none


CHECKER = "dispatcher.observe.checker"
PLANNER = (
    "cron",
    "trigger",
    "plan",
    "backlog",
    "walls",
    "dialect",
    "field",
    "zone",
    "duration",
    "job",
    "shard",
)


def test_the_checker_shares_no_code_with_the_planner() -> None:
    graph = grimp.build_graph("dispatcher", include_external_packages=True, cache_dir=None)
    used = {
        target
        for module in {CHECKER, *(one for one in graph.find_upstream_modules(CHECKER) if ".observe." in one)}
        for target in graph.find_upstream_modules(module)
    }
    shared = used & {f"dispatcher.core.{name}" for name in PLANNER}
    assert shared | (used & {"croniter"}) == set()
    allowed = {
        f"dispatcher.core.{name}" for name in ("codec", "compact_json", "instant", "ledger", "log_record")
    }
    assert {one for one in used if one.startswith("dispatcher.core.")} == allowed
