"""Which lane the next free seat serves: lanes share by weight, and some seats are kept for urgent ones.

What is shared is the time of seats, so that long runs of one lane do not displace the others. Time is not
measured: each start stands for a step of it, in which every busy seat serves its lane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dispatcher.core.job import Lane

WEIGHTS: Mapping[Lane, float] = MappingProxyType(
    {Lane.CRITICAL: 8, Lane.HIGH: 4, Lane.NORMAL: 2, Lane.LOW: 1}
)
_LANES = tuple(Lane)
"""The most urgent first."""
_URGENT = 2
"""So many of them may take every seat: critical and high."""
_FEWEST_TO_RESERVE = 4
_DEEPEST_DEBT = 2


@dataclass(frozen=True, slots=True)
class Shares:
    """The weight of each lane, and the share of the seats that only urgent lanes take.

    Of fewer than four seats none is reserved; of more at least one is, unless the share is 0.
    """

    weights: Mapping[Lane, float] = field(default_factory=lambda: WEIGHTS)
    reserve: float = 1 / 8

    def __post_init__(self) -> None:
        if set(self.weights) != set(Lane) or min(self.weights.values()) <= 0:
            raise ValueError("every lane has a weight above 0")
        if not 0 <= self.reserve < 1:
            raise ValueError("the reserve is a share of the seats: at least 0, below 1")

    def reserved(self, seats: int) -> int:
        """Return how many of so many seats only urgent lanes take."""
        if seats < _FEWEST_TO_RESERVE or not self.reserve:
            return 0
        return max(1, int(seats * self.reserve))


class Turn:
    """Whose turn it is. Remembers how much service each lane has had, by its weight.

    A lane that waits is served in proportion to its weight, however much the others want; one that did not
    wait has no claim to what it did not use, and owes little for what nobody else wanted.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._costs = [1 / shares.weights[lane] for lane in _LANES]
        self._served = [0.0] * len(_LANES)
        """Service by weight, lane by lane."""
        self._deepest = _DEEPEST_DEBT * max(self._costs)

    def choose(self, waiting: Mapping[Lane, int], busy: Mapping[Lane, int], seats: int) -> Lane | None:
        """Return the lane that a free seat serves now, None when it is to stay free.

        `waiting` and `busy` count runs and seats of each lane, the free one not among them; `seats` is the
        number of all. What is returned counts as started.
        """
        asking = [index for index, lane in enumerate(_LANES) if waiting.get(lane, 0) > 0]
        serving = [busy.get(lane, 0) for lane in _LANES]
        allowed = asking
        if sum(serving[_URGENT:]) >= seats - self._shares.reserved(seats):
            allowed = [index for index in asking if index < _URGENT]
        if not allowed:
            return None
        self._settle_with(asking)
        served, costs = self._served, self._costs
        _, chosen = min((served[index] + (serving[index] + 1) * costs[index], index) for index in allowed)
        serving[chosen] += 1
        step = 1 / sum(serving)
        for index, count in enumerate(serving):
            served[index] += count * step * costs[index]
        return _LANES[chosen]

    def _settle_with(self, asking: list[int]) -> None:
        """Let lanes that do not wait lose their claims, and limit what the others owe: none may starve."""
        served, deepest = self._served, self._deepest
        least = min([served[index] for index in asking])
        self._served = [min(max(service - least, 0.0), deepest) for service in served]
