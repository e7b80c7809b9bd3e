"""Figures as people read them."""

from __future__ import annotations

import math

NOT_KNOWN = "\N{EN DASH}"

# The steps of a scale, in each power of ten.
_STEPS = (1, 2, 2.5, 5, 10)

_SECOND = 1.0
_MINUTE = 60.0
_SMALLEST_COST = 0.0001


def seconds(value: float | None) -> str:
    """Return a duration: `340 ms`, `1.2 s`, `2 min 5 s`."""
    if value is None:
        return NOT_KNOWN
    if value < _SECOND:
        return f"{value * 1000:.0f} ms"
    if value < _MINUTE:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def dollars(value: float | None) -> str:
    """Return an amount of US dollars."""
    if value is None:
        return NOT_KNOWN
    if value == 0:
        return "$0"
    return f"${value:,.4f}" if value >= _SMALLEST_COST else f"<${_SMALLEST_COST:g}"


def count(value: float | None) -> str:
    """Return a number with its thousands apart."""
    return NOT_KNOWN if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """Return a share as a percentage."""
    return NOT_KNOWN if value is None else f"{value:.0%}"


def ticks(end: float, most: int = 5) -> list[float]:
    """Return round values from 0 up to an end, evenly apart.

    Args:
        end: The end of the scale, more than 0.
        most: How many steps at most.
    """
    power = 10.0 ** math.floor(math.log10(end / most))
    step = next(step * power for step in _STEPS if step * power * most >= end * (1 - 1e-9))
    return [round(number * step, 12) for number in range(int(end / step + 1e-9) + 1)]


def exact_seconds(value: float) -> str:
    """Return a round duration, as a scale has it: `0`, `250 ms`, `2.5 s`."""
    if value == 0:
        return "0"
    return f"{value * 1000:g} ms" if value < _SECOND else f"{value:g} s"


def exact_dollars(value: float) -> str:
    """Return a round amount of US dollars, as a scale has it."""
    return f"${value:g}"
