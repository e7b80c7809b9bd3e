"""The paired permutation test: how often chance alone would part two variants as far as they are."""

from __future__ import annotations

import math
import random
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Up to so many differences, every way to turn their signs is tried; of more, a sample of the ways.
_ALL = 14
_ROUNDS = 10_000

# Sums of the same numbers in another order are the same.
_TOLERANCE = 1e-9


def p_value(differences: Sequence[float]) -> float:
    """Return the two-sided probability of a mean as far from 0, were each difference as likely to have the other sign.

    For scores of 0 and 1 it is the exact test of McNemar, a sign test over the questions on which they differ.

    Args:
        differences: One for each question; those of 0 say nothing, and are left out.

    Example:
        ```python
        from langchain_moa.evaluation.permutation import p_value

        mixture, member = [1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0]
        print(p_value([ours - theirs for ours, theirs in zip(mixture, member)]))  # 0.5: two questions show nothing
        ```
    """
    found = [each for each in differences if each]
    if not found:
        return 1.0
    if len({abs(each) for each in found}) == 1:
        return _sign_test(sum(each > 0 for each in found), len(found))
    least = abs(math.fsum(found)) - _TOLERANCE
    if len(found) <= _ALL:
        sums = [math.fsum(sign * each for sign, each in zip(signs, found, strict=True)) for signs in _all_signs(len(found))]
        return sum(abs(each) >= least for each in sums) / len(sums)
    # The ways that were drawn and the one that was seen.
    return (1 + sum(abs(each) >= least for each in _sampled(found))) / (1 + _ROUNDS)


def _sign_test(wins: int, of: int) -> float:
    tail = sum(math.comb(of, each) for each in range(max(wins, of - wins), of + 1))
    return min(1.0, 2 * tail / (1 << of))


def _all_signs(count: int) -> product[tuple[int, ...]]:
    return product((1, -1), repeat=count)


def _sampled(found: Sequence[float]) -> list[float]:
    """Return the sums of the differences with signs at random, the same each time."""
    # The sums of eight differences for each byte of random signs: a thousand questions take no longer than a hundred.
    tables = [
        [math.fsum(sign * each for sign, each in zip(signs, part, strict=False)) for signs in _all_signs(8)]
        for part in (found[place : place + 8] for place in range(0, len(found), 8))
    ]
    draw = random.Random(0)  # noqa: S311  # a sample, not a secret
    return [sum(table[byte] for table, byte in zip(tables, draw.randbytes(len(tables)), strict=True)) for _ in range(_ROUNDS)]
