"""Strict JSON: accepts exactly what a slow reference accepts, and knows where everything lies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.core.job import encode_definition
from dispatcher.feed.definition import encode
from dispatcher.feed.strict_json import Text, parse
from dispatcher.feed.syntax import MAX_DEPTH, Broken, Scan

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
indents = st.sampled_from([None, 0, 1, 2, "\t"])
PIECES = [
    *'{}[]:,"\\ \n\t0123456789-+.eE\u00e4\ufeff\u00a0\x00',
    *("true", "false", "null", "NaN", "Infinity", "-Infinity", "True", "1e400", "01", "-0", "1.", "//", "/*"),
    *(
        '"a"',
        '"a":',
        '"b":1',
        '"\\u0000"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u00e4"',
        '"\x01"',
        '"\\x"',
        '"\\u12"',
    ),
    *('{"a":1,"a":2}', '{"\\u0000":1}', "[[]]", "{}", "1" * 1001, "9" * 400 + ".0"),
]
fragments = st.sampled_from(PIECES)


class Refused(Exception):
    pass


def reference(text: str) -> Any:
    """Decode with the standard library and check every further rule slowly."""
    value = json.loads(
        text,
        object_pairs_hook=unique,
        parse_int=number(int),
        parse_float=number(float),
        parse_constant=refuse,
    )
    walk(value, 0)
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs) or any("\0" in key for key, _ in pairs):
        raise Refused
    return dict(pairs)


def number(kind: type[float]) -> Any:
    def read(digits: str) -> float:
        if len(digits) > 1000 or kind(digits) in {float("inf"), float("-inf")}:
            raise Refused
        return kind(digits)

    return read


def refuse(_: str) -> None:
    raise Refused


def walk(value: Any, depth: int) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, list | dict):
        if depth == MAX_DEPTH:
            raise Refused
        for inner in value if isinstance(value, list) else [*value, *value.values()]:
            walk(inner, depth + 1)


def agree(text: str) -> None:
    try:
        wanted = reference(text)
    except (Refused, ValueError, RecursionError):
        with pytest.raises(Broken) as refused:
            parse(text)
        assert 0 <= refused.value.offset <= len(text)
        assert refused.value.what
    else:
        got = parse(text)
        assert repr(got) == repr(wanted)


@given(values, indents, st.booleans())
def test_every_json_value_is_read_as_the_reference_reads_it(value: Any, indent: Any, ascii_only: Any) -> None:
    agree(json.dumps(value, indent=indent, ensure_ascii=ascii_only))


@settings(max_examples=600)
@given(st.lists(fragments, max_size=12).map("".join))
@example("[" * 64 + "]" * 64)
@example("[" * 65 + "]" * 65)
@example("[" * 100_000)
@example('{"a":' * 65 + "1" + "}" * 65)
@example('{"a":' * 64 + "1" + "}" * 64)
@example('["\\ud83d\\ude00"]')
@example('["\\ud83d"]')
@example('[{"a":"\\u0000"}]')
@example("")
def test_a_text_is_accepted_exactly_when_the_reference_accepts_it(text: str) -> None:
    agree(text)


@settings(max_examples=400)
@given(values, indents, st.data())
def test_a_damaged_text_is_accepted_exactly_when_the_reference_accepts_it(
    value: Any, indent: Any, data: st.DataObject
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    at = data.draw(st.integers(0, len(text)))
    gone = data.draw(st.integers(0, 2))
    agree(text[:at] + data.draw(st.just("") | fragments) + text[at + gone :])


def at_path(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


@given(values, indents, st.booleans())
def test_the_slow_walk_finds_the_place_of_every_key_and_value(
    value: Any, indent: Any, ascii_only: Any
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    scan = Scan(text, 0)
    assert repr(scan.value) == repr(value)
    assert scan.end == len(text)
    assert all("NUL" in what for _, what in scan.faults)
    reader = json.JSONDecoder()
    for path, (key_at, value_at) in scan.spans.items():
        assert repr(reader.raw_decode(text, value_at)[0]) == repr(at_path(value, path))
        if path and isinstance(path[-1], str):
            assert reader.raw_decode(text, key_at)[0] == path[-1]


@given(st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_definitions_are_encoded_as_the_core_encodes_them(entry: dict[str, Any]) -> None:
    assert encode(entry) == encode_definition(entry)


def test_every_refused_thing_is_told_and_the_walk_goes_on() -> None:
    told: list[tuple[int, str]] = []
    text = '{"a": NaN, "a": 1, "b": "\\ud800", "\\u0000": 1e999, "c": -Infinity}'
    document = Text(text, lambda offset, what: told.append((offset, what)))
    assert document.value().keys() == {"a", "b", "\0", "c"}
    assert [text[offset : offset + 4] for offset, _ in told] == [
        "NaN,",
        '"a":',
        '"\\ud',
        '"\\u0',
        "1e99",
        "-Inf",
    ]


BROKEN = [
    ("§// note\n1", "comments are not JSON"),
    ("[1, §# note\n2]", "comments are not JSON"),
    ("§'a'", "double quotes"),
    ("[1§,]", "a comma before `]`"),
    ('{"a": 1§,}', "a comma before `}`"),
    ('{"a" §1}', "a colon after the key `a`"),
    ("{§a: 1}", "`a` is not JSON"),
    ("[§True]", "write `true`"),
    ("[§None]", "write `null`"),
    ('["a" §"b"]', "a comma before it"),
    ("[1§", "was it written only in part?"),
    ('["§\n"]', "line break"),
    ('[§"abc', "no closing quote"),
    ("1 §2", "remove what follows"),
    ("[§\ufeff1]", "`\\ufeff` is not expected"),
    ("[0§1]", "a comma or `]`"),
]


@pytest.mark.parametrize(("marked", "what"), BROKEN)
def test_a_broken_text_is_pointed_at_and_explained(marked: str, what: str) -> None:
    with pytest.raises(Broken) as broken:
        parse(marked.replace("§", ""))
    assert broken.value.offset == marked.index("§")
    assert what in broken.value.what
