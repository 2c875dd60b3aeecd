"""What is heard in the statistics of a producer: its epoch, once there is one, and never an error."""

from __future__ import annotations

import pytest

from dispatcher.core.shard_figures import Epoch
from dispatcher.kafka.hearing import EpochHearing


def statistics(producer: int, epoch: int) -> str:
    return (
        f'{{ "topics":{{}} , "eos": {{ "txn_may_enq": true, "producer_id": {producer},'
        f' "producer_epoch": {epoch}, "epoch_cnt": 1 }} }}'
    )


def test_the_epoch_is_heard_once_there_is_one_and_stays() -> None:
    hearing = EpochHearing()
    hearing.hear(statistics(-1, -1))
    assert hearing.epoch is None
    hearing.hear(statistics(4001, 12))
    assert hearing.epoch == Epoch(4001, 12)
    hearing.hear(statistics(-1, -1))
    assert hearing.epoch == Epoch(4001, 12)


@pytest.mark.parametrize("text", ["", "{", '{"eos": null}', '{"producer_id": 1, "producer_epoch": "x"}'])
def test_what_is_not_understood_tells_nothing(text: str) -> None:
    hearing = EpochHearing()
    hearing.hear(text)
    assert hearing.epoch is None
