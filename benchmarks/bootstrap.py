"""The bootstrap: how sure a difference is."""

from __future__ import annotations

import random
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def interval(differences: Sequence[float], *, rounds: int = 2000) -> tuple[float, float]:
    """Return the 95% interval of a mean of paired differences; the same for the same numbers."""
    draw = random.Random(0)  # noqa: S311  # a sample, not a secret
    means = sorted(fmean(draw.choices(differences, k=len(differences))) for _ in range(rounds))
    return means[int(0.025 * rounds)], means[int(0.975 * rounds)]
