"""How sure a mean or a difference is: the bootstrap, the paired permutation test, and how many questions are needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, fmean, pstdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# With fewer differences, every way to turn their signs is tried; with more, a sample of the ways.
_EXACT_BELOW = 2**14
_PERMUTATIONS = 10_000
_RESAMPLES = 2_000

# The level of a test, and how often a real difference is to be detected.
_LEVEL = 0.05
_POWER = 0.8

ENOUGH = 6
"""Questions that must be scored differently: of five that all speak for one side, chance alone brings as many in 1 of 16."""

# Of so many that are expected, at least `ENOUGH` come in four of five samples.
_EXPECTED = 8

# The smallest difference for which the needed number of questions is reported.
_LEAST = 0.005


def bootstrap_interval(values: Sequence[float], *, resamples: int = _RESAMPLES) -> tuple[float, float]:
    """Return the 95% bootstrap interval of a mean, by percentiles; the same for the same numbers.

    Args:
        values: One number for each question: scores, or the differences of two on the same question, which makes it paired.
        resamples: How many resamples are drawn. Default: 2,000.

    Raises:
        ValueError: There are no values.

    Example:
        ```python
        from langchain_moa.evaluation.significance import bootstrap_interval

        mixture, member = [1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0]
        low, high = bootstrap_interval([ours - theirs for ours, theirs in zip(mixture, member)])
        ```
    """
    import numpy as np
    from scipy import stats

    if not values:
        msg = "values: give at least one value"
        raise ValueError(msg)
    if min(values) == max(values):
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        n_resamples=resamples,
        batch=200,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def p_value(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the paired sign-flip permutation test: is the mean difference 0?

    For scores of 0 and 1 it is the exact test of McNemar, a sign test over the questions on which the two differ.

    Args:
        differences: One for each question; those of 0 say nothing, and are left out.

    Example:
        ```python
        from langchain_moa.evaluation.significance import p_value

        mixture, member = [1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0]
        print(p_value([ours - theirs for ours, theirs in zip(mixture, member)]))  # 0.5: two questions show nothing
        ```
    """
    import numpy as np
    from scipy import stats

    found = [each for each in differences if each]
    if not found:
        return 1.0
    if len({abs(each) for each in found}) == 1:
        return float(stats.binomtest(sum(each > 0 for each in found), len(found)).pvalue)
    test = stats.permutation_test(
        (np.asarray(found, dtype=float),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_EXACT_BELOW if 2 ** len(found) <= _EXACT_BELOW else _PERMUTATIONS,
        batch=500,
        rng=np.random.default_rng(0),
    )
    return float(min(1.0, test.pvalue))


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How much more one variant scores than another, question by question.

    Attributes:
        mean: The mean difference.
        low: The lower end of its 95% interval, by a bootstrap over the questions.
        high: The upper end.
        p: The p-value of an exact or permutation test.
        differing: On how many questions they score differently.
        questions: Of how many.
        needed: How many questions would show a difference of this size in four of five tries; `None` where the difference is
            too small to tell.
    """

    mean: float
    low: float
    high: float
    p: float
    differing: int
    questions: int
    needed: int | None

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> PairedDifference:
        """Compare scores.

        Args:
            ours: The scores of one variant, by question.
            theirs: Those of the other, for the same questions.
        """
        each = [float(one) - float(other) for one, other in zip(ours, theirs, strict=True)]
        low, high = bootstrap_interval(each)
        differing = sum(value != 0 for value in each)
        return cls(
            mean=fmean(each),
            low=low,
            high=high,
            p=p_value(each),
            differing=differing,
            questions=len(each),
            needed=questions_needed(each),
        )

    @property
    def is_more_than_noise(self) -> bool:
        """Whether the interval leaves 0 out and the test agrees: with few questions, the interval alone is too sure."""
        return self.differing >= ENOUGH and (self.low > 0 or self.high < 0) and self.p < _LEVEL


def questions_needed(differences: Sequence[float]) -> int | None:
    """Return how many questions would show such a difference in four of five tries; `None` if it is below half a point.

    Args:
        differences: One for each question.
    """
    mean = abs(fmean(differences))
    if mean < _LEAST:
        return None
    deviations = NormalDist().inv_cdf(1 - _LEVEL / 2) + NormalDist().inv_cdf(_POWER)
    by_size = (deviations * pstdev(differences) / mean) ** 2
    return math.ceil(max(by_size, _EXPECTED * len(differences) / sum(value != 0 for value in differences)))
