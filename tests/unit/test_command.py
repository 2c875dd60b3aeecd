from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.command import (
    COMMAND_TYPES,
    MAX_BYTES,
    BadCommandError,
    Command,
    CommandType,
    Parcel,
    decode_command,
    encode_command,
    named_retry_id,
    retry_id,
)
from dispatcher.core.instant import LAST

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200)
parcels = st.builds(
    Parcel,
    st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}", fullmatch=True),
    st.none() | st.binary(max_size=50),
    st.binary(max_size=200),
    st.lists(st.tuples(texts, st.binary(max_size=50)), max_size=4).map(tuple),
)


def retry(**changes: Any) -> Command:
    """Return a retry as the pool asks for it, with changes."""
    whole = Command(
        "retry", "retry/a@x/2", job="a", fire="a@x", attempt=2, at=5, parcel=Parcel("t", b"k", b"v", ()),
        origin="pool",
    )  # fmt: skip
    return replace(whole, **changes)


@given(
    st.sampled_from(COMMAND_TYPES),
    st.from_regex(r"[A-Za-z0-9._:-]{1,200}", fullmatch=True),
    st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    st.none() | st.integers(0, LAST),
    st.integers(0, LAST),
    texts,
    parcels,
)
def test_a_command_comes_out_as_it_went_in(
    kind: CommandType,
    ident: str,
    revision: str | None,
    expires: int | None,
    until: int,
    text: str,
    parcel: Parcel,
) -> None:
    command = Command(
        kind, ident, revision, expires, until,
        job=text, fire=text, attempt=3, at=until, parcel=parcel, origin="pool",
    )  # fmt: skip
    assert decode_command(encode_command(command)) == command


@pytest.mark.parametrize("fire", ["a b.c_d-e@2026-11-20T02:00:00Z", "a!x/y#2", "ä" * 590])
def test_the_id_of_a_retry_holds_the_id_of_its_fire(fire: str) -> None:
    command = retry(fire=fire, id=retry_id(fire, 2))
    assert command.id == f"retry/{fire}/2"
    assert decode_command(encode_command(command)) == command


def test_the_id_that_somebody_gives_a_retry_is_that_of_no_attempt_and_of_one_fire() -> None:
    assert named_retry_id("a@x", "2") == "retry/a@x/!2" != retry_id("a@x", 2)
    assert retry_id("a@x/!2", 2) != named_retry_id("a@x", "2")
    for fire, name in (("a@x", "y/4"), ("a@x", ""), ("a@x", "x" * 201), ("x" * 600, "y" * 100)):
        with pytest.raises(BadCommandError, match="`id` must be 1 to"):
            named_retry_id(fire, name)


def test_a_command_of_the_first_form_is_understood() -> None:
    assert decode_command(b'{"v":1,"type":"adopt","id":"x"}') == Command("adopt", "x")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "JSON object of at most 16 MiB"),
        (b"x" * (MAX_BYTES + 1), "at most 16 MiB"),
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
        (b'{"v":1,"type":"trigger","id":"x"}', "`trigger` needs `job`"),
        (b'{"v":1,"type":"trigger","id":"a b","job":"a"}', "`id` must be 1 to 200 letters"),
        (b'{"v":1,"type":"trigger","id":"x","job":""}', "`job` must be a job's name"),
        (b'{"v":1,"type":"trigger","id":"x","job":"a\\n"}', "none of them a control character"),
        (b'{"v":1,"type":"trigger","id":"x","job":7}', "`job` must be a job's name"),
        (b'{"v":1,"type":"pause","id":"x"}', "`pause` needs `job`"),
        (b'{"v":1,"type":"resume","id":"x"}', "`resume` needs `job`"),
        (b'{"v":1,"type":"cancel","id":"x"}', "`cancel` needs `fire`"),
        (json.dumps({"v": 1, "type": "cancel", "id": "x", "fire": "x" * 601}).encode(), "1 to 600 char"),
    ],
)
def test_what_is_no_command_is_refused_with_the_reason(value: bytes | None, why: str) -> None:
    with pytest.raises(BadCommandError) as told:
        decode_command(value)
    assert why in str(told.value)


def parcel_of(**changes: object) -> dict[str, object]:
    whole = {"topic": "t", "key": "a2V5", "value": "e30=", "headers": [["h", "eA=="]]}
    return {"parcel": {name: one for name, one in {**whole, **changes}.items() if one is not ...}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "retry/\n/2"}, "`id` must be 1 to 700 characters"),
        ({"id": "x" * 701}, "`id` must be 1 to 700 characters"),
        ({"job": None}, "`retry` needs `job`"),
        ({"fire": None}, "`retry` needs `fire`"),
        ({"attempt": None}, "`retry` needs `attempt`"),
        ({"at": None}, "`retry` needs `at`"),
        ({"parcel": None}, "`retry` needs `parcel`: the whole message"),
        ({"attempt": 0}, "`attempt` must be a number from 1 to 1000000"),
        ({"attempt": 1_000_001}, "`attempt` must be"),
        ({"attempt": True}, "`attempt` must be"),
        ({"attempt": 1.5}, "`attempt` must be"),
        ({"at": 5}, "`at` must be an instant"),
        ({"origin": "me"}, "`origin` must be `pool` or `user`"),
        ({"parcel": []}, "`parcel` must be an object"),
        (parcel_of(topic=".."), "`parcel.topic` must be the name of a topic"),
        (parcel_of(topic="a/b"), "`parcel.topic`"),
        (parcel_of(topic="x" * 250), "`parcel.topic`"),
        (parcel_of(topic=7), "`parcel.topic`"),
        (parcel_of(value=...), "`parcel.value` is not base64"),
        (parcel_of(value="e30"), "`parcel.value` is not base64"),
        (parcel_of(value="e3 0="), "`parcel.value` is not base64"),
        (parcel_of(value="ä"), "`parcel.value` is not base64"),
        (parcel_of(key=7), "`parcel.key` is not base64"),
        (parcel_of(headers=...), "`parcel.headers` must be a list"),
        (parcel_of(headers=[["h", ""]] * 1_001), "a list of at most 1000"),
        (parcel_of(headers=[["h"]]), "a pair of a name"),
        (parcel_of(headers=["hv"]), "a pair of a name"),
        (parcel_of(headers=[["", ""]]), "a pair of a name"),
        (parcel_of(headers=[["h\n", ""]]), "a pair of a name"),
        (parcel_of(headers=[["h", None]]), "`parcel.headers` is not base64"),
    ],
)
def test_what_is_no_retry_is_refused_with_the_reason(changes: dict[str, object], why: str) -> None:
    whole = json.loads(encode_command(retry()))
    with pytest.raises(BadCommandError) as told:
        decode_command(json.dumps({**whole, **changes}).encode())
    assert why in str(told.value)
    assert len(str(told.value)) < 300


def test_a_parcel_survives_whatever_bytes_it_holds() -> None:
    every = bytes(range(256))
    parcel = Parcel("own.topic", every, every, (("h", every), ("h", b"")))
    value = encode_command(retry(parcel=parcel))
    assert decode_command(value).parcel == parcel
    assert b64encode(every) in value
    assert decode_command(encode_command(retry(parcel=replace(parcel, key=None)))).parcel == replace(
        parcel, key=None
    )


@given(st.binary(max_size=100))
def test_garbage_is_never_an_accident(value: bytes) -> None:
    with pytest.raises(BadCommandError):
        decode_command(value)


def test_the_reason_stays_short_whatever_was_sent() -> None:
    with pytest.raises(BadCommandError) as told:
        decode_command(json.dumps({"v": 1, "type": "x" * 100_000, "id": "x"}).encode())
    assert len(str(told.value)) < 300
