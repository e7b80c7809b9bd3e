"""Statistics: bootstrap intervals, paired permutation tests, and the number of questions needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, fmean, pstdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Up to so many permutations, the test is exact; otherwise permutations are sampled.
_EXACT_BELOW = 2**14
_PERMUTATIONS = 10_000
_RESAMPLES = 2_000

# The significance level and the power of tests.
_LEVEL = 0.05
_POWER = 0.8

ENOUGH = 6
"""The minimum number of questions with different scores: five that all favour one side occur by chance in 1 of 16."""

# If so many questions with different scores are expected, four of five samples have at least `ENOUGH`.
_EXPECTED = 8

# The smallest difference for which the needed number of questions is reported.
_LEAST = 0.005


def bootstrap_interval(values: Sequence[float], *, resamples: int = _RESAMPLES) -> tuple[float, float]:
    """Return the 95% bootstrap interval of a mean, by percentiles. The result is deterministic.

    Args:
        values: One number per question: scores, or for a paired interval the differences of scores.
        resamples: The number of resamples. Default: 2,000.

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
    """Return the two-sided p-value of the paired sign-flip permutation test of a mean difference of 0.

    For scores of 0 and 1, this is McNemar's exact test, a sign test over the questions with different scores.

    Args:
        differences: One per question. Differences of 0 are ignored.

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
    """The paired difference of the scores of two variants.

    Attributes:
        mean: The mean difference.
        low: The lower end of its 95% bootstrap interval.
        high: The upper end of the interval.
        p: The p-value; see `p_value`.
        differing: The number of questions with different scores.
        questions: The number of questions.
        needed: The number of questions needed to detect a difference of this size with a power of 80%, or `None` if it is too
            small.
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
        """Compute the difference.

        Args:
            ours: The scores of one variant, by question.
            theirs: The scores of the other, for the same questions.
        """
        # Rounded, because in floating point 1 - 2/3 is not the opposite of 1/3 - 2/3.
        each = [round(float(one) - float(other), 12) for one, other in zip(ours, theirs, strict=True)]
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
        """Whether interval and test show a difference. For few questions, the interval alone is too narrow."""
        return self.differing >= ENOUGH and (self.low > 0 or self.high < 0) and self.p < _LEVEL


def questions_needed(differences: Sequence[float]) -> int | None:
    """Return the number of questions needed for a power of 80%, or `None` if the mean is below half a point.

    Args:
        differences: One per question.
    """
    mean = abs(fmean(differences))
    if mean < _LEAST:
        return None
    deviations = NormalDist().inv_cdf(1 - _LEVEL / 2) + NormalDist().inv_cdf(_POWER)
    by_size = (deviations * pstdev(differences) / mean) ** 2
    return math.ceil(max(by_size, _EXPECTED * len(differences) / sum(value != 0 for value in differences)))
