"""The verdict: whether the mixture does better than another variant, and what it takes, in a few sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.evaluation.difference import ENOUGH
from langchain_moa.evaluation.failures import TOO_MANY
from langchain_moa.evaluation.words import counted

if TYPE_CHECKING:
    from langchain_moa.evaluation.difference import Difference
    from langchain_moa.evaluation.figures import Figures

_SMALLEST = 0.001


def verdict(mixture: Figures, other: Figures) -> str:
    """Return how the mixture does against another variant.

    Args:
        mixture: The mixture's figures.
        other: The other variant's.
    """
    who = f"its best member, {other.name.partition(' alone')[0]}," if other.kind == "member" else other.name
    for each, named in ((mixture, "the mixture's"), (other, "its")):
        if each.failed > TOO_MANY:
            return f"No verdict on the mixture and {who.rstrip(',')}: {each.failed:.0%} of {named} answers failed."
    return f"{_compared(other.gain, who)}{_price(mixture, other)}" if other.gain is not None else ""


def _compared(gain: Difference, who: str) -> str:
    questions = counted(gain.questions, "question")
    if not gain.mean:
        return f"The mixture and {who} score the same on {questions}."
    points = f"{100 * abs(gain.mean):.1f} points"
    span = f"95% interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}, p {_p(gain.p)}"
    if gain.is_more_than_noise:
        how = "better" if gain.mean > 0 else "worse"
        return f"The mixture is {how} than {who} by {points} ({span}): more than noise."
    where = f"The mixture is {points} {'ahead of' if gain.mean > 0 else 'behind'} {who.rstrip(',')} ({span})"
    more = "" if gain.needed is None else f" If the difference is real, about {gain.needed:,} questions would show it."
    if gain.differing < ENOUGH:
        few = f"they score differently on only {gain.differing} of {questions}: fewer than {ENOUGH} are too few to tell"
        return f"{where}, but {few}.{more}"
    return f"{where}: no more than noise on {questions}.{more}"


def _p(p: float) -> str:
    return f"< {_SMALLEST}" if p < _SMALLEST else f"= {p:.3f}"


def _price(mixture: Figures, other: Figures) -> str:
    """Say what the mixture takes in comparison."""
    parts = []
    if mixture.cost_usd and other.cost_usd:
        parts.append(f"{mixture.cost_usd / other.cost_usd:.1f} times the cost")
    if mixture.seconds and other.seconds:
        parts.append(f"{mixture.seconds / other.seconds:.1f} times the time")
    return f" The mixture takes {' and '.join(parts)}." if parts else ""
