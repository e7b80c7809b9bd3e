"""Formatting of figures: durations, dollars, counts, and the cost of calls of which some prices may be unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_KNOWN = "\N{EN DASH}"

# The step sizes of a scale, for each power of ten.
_STEPS = (1, 2, 2.5, 5, 10)

_SECOND = 1.0
_MINUTE = 60.0
_SMALLEST_COST = 0.0001


@dataclass(frozen=True)
class Cost:
    """The cost of several calls, of which some prices may be unknown.

    The command line, the pages and the evaluation all format costs with this class, so that an incomplete sum never looks
    complete.

    Attributes:
        usd: The sum of the known prices, in US dollars.
        priced: The number of calls with a known price.
        calls: The number of paid calls.

    Example:
        ```python
        from langchain_moa.data.figures import Cost

        print(Cost.of([0.01, 0.02]))  # $0.0300
        print(Cost.of([0.01, None]))  # at least $0.0100 (1 of 2 calls priced)
        print(Cost.of([None, None]))  # no price known
        ```
    """

    usd: float = 0.0
    priced: int = 0
    calls: int = 0

    @classmethod
    def of(cls, prices: Iterable[float | None]) -> Self:
        """Return the cost of calls.

        Args:
            prices: The price of each paid call in US dollars, or `None` if it is unknown.
        """
        prices = list(prices)
        known = [price for price in prices if price is not None]
        return cls(math.fsum(known), len(known), len(prices))

    def __add__(self, other: Cost) -> Cost:
        """Return the sum of both."""
        return Cost(self.usd + other.usd, self.priced + other.priced, self.calls + other.calls)

    def __sub__(self, earlier: Cost) -> Cost:
        """Return the cost of the calls that were made since then."""
        return Cost(self.usd - earlier.usd, self.priced - earlier.priced, self.calls - earlier.calls)

    @property
    def total_usd(self) -> float | None:
        """The sum in US dollars, or `None` if a price is unknown."""
        return self.usd if self.calls and self.priced == self.calls else None

    @property
    def amount(self) -> str:
        """The amount without the note: `$0.0300`, `at least $0.0100`, `no price known`."""
        if not self.calls:
            return NOT_KNOWN
        if not self.priced:
            return "no price known"
        return f"{'' if self.priced == self.calls else 'at least '}{dollars(self.usd)}"

    @property
    def note(self) -> str:
        """The note for a cost of which some prices are unknown: `1 of 2 calls priced`; otherwise empty."""
        return f"{self.priced:,} of {self.calls:,} calls priced" if 0 < self.priced < self.calls else ""

    def __str__(self) -> str:
        """Return the amount and the note: `at least $0.0100 (1 of 2 calls priced)`."""
        return f"{self.amount} ({self.note})" if self.note else self.amount


def seconds(value: float | None) -> str:
    """Format a duration: `340 ms`, `1.2 s`, `2 min 5 s`."""
    if value is None:
        return NOT_KNOWN
    if round(value, 3) < _SECOND:
        return f"{value * 1000:.0f} ms"
    if round(value, 1) < _MINUTE:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def dollars(value: float | None) -> str:
    """Format an amount of US dollars: `$0.0123`."""
    if value is None:
        return NOT_KNOWN
    if value == 0:
        return "$0"
    return f"${value:,.4f}" if value >= _SMALLEST_COST else f"<${_SMALLEST_COST:g}"


def count(value: float | None) -> str:
    """Format a number with thousands separators."""
    return NOT_KNOWN if value is None else f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: `1 call`, `2 calls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(value: float | None) -> str:
    """Format a share from 0 to 1 as a percentage."""
    return NOT_KNOWN if value is None else f"{value:.0%}"


def ticks(end: float, most: int = 5) -> list[float]:
    """Return round, evenly spaced values from 0 up to an end.

    Args:
        end: The end of the scale, more than 0.
        most: The maximum number of steps.
    """
    power = 10.0 ** math.floor(math.log10(end / most))
    step = next(step * power for step in _STEPS if step * power * most >= end * (1 - 1e-9))
    return [round(number * step, 12) for number in range(int(end / step + 1e-9) + 1)]


def exact_seconds(value: float) -> str:
    """Format a round duration for the labels of a scale: `0`, `250 ms`, `2.5 s`."""
    if value == 0:
        return "0"
    return f"{value * 1000:g} ms" if value < _SECOND else f"{value:g} s"


def exact_dollars(value: float) -> str:
    """Format a round amount of US dollars for the labels of a scale."""
    return f"${value:g}"
