"""The bootstrap: how sure a mean, or a difference of two, is."""

from __future__ import annotations

import random
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def interval(values: Sequence[float], *, rounds: int = 2000) -> tuple[float, float]:
    """Return the 95% interval of a mean; the same for the same numbers.

    Args:
        values: One number for each question: scores, or the differences of two on the same question, which makes it paired.
        rounds: How many samples are drawn.

    Raises:
        ValueError: There are no values.

    Example:
        ```python
        from langchain_moa.evaluation.bootstrap import interval

        mixture, member = [1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0]
        low, high = interval([ours - theirs for ours, theirs in zip(mixture, member)])
        ```
    """
    if not values:
        msg = "values: there are none; an interval needs at least one"
        raise ValueError(msg)
    draw = random.Random(0)  # noqa: S311  # a sample, not a secret
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(rounds))
    return means[int(0.025 * rounds)], means[int(0.975 * rounds)]
