"""What the `http` handler is told to ask, and the request that it makes of that."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from urllib.parse import quote

import httpx
from pydantic import ConfigDict, Field, StringConstraints, field_validator
from pydantic.alias_generators import to_camel

from dispatcher.masking import is_secret
from dispatcher.work.handlers.http_guard import LONGEST_URL, Refused, checked_url
from dispatcher.work.handling import Payload, Task

OURS = frozenset({"idempotency-key", "dispatcher-attempt", "traceparent"})
_FRAMING = frozenset({
    *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"),
    *("expect", "accept-encoding", "proxy-authorization", "proxy-connection"),
})  # fmt: skip
_BOUND = frozenset({"cookie"})
"""Besides what hides secrets by its name: headers that are meant for one host."""
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_RANGE = re.compile(r"([1-5][0-9][0-9])-([1-5][0-9][0-9])")

Status = Annotated[int, Field(ge=100, le=599)]
StatusRange = Annotated[str, StringConstraints(pattern=r"^[1-5][0-9][0-9]-[1-5][0-9][0-9]$")]


class HttpPayload(Payload):
    """A request, and what counts as a good answer."""

    model_config = ConfigDict(alias_generator=to_camel)

    url: str = Field(max_length=LONGEST_URL, description="What is asked; http or https, without a user.")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = Field(
        "GET", description="How it is asked."
    )
    headers: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~\-]{1,200}$")],
        Annotated[
            str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?$|^$", max_length=8000)
        ],
    ] = Field(default_factory=dict, max_length=100, description="More headers.")
    body: Any = Field(None, description="Text is sent as it is, anything else as JSON, null not at all.")
    timeout_seconds: float | None = Field(
        None, gt=0, le=86_400, description="Limit of all of it, redirects and the answer's body included."
    )
    max_bytes: int = Field(
        10_485_760, ge=0, le=104_857_600, description="Most bytes of an answer's body, also once unpacked."
    )
    expect_status: list[Status | StatusRange] = Field(
        ["200-299"], min_length=1, max_length=100, description='Good statuses, such as 200 or "200-299".'
    )
    redirects: int = Field(0, ge=0, le=3, description="How many redirects are followed.")

    @field_validator("headers")
    @classmethod
    def _free(cls, headers: dict[str, str]) -> dict[str, str]:
        names = [name.lower() for name in headers]
        if taken := sorted((OURS | _FRAMING).intersection(names)):
            raise ValueError(f"{', '.join(taken)}: set by the dispatcher itself, leave it out")
        if len(set(names)) < len(names):
            raise ValueError("a header is named twice")
        return headers

    def expects(self, status: int) -> bool:
        """Return whether a status is a good one."""
        return any(_fits(status, expected) for expected in self.expect_status)


def _fits(status: int, expected: int | str) -> bool:
    if isinstance(expected, int):
        return status == expected
    first, _, last = expected.partition("-")
    return int(first) <= status <= int(last)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a run, the first or one that a redirect led to."""

    method: str
    url: httpx.URL
    headers: tuple[tuple[str, str], ...]
    body: bytes | None

    def redirected(self, status: int, location: str, *, allow_private: bool) -> Request:
        """Return the request that a redirect asks for. Raises Refused when it must not be made.

        A form that was posted is asked for by GET afterwards, unless 307 or 308 says otherwise. Another
        host gets no credentials, and no redirect leads out of TLS.
        """
        try:
            target = str(self.url.join(location))
        except (httpx.InvalidURL, ValueError) as error:
            raise Refused("a redirect leads to a URL that is not well-formed") from error
        try:
            url = checked_url(target, allow_private=allow_private)
        except Refused as error:
            raise Refused(f"a redirect leads astray: {error}") from error
        if self.url.scheme == "https" and url.scheme == "http":
            raise Refused("a redirect leads from https to http")
        there = replace(self, url=url)
        if (status == 303 and self.method != "HEAD") or (status < 303 and self.method == "POST"):
            there = replace(there, method="GET", body=None, headers=_without(self.headers, {"content-type"}))
        if _place(url) != _place(self.url):
            bound = {name for name, _ in there.headers if is_secret(name) or name.lower() in _BOUND}
            there = replace(there, headers=_without(there.headers, bound))
        return there


def first_request(task: Task, payload: HttpPayload, *, allow_private: bool) -> Request:
    """Return the request that a payload asks for. Raises Refused when it must not be made."""
    url = checked_url(payload.url, allow_private=allow_private)
    given = {name.lower() for name in payload.headers}
    headers = [*payload.headers.items()]
    body = b"" if payload.method in {"POST", "PUT", "PATCH"} else None
    if payload.body is not None:
        is_text = isinstance(payload.body, str)
        try:
            text = (
                payload.body
                if is_text
                else json.dumps(payload.body, ensure_ascii=False, separators=(",", ":"))
            )
            body = text.encode()
        except UnicodeEncodeError as error:
            raise Refused("the body holds half a character, which UTF-8 cannot say") from error
        if "content-type" not in given:
            headers.append(("Content-Type", "text/plain; charset=utf-8" if is_text else "application/json"))
    if "user-agent" not in given:
        headers.append(("User-Agent", "kafka-cron-dispatcher"))
    headers += [
        ("Accept-Encoding", "gzip"),
        ("Idempotency-Key", quote(task.fire, safe=_PRINTABLE.replace("%", ""))),
        ("Dispatcher-Attempt", str(task.attempt)),
    ]
    if task.traceparent:
        headers.append(("traceparent", quote(task.traceparent, safe="-")))
    return Request(payload.method, url, tuple(headers), body)


def _without(headers: tuple[tuple[str, str], ...], names: set[str]) -> tuple[tuple[str, str], ...]:
    lower = {name.lower() for name in names}
    return tuple((name, value) for name, value in headers if name.lower() not in lower)


def _place(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
