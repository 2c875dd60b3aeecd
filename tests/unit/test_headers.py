"""Headers as the client library gives them: names that are not UTF-8 make it raise."""

from __future__ import annotations

from typing import cast

from confluent_kafka import Message
from run_world import poison

from dispatcher.core.run import Delivery
from dispatcher.kafka.reading import headers_in


class Unreadable:
    """A message whose headers the library cannot give."""

    def headers(self) -> None:
        b"\xff".decode()


def test_headers_that_cannot_be_read_make_a_message_poison_and_end_nothing() -> None:
    found = headers_in(cast("Message", Unreadable()))
    assert "UTF-8" in poison(Delivery("d.jobs.normal", 0, 7, 1, b"k", b"{}", found))
