"""A figure, its bound and its comparison, and how they are printed and kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured value. It reaches its bound from above (`at_least`) or from below; None: told only.

    `beside` is what was measured in the same run to compare with, in words; `samples` are the single
    values that the figure is the median (or the worst) of.
    """

    bench: str
    what: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False
    beside: str = ""
    samples: tuple[float, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        """Whether the bound is reached; None without one."""
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def plain(self) -> dict[str, Any]:
        """Return the figure as JSON takes it."""
        return {**asdict(self), "reached": self.reached}


def table(figures: Iterable[Figure]) -> str:
    """Return figures as a Markdown table."""
    rows = ["| figure | measured | reach | reached | beside, in the same run |", "|---|---|---|---|---|"]
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        bound = "" if figure.bound is None else f"{sign} {number(figure.bound)} {figure.unit}"
        reached = {None: "", True: "yes", False: "**no**"}[figure.reached]
        value = f"{number(figure.value)} {figure.unit}"
        rows.append(f"| {figure.bench}: {figure.what} | {value} | {bound} | {reached} | {figure.beside} |")
    return "\n".join(rows)


def number(value: float) -> str:
    """Return a value with about three digits that matter, thousands parted."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
