"""A judgement of a process: whether it may claim to be well, or ready, and what speaks against it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """A judgement: the reasons why not are sentences for people, none when healthy."""

    reasons: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons
