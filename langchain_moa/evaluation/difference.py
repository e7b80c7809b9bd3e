"""The difference of two variants on the same questions, and whether it is more than noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, fmean, pstdev
from typing import TYPE_CHECKING

from langchain_moa.evaluation.bootstrap import interval
from langchain_moa.evaluation.permutation import p_value

if TYPE_CHECKING:
    from collections.abc import Sequence

# How rarely chance may look like a difference, and how often a real one is to be seen.
_CHANCE = 0.05
_POWER = 0.8

ENOUGH = 6
"""Questions that have to be scored differently: of five that all speak for one side, chance would bring as many in 1 of 16."""

# Of so many that are expected, at least `ENOUGH` come in four of five samples.
_EXPECTED = 8

# A smaller difference is nothing that anybody would pay for.
_LEAST = 0.005


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much more one variant scores than another, question by question.

    Attributes:
        mean: The mean difference.
        low: The lower end of its 95% interval, by a bootstrap over the questions.
        high: The upper end.
        p: The probability that chance alone would part them as far, by an exact or permutation test.
        differing: On how many questions they score differently.
        questions: Of how many.
        needed: How many questions would show a difference of this size in four of five tries; `None` where there is no
            difference worth the name.
    """

    mean: float
    low: float
    high: float
    p: float
    differing: int
    questions: int
    needed: int | None

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
        """Compare scores.

        Args:
            ours: The scores of one variant, by question.
            theirs: Those of the other, for the same questions.
        """
        each = [one - other for one, other in zip(ours, theirs, strict=True)]
        low, high = interval(each)
        differing = sum(value != 0 for value in each)
        return cls(
            mean=fmean(each),
            low=low,
            high=high,
            p=p_value(each),
            differing=differing,
            questions=len(each),
            needed=_needed(each, differing),
        )

    @property
    def is_more_than_noise(self) -> bool:
        """Whether the interval leaves 0 out and the test agrees: with few questions, the interval alone is too sure."""
        return self.differing >= ENOUGH and (self.low > 0 or self.high < 0) and self.p < _CHANCE


def _needed(differences: Sequence[float], differing: int) -> int | None:
    mean = abs(fmean(differences))
    if mean < _LEAST:
        return None
    deviations = NormalDist().inv_cdf(1 - _CHANCE / 2) + NormalDist().inv_cdf(_POWER)
    by_size = (deviations * pstdev(differences) / mean) ** 2
    return math.ceil(max(by_size, _EXPECTED * len(differences) / differing))
