"""From facts to what is wrong: a table; and what a shard begins with after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dispatcher.core.batch import Encoder
from dispatcher.core.codec import CURSOR_KEY, decode, encode
from dispatcher.core.diagnosis import Facts, Remedy, Sent, ShardFacts, Trouble, diagnose
from dispatcher.core.ledger import Cursor, Fact, Identity, Interval, Position, Revision, Timer
from dispatcher.core.message import TopicNames
from dispatcher.core.recovery import Ground, beginnings, cost, ledger_records

NOW = 1_795_140_000_000
NAMES = TopicNames("x")
IDS = {NAMES.ledger: "l1", NAMES.commands: "c1"}
HERE = Identity("here", IDS, 2, "tz", "cron")
AT = Position(Cursor(NOW - 60_000, "b"), "r1", 7, commands=3, effective_from=NOW - 90_000)
FINE = ShardFacts(0, records=True, position=AT, identity=HERE, events=9, applied=7, told=7)
EMPTY = ShardFacts(0)
ALL = dict.fromkeys([NAMES.shards, NAMES.ledger, NAMES.commands, NAMES.events], 2)


def sent(planned: int) -> Sent:
    return Sent("b@…", planned, "x.jobs.low[2]@17")


def found(shard: ShardFacts = FINE, **fields: Any) -> Facts:
    usual: dict[str, Any] = {"partitions": ALL, "used": True, "expected": HERE, "by_shard": (shard,)}
    return Facts(NAMES, 2, **{**usual, **fields})


def moved(**fields: Any) -> ShardFacts:
    return replace(FINE, identity=replace(HERE, **fields))


@pytest.mark.parametrize(
    ("facts", "trouble", "text"),
    [
        (found(), None, ""),
        (found(EMPTY), None, ""),
        (found(replace(FINE, sent=sent(AT.cursor.due))), None, ""),
        (found(replace(FINE, identity=None)), None, ""),
        (found(moved(tzdata="other", engine="other")), None, ""),
        (found(replace(FINE, position=AT._replace(first=5), first=5)), None, ""),
        (found(partitions={}), None, ""),
        (found(partitions={NAMES.events: 2}, used=False), None, ""),
        (
            found(partitions={}, others=("y", "xx")),
            Trouble.PREFIX,
            "there is xx and 1 more; did you mean --prefix xx?",
        ),
        (
            found(partitions={}, others=("y", "q")),
            Trouble.PREFIX,
            "there is q, y; give --prefix if one of these",
        ),
        (found(partitions={NAMES.events: 2}), Trouble.LOST, "x.ledger is missing, but"),
        (found(partitions={NAMES.ledger: 4}), Trouble.SHARDS, "Set --shards 4, which costs nothing"),
        (found(replace(EMPTY, events=3)), Trouble.EMPTY, "x.events[0] has held 3 records"),
        (found(replace(EMPTY, sent=sent(NOW))), Trouble.EMPTY, "x.jobs.low[2]@17 holds its fire b@…"),
        (found(replace(EMPTY, records=True)), Trouble.TRUNCATED, "records but no position"),
        (found(replace(EMPTY, first=4)), Trouble.TRUNCATED, "begins at offset 4"),
        (found(replace(FINE, first=4)), Trouble.TRUNCATED, "begins at offset 4"),
        (found(replace(FINE, first=6, position=AT._replace(first=5))), Trouble.TRUNCATED, "offset 6"),
        (found(replace(FINE, unread="no JSON")), Trouble.UNREADABLE, "no JSON"),
        (found(replace(FINE, newer="upgrade it")), Trouble.NEWER, "upgrade it"),
        (
            found(replace(FINE, sent=sent(AT.cursor.due + 1))),
            Trouble.OLDER,
            "x.jobs.low[2]@17 holds b@…, but",
        ),
        (found(replace(FINE, applied=8)), Trouble.OLDER, "tell of change 8, but the ledger ends at change 7"),
        (found(moved(cluster="there")), Trouble.CLUSTER, "written on cluster 'there', this is 'here'"),
        (found(moved(shards=1)), Trouble.RESHARDED, "for 1 shards, the settings say 2; set --shards 1"),
        (found(moved(topics={**IDS, NAMES.ledger: "l0"})), Trouble.RECREATED, "'x.ledger' is not the one"),
        (found(moved(topics={**IDS, NAMES.commands: "c0"})), Trouble.COMMANDS, "'x.commands' is not the one"),
        (
            found(replace(moved(topics={**IDS, NAMES.commands: "c0"}), applied=8)),
            Trouble.OLDER,
            "change 8",
        ),
        (found(replace(moved(cluster="there"), applied=8)), Trouble.CLUSTER, "'there'"),
        (found(replace(FINE, commands=3)), None, ""),
        (found(replace(EMPTY, open=True, events=3)), None, ""),
        (found(replace(FINE, open=True, sent=sent(NOW), applied=8)), None, ""),
        (found(replace(FINE, commands=2)), Trouble.COMMANDS, "ends at offset 2, but was read up to 3"),
    ],
)
def test_facts_are_judged(facts: Facts, trouble: Trouble | None, text: str) -> None:
    findings = diagnose(facts)
    assert [one.trouble for one in findings] == ([] if trouble is None else [trouble])
    assert all(text in one.what for one in findings)


def test_a_timer_planned_before_the_last_change_is_not_beyond_the_ledger() -> None:
    position = AT._replace(effective_from=NOW)
    assert diagnose(found(replace(FINE, position=position, sent=sent(NOW)))) == ()
    assert diagnose(found(replace(FINE, position=position, sent=sent(NOW + 1)))) != ()


@pytest.mark.parametrize(
    ("facts", "remedies"),
    [
        (found(), []),
        (found(partitions={NAMES.events: 2}), [Remedy.ANEW, Remedy.ANEW]),
        (found(replace(FINE, first=4)), [Remedy.ANEW]),
        (found(moved(shards=1)), [Remedy.ANEW, Remedy.ANEW]),
        (found(moved(topics={**IDS, NAMES.commands: "c0"})), [Remedy.REBIND]),
        (found(partitions={NAMES.ledger: 4}), []),
        (found(replace(FINE, newer="upgrade it")), []),
    ],
)
def test_what_can_be_mended_is_and_the_rest_is_left(facts: Facts, remedies: list[Remedy]) -> None:
    assert [one.remedy for one in beginnings(facts, diagnose(facts), NOW)] == remedies


@pytest.mark.parametrize(
    ("shard", "after", "backlog"),
    [
        (replace(FINE, first=4), AT.cursor.due - 1, False),
        (
            replace(FINE, first=4, position=AT._replace(backlog=(Interval(Cursor(77), NOW, 7),))),
            76,
            False,
        ),
        (replace(FINE, first=4, position=Position(Cursor(0), "", 0)), None, False),
        (replace(EMPTY, events=3), None, True),
        (replace(EMPTY, sent=sent(NOW - 5)), NOW - 6, True),
    ],
)  # fmt: skip
def test_what_may_be_skipped_begins_where_settling_is_certain(
    shard: ShardFacts, after: int | None, *, backlog: bool
) -> None:
    (one,) = beginnings(found(shard), diagnose(found(shard)), NOW)
    assert (one.after, one.until, one.backlog) == (after, NOW, backlog)


def test_nothing_sent_is_planned_after_the_new_beginning_even_if_the_clock_went_back() -> None:
    facts = found(replace(EMPTY, sent=sent(NOW + 500)))
    (one,) = beginnings(facts, diagnose(facts), NOW)
    assert one.until == NOW + 500


def test_the_cost_names_the_shards_and_what_each_skips() -> None:
    facts = found(replace(EMPTY, sent=sent(NOW - 5)))
    anew, skips = cost(beginnings(facts, diagnose(facts), NOW))
    assert anew.startswith("shard 0 begins anew: nothing planned up to now, 2026-")
    assert skips.startswith("shard 0: those planned after 2026-")
    assert "the latest found there is b@…" in skips
    kept = found(moved(topics={**IDS, NAMES.commands: "c0"}))
    (only,) = cost(beginnings(kept, diagnose(kept), NOW))
    assert "no fire is skipped, none is sent twice" in only


def written(shard: ShardFacts, *facts: Fact, told: int = 0, first: int = 0) -> tuple[dict[bytes, Any], Any]:
    known = found(shard)
    (one,) = beginnings(known, diagnose(known), NOW)
    latest = {key: value for key, value in map(encode, facts) if value is not None}
    outgoing = ledger_records(one, Ground(latest, first, 40, told), HERE, Encoder(NAMES, 0))
    assert outgoing[-1][2] == CURSOR_KEY
    ledger = {record[2] or b"": record[1] for record in outgoing if record[0] == NAMES.ledger}
    return ledger, [dict(record[4] or ()) for record in outgoing if record[0] == NAMES.events]


TIMER = Timer("t", "t", 1, 1, 1, "t", 0, b"k", b"v", (), None)


def test_to_begin_anew_gives_up_all_records_and_uses_no_number_twice() -> None:
    kept = (AT, replace(HERE, cluster="there"), TIMER, Revision("r1", 1, "i"))
    ledger, events = written(replace(FINE, first=4), *kept, told=11, first=4)
    assert ledger.pop(b"timer/t") is None
    assert ledger.pop(b"revision/r1") is None
    assert decode(b"identity", ledger.pop(b"identity")) == HERE
    position = decode(CURSOR_KEY, ledger.pop(CURSOR_KEY))
    assert position == Position(Cursor(NOW), "", 12, commands=40, effective_from=NOW, first=4)
    assert ledger == {}
    assert [event["ce_type"] for event in events] == [b"ledger.recovered"]


def test_numbers_in_the_ledger_and_what_cannot_be_read_of_it_count_too() -> None:
    ledger, _ = written(replace(FINE, unread="?"), AT._replace(change=20, abandoned=(30,)), told=11)
    position = decode(CURSOR_KEY, ledger[CURSOR_KEY])
    assert isinstance(position, Position)
    assert position.change == 31


def test_to_rebind_keeps_position_jobs_and_rules_of_time() -> None:
    before = replace(HERE, topics={**IDS, NAMES.commands: "c0"}, tzdata="old")
    ledger, events = written(replace(FINE, identity=before), AT, before, TIMER)
    assert decode(b"identity", ledger.pop(b"identity")) == replace(HERE, tzdata="old")
    assert decode(CURSOR_KEY, ledger.pop(CURSOR_KEY)) == AT._replace(commands=40)
    assert ledger == {}
    assert [event["ce_type"] for event in events] == [b"ledger.rebound"]
