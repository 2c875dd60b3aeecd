from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.command import (
    COMMAND_TYPES,
    MAX_BYTES,
    BadCommandError,
    Command,
    CommandType,
    decode_command,
    encode_command,
)
from dispatcher.core.instant import LAST


@given(
    st.sampled_from(COMMAND_TYPES),
    st.from_regex(r"[A-Za-z0-9._:-]{1,200}", fullmatch=True),
    st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    st.none() | st.integers(0, LAST),
    st.integers(0, LAST),
)
def test_a_command_comes_out_as_it_went_in(
    kind: CommandType, ident: str, revision: str | None, expires: int | None, until: int
) -> None:
    command = Command(kind, ident, revision, expires, until)
    assert decode_command(encode_command(command)) == command


def test_a_command_of_the_first_form_is_understood() -> None:
    assert decode_command(b'{"v":1,"type":"adopt","id":"x"}') == Command("adopt", "x")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "JSON object of at most 1 MB"),
        (b"x" * (MAX_BYTES + 1), "at most 1 MB"),
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "`v` 1"),
        (b"null", "`v` 1"),
        (b"{}", "`v` 1"),
        (b'{"v":2,"type":"adopt","id":"x"}', "`v` 1"),
        (b'{"v":1,"id":"x"}', "unknown type None; known are adopt, accept-clock"),
        (b'{"v":1,"type":"explode","id":"x"}', "unknown type 'explode'"),
        (b'{"v":1,"type":["adopt"],"id":"x"}', "unknown type"),
        (b'{"v":1,"type":{},"id":"x"}', "unknown type"),
        (b'{"v":1,"type":"adopt"}', "`id` must be 1 to 200 letters"),
        (b'{"v":1,"type":"adopt","id":""}', "1 to 200 letters"),
        (b'{"v":1,"type":"adopt","id":"\\ud800"}', "1 to 200 letters"),
        (b'{"v":1,"type":"adopt","id":7}', "`id` must be 1 to 200 letters"),
        (json.dumps({"v": 1, "type": "adopt", "id": "x" * 201}).encode(), "1 to 200 letters"),
        (b'{"v":1,"type":"drop-missed","id":"x"}', "`drop-missed` needs `until`"),
        (b'{"v":1,"type":"drop-missed","id":"x","until":7}', "`until` must be an instant"),
        (b'{"v":1,"type":"drop-missed","id":"x","until":"soon"}', "`until`: 'soon' is not an instant"),
        (b'{"v":1,"type":"adopt","id":"x","expires":"2026-11-20T02:00:00"}', "`expires`: "),
        (b'{"v":1,"type":"adopt","id":"x","revision":7}', "`revision` must be the SHA-256"),
        (b'{"v":1,"type":"adopt","id":"x","revision":""}', "`revision` must be the SHA-256"),
    ],
)
def test_what_is_no_command_is_refused_with_the_reason(value: bytes | None, why: str) -> None:
    with pytest.raises(BadCommandError) as told:
        decode_command(value)
    assert why in str(told.value)


@given(st.binary(max_size=100))
def test_garbage_is_never_an_accident(value: bytes) -> None:
    with pytest.raises(BadCommandError):
        decode_command(value)


def test_the_reason_stays_short_whatever_was_sent() -> None:
    with pytest.raises(BadCommandError) as told:
        decode_command(json.dumps({"v": 1, "type": "x" * 100_000, "id": "x"}).encode())
    assert len(str(told.value)) < 300
