"""Plots of distributions, as figures that a template draws in SVG."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

from langchain_moa.runs.figures import ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

# More columns than that show chance rather than shape.
_MOST_COLUMNS = 16


@dataclass(frozen=True)
class Column:
    """A column: the values from `low` up to `high`, and how many there are; `share` of the highest column."""

    low: float
    high: float
    count: int
    share: float


@dataclass(frozen=True)
class Histogram:
    """How values are spread.

    Attributes:
        columns: The columns, evenly wide from 0 on.
        ends: Where they begin and end, as round values.
        middle: The median.
        high: The value that 95 per cent do not exceed.
        count: How many values there are.
    """

    columns: tuple[Column, ...]
    ends: tuple[float, ...]
    middle: float
    high: float
    count: int

    @property
    def end(self) -> float:
        """The end of the scale."""
        return self.ends[-1]


def histogram(values: Sequence[float]) -> Histogram | None:
    """Return how values are spread; `None` where there are none, or all are 0.

    Args:
        values: The values, 0 or more.
    """
    top = max(values, default=0.0)
    if top <= 0:
        return None
    ends = ticks(top, _MOST_COLUMNS)
    if ends[-1] < top:
        ends.append(2 * ends[-1] - ends[-2])
    width = ends[1] - ends[0]
    counts = [0] * (len(ends) - 1)
    for value in values:
        counts[min(int(value / width + 1e-9), len(counts) - 1)] += 1
    columns = (
        Column(low, high, number, number / max(counts)) for low, high, number in zip(ends, ends[1:], counts, strict=False)
    )
    high = values[0] if len(values) == 1 else quantiles(values, n=20, method="inclusive")[-1]
    return Histogram(tuple(columns), tuple(ends), median(values), high, len(values))
