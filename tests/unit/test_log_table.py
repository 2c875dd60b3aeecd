"""The table of log events keeps up with the code: what one of them has and the other has not fails here."""

from __future__ import annotations

import pytest
from log_calls import Logged, logged, sources

from dispatcher.logs.table import EVENTS, FIELDS

CODE = logged(sources())
BY_THE_LOG = {"repeated"}
"""Fields that the log adds by itself, to any event."""


def test_every_event_that_is_logged_stands_in_the_table() -> None:
    assert sorted(CODE.keys() - EVENTS.keys()) == [], "give it a line in dispatcher/logs/table.py"


def test_every_event_of_the_table_is_logged() -> None:
    assert sorted(EVENTS.keys() - CODE.keys()) == []


@pytest.mark.parametrize("name", sorted(EVENTS.keys() & CODE.keys()))
def test_an_event_has_the_fields_and_levels_of_the_table(name: str) -> None:
    code, told = CODE[name], EVENTS[name]
    assert code.levels == set(told.levels)
    assert (code.always or set()) - BY_THE_LOG == set(told.fields)
    assert code.maybe - BY_THE_LOG == set(told.maybe)


def test_every_field_is_explained_and_used() -> None:
    used = {name for event in EVENTS.values() for name in (*event.fields, *event.maybe)} | BY_THE_LOG
    assert used == FIELDS.keys()


def test_names_are_dotted_and_meanings_are_sentences() -> None:
    for event in EVENTS.values():
        assert event.name.count(".") == 1, event.name
        assert event.meaning[0].isupper(), event.name
        assert event.meaning.endswith("."), event.name


def one(text: str) -> dict[str, Logged]:
    return logged({"module.py": text})


@pytest.mark.parametrize(
    ("text", "levels", "always", "maybe"),
    [
        ("structlog.get_logger().info('a.b', x=1)", {"info"}, {"x"}, set()),
        ("self._say.error('a.b', exc_info=e)", {"error"}, {"exception"}, set()),
        ("loud = say.error if bad else say.warning\nloud('a.b')", {"error", "warning"}, set(), set()),
        ("name = 'a.b' if x else 'a.b'\n_log.info(name)", {"info"}, set(), set()),
        ("data = {'x': 1}\nsay.info('a.b', y=2, **data)", {"info"}, {"x", "y"}, set()),
        ("say.info('a.b', **({'x': 1} if x else {}))", {"info"}, set(), {"x"}),
        ("say.info('a.b', x=1)\nsay.debug('a.b')", {"info", "debug"}, set(), {"x"}),
        ("say = structlog.get_logger().bind(shard=1)\nsay.info('a.b')", {"info"}, {"shard"}, set()),
        ("def f(say):\n    say.info('a.b')", {"info"}, set(), set()),
    ],
)
def test_calls_are_understood(text: str, levels: set[str], always: set[str], maybe: set[str]) -> None:
    found = one(text)["a.b"]
    assert (found.levels, found.always, found.maybe) == (levels, always, maybe)


@pytest.mark.parametrize("text", ["say.info(f'a.{b}')", "say.info(name)", "say.info('a.b', **others)"])
def test_what_cannot_be_found_by_reading_is_refused(text: str) -> None:
    with pytest.raises(AssertionError, match=r"module\.py:1"):
        one(text)


def test_other_calls_are_none() -> None:
    assert one("_LOG.warning('%s', x)\nmath.log(2)\nmessage.error()\nprint('a.b')") == {}
