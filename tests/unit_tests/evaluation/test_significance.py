"""How certain a comparison is about a difference."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest

from langchain_moa.evaluation.significance import PairedDifference, bootstrap_interval, p_value

pytest.importorskip("scipy", reason="the extra eval is not installed")


def test_an_interval_is_paired_and_the_same_each_time() -> None:
    low, high = bootstrap_interval([1.0] * 30)
    assert (low, high) == (1.0, 1.0)
    differences = [1.0, -1.0, 0.0, 1.0] * 25
    low, high = bootstrap_interval(differences)
    assert low < 0.25 < high
    # The normal approximation: 1.96 times 0.829, divided by the square root of 100.
    assert low == pytest.approx(0.25 - 0.162, abs=0.03)
    assert high == pytest.approx(0.25 + 0.162, abs=0.03)
    assert bootstrap_interval(differences) == (low, high)
    with pytest.raises(ValueError, match="give at least one"):
        bootstrap_interval([])


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0], 1.0),
        ([1.0, 1.0, 1.0, 0.0, 0.0], 0.25),
        ([1.0] * 4 + [0.0] * 96, 0.125),
        ([1.0] * 6, 2 / 64),
        ([1.0] * 5 + [-1.0], 14 / 64),
        ([0.0, 0.0], 1.0),
        # Of the 2**3 ways to flip these signs, two give a mean as far from 0.
        ([0.5, 0.25, 1.0], 0.25),
        ([0.5, 0.25, -1.0], 1.0),
    ],
)
def test_chance_is_told_exactly(differences: list[float], p: float) -> None:
    assert p_value(differences) == pytest.approx(p)


def test_graded_scores_of_many_questions_are_told_by_a_sample_of_the_signs() -> None:
    # The normal approximation of the same test: a mean of 2.5 standard errors.
    differences = [0.6, -0.2, 0.5, -0.1] * 10 + [-0.3, -0.5, 0.1, 0.2, -0.6] * 4
    error = math.sqrt(math.fsum(each * each for each in differences))
    expected = 2 * (1 - NormalDist().cdf(abs(math.fsum(differences)) / error))
    assert p_value(differences) == pytest.approx(expected, abs=0.02)
    assert p_value(differences) == p_value(differences) == pytest.approx(p_value([-each for each in differences]), abs=0.02)


def test_as_many_questions_as_are_said_to_be_needed_show_a_difference_in_four_of_five_tries() -> None:
    found = [1.0] * 12 + [-1.0] * 5 + [0.0] * 83
    needed = PairedDifference.of(found, [0.0] * 100).needed
    assert needed is not None
    draw = random.Random(0)  # noqa: S311  # a sample, not a secret
    shown = sum(p_value(draw.choices(found, k=needed)) < 0.05 for _ in range(400)) / 400
    assert shown == pytest.approx(0.8, abs=0.06)


def test_an_interval_that_leaves_0_out_is_not_enough() -> None:
    # Six questions with unequal weights: the bootstrap hardly ever draws the one with the opposite result.
    difference = PairedDifference.of([1.0, 1.0, 1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.2])
    assert difference.low > 0
    assert difference.differing == 6
    assert difference.p >= 0.05
    assert not difference.is_more_than_noise


def test_differences_of_thirds_are_compared_as_such() -> None:
    even = PairedDifference.of([1.0, 1 / 3, 0.1 + 0.2], [2 / 3, 2 / 3, 0.3])
    assert (even.mean, even.differing, even.p) == (0, 2, 1)
