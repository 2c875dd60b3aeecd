"""What a schedule file may hold, and how everything else is refused: all at once, each at its place."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.job import CatchUp, Lane, encode_definition
from dispatcher.errors import InvalidSchedule
from dispatcher.feed.entries import MAX_DEFINITION, MOST_PROBLEMS, merge
from dispatcher.feed.loader import load

SEEDS = Path(__file__).parent / "seeds"
JOB = '{"jobName": "a", "cronTime": "* * * * *", "job": "x"%s}'


def one(**fields: Any) -> bytes:
    """A file with one job; a field given as None is left out."""
    entry = {"jobName": "a", "cronTime": "* * * * *", "job": "x"} | fields
    return json.dumps({"jobs": [{name: value for name, value in entry.items() if value is not ...}]}).encode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"jobs":[],"jobs":[]}', "f.json:1:12: the key `jobs` appears twice in one object; keep one"),
        ('{"jobs":[],"jobs":5}', "f.json:1:12: the key `jobs` appears twice in one object; keep one"),
        ('{"jobs":' + "9" * 5000 + "}", "f.json:1:9: this number has 5000 digits; 1000 are allowed"),
        ('{"$schema":NaN,"jobs":[]}', "f.json:1:12: NaN is not JSON; write a finite number"),
        (" null", 'f.json:1:2: a schedule is an object such as {"jobs": []}, not null'),
        ("5", 'f.json:1:1: a schedule is an object such as {"jobs": []}, not 5'),
        ("9" * 5000, "f.json:1:1: this number has 5000 digits; 1000 are allowed"),
        ("True", "f.json:1:1: `True` is not JSON; write `true`"),
    ],
    ids=lambda value: value[:30],
)
def test_one_fault_is_told_once_and_only_with_what_is_true(text: str, told: str) -> None:
    assert problems_of(text.encode()) == [told]


def test_a_value_that_is_refused_does_not_hide_that_its_field_is_unknown() -> None:
    assert len(problems_of(b'{"x":NaN,"jobs":[]}')) == 2


def problems_of(data: bytes) -> list[str]:
    with pytest.raises(InvalidSchedule) as refused:
        load(data, "f.json")
    return str(refused.value).splitlines()


@pytest.mark.parametrize("name", ["readme.json", "repository.json"])
def test_the_files_of_the_original_dispatcher_load_unchanged(name: str) -> None:
    data = (SEEDS / name).read_bytes()
    schedule = load(data, name).schedule
    entries = json.loads(data)["jobs"]
    assert [json.loads(job.definition) for job in schedule.jobs.values()] == entries
    assert list(schedule.jobs) == [entry["jobName"] for entry in entries]
    assert schedule.revision == sha256(data).hexdigest()


def test_the_example_of_the_project_loads() -> None:
    path = Path(__file__).parents[2] / "schedule" / "schedule.json"
    jobs = load(path.read_bytes(), str(path)).schedule.jobs
    assert jobs["nightly-report"].route.lane is Lane.HIGH
    assert jobs["invoices"].policy.catch_up is CatchUp.ALL
    assert json.loads(jobs["nightly-report"].definition)["retry"] == {"attempts": 5}
    assert json.loads(jobs["heartbeat"].definition)["timezone"] == "UTC"


def test_a_byte_order_mark_is_skipped_but_counts_for_the_revision() -> None:
    data = b"\xef\xbb\xbf" + one()
    assert load(data, "f").schedule.revision == sha256(data).hexdigest()


ACCEPTED: list[dict[str, Any]] = [
    {"jobName": "a.b_c-9 with inner  spaces"},
    {"jobName": "x" * 200},
    {"cronTime": ..., "every": "30s"},
    {"cronTime": ..., "every": "PT1H"},
    {"cronTime": ..., "at": "2001-01-01T00:00:00Z"},
    {"cronTime": "@hourly"},
    {"cronTime": "*/10 * * * * *"},
    {"cronTime": "H H * * *"},
    {"cronTime": "0 9 * * mon-fri"},
    {"timezone": "Europe/Berlin", "dst": {"gap": "skip", "overlap": "twice"}},
    {"dst": {}},
    {"priority": 0},
    {"priority": 10},
    {"job": ..., "taskName": "x", "taskParams": {"any": [1, None]}},
    {"payload": None},
    {"payload": {"cronTimes": 1}},
    {"payload": json.loads("[" * 61 + "]" * 61)},
    {"enabled": False},
    {"topic": "orders.v1_x-y"},
    {"topic": ".a"},
    {"topic": "..a"},
    {"key": "k"},
    {"headers": {"tenant": "acme", "x-y": ""}},
    {"catchUp": "none"},
    {"misfireGraceSeconds": 0},
    {"misfireGraceSeconds": 0.5},
    {"startAt": "2026-01-01T00:00:00+01:00", "endAt": "2026-01-01T00:00:00Z"},
    {"jitterSeconds": 0},
    {"expiresAfterSeconds": 1, "timeoutSeconds": 0.1},
    {"retry": {}},
    {"retry": {"attempts": 1, "backoff": {"type": "fixed", "delayMs": 0, "maxDelayMs": 0}}},
    {"overlap": "queue"},
    {"description": "ä\n", "labels": {"team": "bi"}},
]


@pytest.mark.parametrize("fields", ACCEPTED, ids=repr)
def test_accepted(fields: dict[str, Any]) -> None:
    schedule = load(one(**fields), "f").schedule
    assert len(schedule.jobs) == 1


REFUSED: list[tuple[str, str]] = [
    # shape
    ('"cronTimes": 1', "unknown field `cronTimes`, did you mean `cronTime`?"),
    ('"retry": {"attempts": 3, §"backof": {}}', "unknown field `retry.backof`, did you mean `backoff`?"),
    ('"zzzzzzzz": 1', "unknown field `zzzzzzzz`; remove it"),
    ('"priority": §true', "`priority` is true; it must be an integer from 0 to 10"),
    ('"priority": §11', "`priority` is 11; it must be"),
    ('"priority": §-1', "`priority` is -1; it must be"),
    ('"priority": §1.0', "`priority` is 1.0; it must be an integer"),
    ('"priority": §"5"', '`priority` is "5"; it must be an integer'),
    ('"priority": §null', "`priority` is null; it must be"),
    ('"enabled": §1', "`enabled` is 1; it must be true or false"),
    ('"timezone": §null', "`timezone` is null; it must be an IANA time zone"),
    ('"description": §["a", "b"]', "`description` is a list of 2 elements; it must be text"),
    ('"catchUp": §"Latest"', '`catchUp` is "Latest"; it must be "none", "latest" or "all"'),
    ('"overlap": §"skip"', '`overlap` is "skip"; it must be "allow"'),
    ('"dst": {"gap": §"once"}', '`dst.gap` is "once"; it must be "run" or "skip"'),
    ('"dst": §"run"', '`dst` is "run"; it must be an object'),
    ('"retry": {"attempts": §0}', "`retry.attempts` is 0; it must be an integer from 1 to 1000"),
    ('"retry": {"backoff": {"delayMs": §1.5}}', "`retry.backoff.delayMs` is 1.5; it must be an integer"),
    ('"retry": {"backoff": {"type": §"linear"}}', '`retry.backoff.type` is "linear"; it must be "fixed"'),
    ('"misfireGraceSeconds": §-1', "`misfireGraceSeconds` is -1; it must be a number of seconds, 0 or more"),
    ('"timeoutSeconds": §0', "`timeoutSeconds` is 0; it must be a number of seconds, more than 0"),
    ('"expiresAfterSeconds": §0', "`expiresAfterSeconds` is 0; it must be"),
    ('"jitterSeconds": §1e300', "`jitterSeconds` is 1e+300; it must be"),
    ('"topic": §"a b"', '`topic` is "a b"; it must be a topic name'),
    ('"topic": §".."', '`topic` is ".."; it must be a topic name'),
    ('"topic": §"%s"' % ("t" * 250), '…" (250 characters); it must be a topic name'),
    ('"key": §""', '`key` is ""; it must be text of 1 to 1000 characters'),
    ('"headers": {"a": §5}', "`headers.a` is 5; it must be"),
    ('"headers": {§"a b": "c"}', "`a b` is no name here"),
    ('"headers": {§"CE_Id": "c"}', "the header `CE_Id` is reserved"),
    ('"headers": {"ok": "", §"TraceParent": "c"}', "the header `TraceParent` is reserved"),
    ('"labels": {"a": §null}', "`labels.a` is null; it must be"),
    # time
    ('"timezone": §"Europe/Berlim"', "did you mean Europe/Berlin"),
    ('"timezone": §"../etc/passwd"', "is not a time zone"),
    ('"startAt": §"2026-01-01T00:00:00"', "has no offset"),
    ('"endAt": §"2026-02-30T00:00:00Z"', "is not an instant"),
    ('"startAt": "2026-01-02T00:00:00Z", "endAt": §"2026-01-01T00:00:00Z"', "is not after `startAt`"),
    # JSON
    ('"payload": {"a": 1, §"a": 2}', "the key `a` appears twice"),
    ('§"job": "y"', "the key `job` appears twice"),
    ('"payload": [§NaN]', "NaN is not JSON"),
    ('"payload": §-Infinity', "-Infinity is not JSON"),
    ('"payload": §1e400', "the number 1e400 is too large"),
    ('"payload": §%s' % ("7" * 5000), "this number has 5000 digits; 1000 are allowed"),
    ('"payload": §"\\ud800"', "half of a surrogate pair"),
    ('"payload": {§"\\u0000": 1}', "holds a NUL character"),
    ('"taskName": "y"', "`job` and `taskName` mean the same"),
    ('"payload": 1, §"taskParams": 1', "`payload` and `taskParams` mean the same"),
    ('"every": "1s"', "exactly one of `cronTime`, `every` and `at`, this one has `cronTime` and `every`"),
]


@pytest.mark.parametrize(("marked", "what"), REFUSED, ids=[what for _, what in REFUSED])
def test_refused_at_its_place(marked: str, what: str) -> None:
    marked = marked if "§" in marked else f"§{marked}"
    text = '{\n "jobs": [\n  {"jobName": "a", "cronTime": "* * * * *", "job": "x",\n   ' + marked + "}]}"
    line = text[: text.index("§")].count("\n") + 1
    column = text.index("§") - text.rindex("\n", 0, text.index("§"))
    (problem,) = problems_of(text.replace("§", "").encode())
    assert problem.startswith(f'f.json:{line}:{column}: job "a": ')
    assert what in problem


CRONS = {
    "61 * * * *": "minute: 61 is not in 0-59",
    "0 9 * * MOM": "day-of-week: 'MOM' is not a value; did you mean MON?",
    "0 9 * JAM *": "month: 'JAM' is not a value; did you mean JAN?",
    "0 0 30 2 *": "never fires: there is no 30 February",
    "0 0 31 4,6 *": "never fires",
    "* * *": "3 fields instead of 5 or 6",
    "": "0 fields",
    "@reboot": "is not a macro",
}


@pytest.mark.parametrize(("expression", "what"), CRONS.items())
def test_a_bad_cron_expression_is_refused_with_its_field(expression: str, what: str) -> None:
    (problem,) = problems_of(one(cronTime=expression))
    column = one(cronTime=expression).index(b'"cronTime": ') + len('"cronTime": ') + 1
    assert problem.startswith(f'f.json:1:{column}: job "a": `cronTime` "{expression}": ')
    assert what in problem


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"cronTime": ...}, "exactly one of `cronTime`, `every` and `at`, this one has none"),
        ({"job": ...}, "`job` is missing"),
        ({"jobName": ...}, "`jobName` is missing"),
        ({"jobName": ""}, '`jobName` is ""; it must be 1 to 200'),
        ({"jobName": " a"}, '`jobName` is " a"; it must be'),
        ({"jobName": "x" * 201}, "(201 characters); it must be"),
        ({"jobName": "ä"}, '`jobName` is "ä"'),
        ({"jobName": "a\n"}, '`jobName` is "a\\n"'),
        ({"jobName": 5}, "`jobName` is 5"),
        ({"cronTime": ..., "every": "500ms"}, '`every` "500ms": '),
        ({"cronTime": ..., "every": "0s"}, "the shortest period is 1s"),
        ({"cronTime": ..., "at": "2026-01-01"}, "is not an instant"),
        ({"cronTime": None}, "`cronTime` is null; it must be a cron expression"),
    ],
    ids=repr,
)
def test_refused(fields: dict[str, Any], what: str) -> None:
    (problem,) = problems_of(one(**fields))
    assert what in problem


FILES = [
    (b"", "1:1: the file is empty"),
    (b" \n", "1:1: the file is empty"),
    (b"[]", "1:1: a schedule is an object"),
    (b"5", "1:1: a schedule is an object such as"),
    (b'{"job": []}', "1:2: unknown field `job`, did you mean `jobs`?"),
    (b"{}", "1:1: `jobs` is missing"),
    (b'{"jobs": {}}', "1:10: `jobs` is an empty object; it must be a list of jobs"),
    (b'{"jobs": null}', "1:10: `jobs` is null"),
    (b'{"jobs": [], "jobs": []}', "1:14: the key `jobs` appears twice"),
    (b'{"jobs": [5]}', "1:11: this is 5; it must be an object"),
    (b'{"jobs": []', "1:12: the file ends here"),
    (b'{"jobs": []} []', "1:14: the document has ended"),
    (b'{"jobs": []}}', "1:13: the document has ended"),
    (b'{"$schema": 5, "jobs": []}', "1:13: `$schema` is 5"),
    (b'{"defaults": {"jobName": "x"}, "jobs": []}', "1:15: defaults: `jobName` cannot have a default"),
    (b'{"defaults": {"topic": "x"}, "jobs": []}', "1:15: defaults: `topic` cannot have a default"),
    (b'{"jobs": [], "defaults": {"priority": 11}}', "1:39: defaults: `priority` is 11"),
    (b'{"defaults": {"timezone": "Mars"}, "jobs": []}', '1:27: defaults: `timezone` "Mars"'),
    (b'{"defaults": [], "jobs": []}', "1:14: defaults: this is an empty list"),
    (b'{"defaults": {"headers": {"ce_x": ""}}, "jobs": []}', "1:27: defaults: the header `ce_x` is reserved"),
    (b'{"jobs": [\n"\xc3\xa4\xff"]}', "2:3: byte 0xff is not UTF-8"),
    ('{"jobs": []}'.encode("utf-16"), "1:1: the file looks like UTF-16"),
    (b'{"jobs": [' + b"[" * 1_000_000, "nested more than 64 levels deep"),
    (b'{"jobs": [{"jobName": "a", "payload": ' + b"[" * 62 + b"]" * 62 + b"}]}", "nested more than 64"),
    (b'{"jobs": [\n// more\n]}', "2:1: comments are not JSON; remove this one"),
]


@pytest.mark.parametrize(("data", "what"), FILES, ids=[what for _, what in FILES])
def test_a_file_is_refused(data: bytes, what: str) -> None:
    assert any(what in problem for problem in problems_of(data))


def test_columns_count_characters_and_not_bytes() -> None:
    (problem,) = problems_of(
        '{"jobs": [{"description": "äöü😀", "jobName": "a", "job": "x", "at": "x"}]}'.encode()
    )
    assert problem.startswith("f.json:1:69: ")


def test_names_given_twice_are_refused_with_the_line_of_the_first() -> None:
    text = '{"jobs": [\n%s,\n%s,\n%s\n]}' % ((JOB % "",) * 3)
    first, second = problems_of(text.encode())
    assert first.startswith('f.json:3:13: job "a": the name is taken by the job at line 2')
    assert second.startswith('f.json:4:13: job "a": the name is taken by the job at line 2')


def test_all_problems_are_told_at_once_in_file_order() -> None:
    text = """{
 "defaults": {"priority": 11},
 "jobs": [
  {"jobName": "b", "cronTime": "61 * * * *", "job": "x", "priority": true, "retry": {"attempts": 0}},
  {"jobName": "b", "cronTime": "* * * * *", "every": "1s", "taskName": "y", "job": "z", "jitterSeconds": NaN,
   "headers": {"CE_id": "x", "d": 5}, "timezone": "Europe/Berlim"},
  5,
  {"jobName": "fine", "every": "1s", "job": "x"}
 ],
 "more": 1
}"""
    told = problems_of(text.encode())
    places = [tuple(map(int, re.findall(r":(\d+)", line)[:2])) for line in told]
    assert places == sorted(places)
    assert [line for line, _ in places] == [2, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 7, 10]


def test_problems_before_what_is_not_json_are_told_too() -> None:
    told = problems_of(b'{"jobs": [\n{"jobName": "a"},\n{"jobName": "b" "job": 1}]}')
    assert [line.split(":")[1] for line in told] == ["2", "2", "3"]
    assert "a comma before it" in told[-1]


def test_at_most_a_thousand_problems_are_listed_and_the_rest_is_counted() -> None:
    jobs = [
        {"jobName": f"j{n}", "job": "x", "every": "1s", "priority": 99} for n in range(MOST_PROBLEMS + 500)
    ]
    told = problems_of(json.dumps({"jobs": jobs}).encode())
    assert len(told) == MOST_PROBLEMS + 1
    assert told[-1].endswith("and 500 more problems")


def test_control_characters_never_reach_a_message() -> None:
    told = problems_of(json.dumps({"jobs": [{"jobName": "\x1b[31m\r\n\u202e", "\x1b]0;": 1}]}).encode())
    assert all(line.isprintable() for line in told)
    assert len(told) == 4


def test_defaults_fill_what_a_job_lacks_after_what_it_has() -> None:
    text = b"""{"defaults": {"timezone": "Asia/Tokyo", "retry": {"attempts": 3, "backoff": {"type": "fixed"}},
                              "payload": 1},
        "jobs": [{"retry": {"attempts": 5}, "jobName": "a", "cronTime": "0 9 * * *", "taskName": "x",
                  "taskParams": 2},
                 {"jobName": "b", "timezone": "UTC", "cronTime": "0 9 * * *", "job": "x"}]}"""
    jobs = load(text, "f").schedule.jobs
    assert jobs["a"].definition == (
        b'{"retry":{"attempts":5},"jobName":"a","cronTime":"0 9 * * *","taskName":"x","taskParams":2,'
        b'"timezone":"Asia/Tokyo"}'
    )
    assert jobs["b"].definition == (
        b'{"jobName":"b","timezone":"UTC","cronTime":"0 9 * * *","job":"x",'
        b'"retry":{"attempts":3,"backoff":{"type":"fixed"}},"payload":1}'
    )


def test_defaults_count_wherever_they_stand_in_the_file() -> None:
    text = b'{"jobs": [{"jobName": "a", "every": "1s", "job": "x"}], "defaults": {"priority": 9}}'
    assert load(text, "f").schedule.jobs["a"].route.lane is Lane.CRITICAL


def test_a_window_closed_by_a_default_is_refused_in_the_job() -> None:
    text = (
        b'{"defaults": {"endAt": "2026-01-01T00:00:00Z"},\n'
        b'"jobs": [{"jobName": "a", "every": "1s", "job": "x", "startAt": "2027-01-01T00:00:00Z"}]}'
    )
    (problem,) = problems_of(text)
    assert problem.startswith('f.json:2:10: job "a": `endAt`')


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers()),
    st.dictionaries(st.sampled_from("abcd"), st.integers()),
)
def test_merging_changes_nothing_the_job_says(entry: dict[str, int], defaults: dict[str, int]) -> None:
    merged = merge(entry, defaults)
    assert merged == {**defaults, **entry}
    assert list(merged)[: len(entry)] == list(entry)


def test_jobs_that_share_a_trigger_share_the_object() -> None:
    jobs = [{"jobName": f"j{n}", "job": "x", "cronTime": f"{n % 2} * * * *"} for n in range(10)]
    loaded = load(json.dumps({"jobs": jobs}).encode(), "f").schedule.jobs
    assert len({id(job.trigger) for job in loaded.values()}) == 2
    assert loaded["j0"].definition == encode_definition(jobs[0])


@pytest.mark.parametrize(
    ("sound", "unsound"),
    [
        ({"enabled": True}, {"enabled": 1}),
        ({"priority": 1}, {"priority": True}),
        ({"priority": 5}, {"priority": "5"}),
        ({"priority": 5}, {"priority": 5.0}),
        ({"job": "x"}, {"job": 5}),
        ({"description": "x"}, {"description": "x" * 10_001}),
        ({"jobName": "b"}, {"jobName": "b\n"}),
        ({"jobName": "b"}, {"jobName": "b" * 201}),
        ({"dst": {"gap": "run"}}, {"dst": {"gap": "runs"}}),
        ({"headers": {"a": ""}}, {"headers": {"a": 0}}),
        ({"cronTime": "H * * * *"}, {"cronTime": "H(0-61) * * * *"}),
        ({"payload": 1}, {"taskParams": 1, "payload": 1}),
    ],
    ids=repr,
)
def test_a_job_that_looks_like_a_valid_one_is_checked_all_the_same(
    sound: dict[str, Any], unsound: dict[str, Any]
) -> None:
    entry = {"jobName": "a", "cronTime": "* * * * *", "job": "x"}
    jobs = [entry | {"jobName": "b"} | sound, entry | {"jobName": "c"} | sound, entry | unsound]
    if "jobName" in sound:
        jobs[1]["jobName"] = "c"
    lines = ",\n".join(json.dumps(job) for job in jobs)
    (problem,) = problems_of(f'{{"jobs": [\n{lines}\n]}}'.encode())
    assert problem.startswith("f.json:4:")


def test_a_job_too_large_for_its_ledger_record_is_refused() -> None:
    entry = {"jobName": "huge", "cronTime": "@daily", "job": "x", "payload": "y" * (MAX_DEFINITION + 1)}
    data = json.dumps({"jobs": [entry]}).encode()
    with pytest.raises(InvalidSchedule, match=r"job \"huge\": the job has 41\d+ bytes .* at most 4194304"):
        load(data, "s.json")
