"""Which number a text gives as its answer, and how it is normalized."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from langchain_moa.strategies.extract import boxed, number
from langchain_moa.strategies.extract.numbers import lone_number, said_number

if TYPE_CHECKING:
    from decimal import Decimal

NUMERALS = {
    "signs and currencies": [
        ("-5", "-5"),
        ("\u22127", "-7"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("-\\$5", "-5"),
        ("$ 5.00", "5"),
        ("€5", "5"),
        ("5€", "5"),
        ("£1,234.50", "1234.5"),
        ("-0.0", "0"),
    ],
    "thousands": [
        ("1,800.0", "1800"),
        ("1,234,567", "1234567"),
        ("1.234.567", "1234567"),
        ("1'234'567.5", "1234567.5"),
        ("10 000", "10000"),
        ("1\u00a0234", "1234"),
        ("1\u202f234,5", "1234.5"),
        ("1\\,234", "1234"),
        ("1{,}234", "1234"),
    ],
    "decimals": [
        ("2.50", "2.5"),
        (".5", "0.5"),
        ("3,5", "3.5"),
        ("3,14", "3.14"),
        ("0,125", "0.125"),
        ("1234,567", "1234.567"),
        ("1.234,50", "1234.5"),
        ("1.234", "1.234"),
        ("1,234", "1234"),
        ("3{,}5", "3.5"),
        ("00012", "12"),
        ("100000000000000000000000000001", "100000000000000000000000000001"),
    ],
    "powers of ten": [
        ("1e5", "100000"),
        ("1.5E-3", "0.0015"),
        ("1.2 x 10^3", "1200"),
        ("1.2 × 10^{3}", "1200"),  # noqa: RUF001  # that very sign
        ("1.2 \\times 10^{-1}", "0.12"),
        ("6·10²", "600"),
        ("10^6", "1000000"),
        ("5 million", "5000000"),
    ],
    "fractions": [
        ("1/2", "0.5"),
        ("3/4", "0.75"),
        ("1/3", "1/3"),
        ("2/6", "1/3"),
        ("-1/3", "-1/3"),
        ("2 1/2", "2.5"),
        ("\\frac{1}{3}", "1/3"),
        ("\\dfrac{2}{6}", "1/3"),
        ("\\tfrac12", "0.5"),
        ("2\\frac{1}{2}", "2.5"),
        ("½", "0.5"),
        ("2½", "2.5"),
    ],
    "percentages": [("50%", "50%"), ("50 %", "50%"), ("50\\%", "50%"), ("50 percent", "50%"), ("12.50 per cent", "12.5%")],
    "other scripts": [("\u0663", "3"), ("\uff11\uff18", "18")],
    "other things of digits": [
        ("2024-01-05", "2024-01-05"),
        ("10:35", "10:35"),
        ("09:05", "9:05"),
        ("9:05 am", "9:05am"),
        ("9:05 p.m.", "9:05pm"),
        ("3:2", "3:2"),
        ("3-5", "3-5"),
        ("1,2,3", "1,2,3"),
        ("1,23,456", "1,23,456"),
        ("1.2.3", "1.2.3"),
        ("1/0", "1/0"),
        ("2^10", "2^10"),
        ("5\\pi", "5\\pi"),
        ("1e999999999", "1e999999999"),
    ],
}
CASES = [pytest.param(*case, id=f"{kind}: {case[0]}") for kind, cases in NUMERALS.items() for case in cases]


@pytest.mark.parametrize(("written", "found"), CASES)
@pytest.mark.parametrize("said", ["The answer is {}.", "Answer: {}", "**Answer:**\n\n{}", "#### {}", "A: {}", "{}", "so {}"])
def test_a_number_is_read_in_one_form(written: str, found: str, said: str) -> None:
    assert number(said.format(written)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A: 18\nThat took 3 steps.", "18"),
        ("A: 18\nB: 20", "18"),
        ("The answer is 7 apples, as all 2 of us saw.", "7"),
        ("The final answer is **$42.00**.", "42"),
        ("**Answer**: 42. There are 3 left", "42"),
        ("## Answer\n42\n\n## Check\n6 * 7", "42"),
        ("the answer: 3, no, the answer: 4", "4"),
        ("The answer is about 12 apples from 4 trees", "12"),
        ("The answer is therefore 18. (See step 2)", "18"),
        ("The answer is that she makes $18.", "18"),
        ("The answer is x = 5. Check: 2", "5"),
        ("Answer: 18 eggs.\n\nI used 3 steps.", "18"),
        ("The answer is 18, not 20.", "18"),
        ("The answer isn't 20 but 18", "18"),
        ("The answer is not 20 but 18", "18"),
        ("answer = 18 from 3", "18"),
        ("My answer: 18.\nConfidence: 90%", "18"),
        ("The answer is 3 × 4 = 12, so 1 dozen", "12"),  # noqa: RUF001  # that very sign
        ("The answer is 18 = 2 * 9", "18"),
        ("The answer is $\\boxed{42}$", "42"),
        ("The answer is \\(18\\)", "18"),
        ("The answer is 10:35, 5 minutes late", "10:35"),
    ],
)
def test_what_is_said_to_be_the_answer_counts(text: str, found: str) -> None:
    assert said_number(text) == number(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so 5-3=2", "2"),
        ("To answer 3 of them takes 5 minutes", "5"),
        ("A wrong answer is 20. So take all 18.", "18"),
        ("The answer is not 20, I think. We have 3 and 4, so 7", "7"),
        ("Answer: She has 3 cats and 4 dogs, so 7 pets.", "7"),
        ("Answer: Janet has 3 ducks.\nThey lay 6 eggs each, so there are 18 of them.", "18"),
        ("**Answer:**\n\n1. **Use a board.** It protects.\n2. Cut slowly.", "2"),
        ("It left at 10:35, took 25 minutes, and came in at 11:00 on 2024-01-05", "25"),
        ("The pages 3-5 of the 12 that there are", "12"),
        ("In 1998 we had 2, 3 and 5,7 of them in all the years", "5.7"),
        ("5^2 is less than 26 but more than 2^3", "26"),
        ("page A4, step3, v1.2.3 and x^2", None),
        ("from 10:35 to 11:05 on the fifth of May in all of the years", None),
        ("none at all", None),
        ("", None),
    ],
)
def test_else_the_last_number_counts(text: str, found: str | None) -> None:
    assert said_number(text) is None
    assert number(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 42.", "42"),
        ("so 42.0", "42"),
        ("He has -3.50 dollars.", "-3.5"),
        ("6 * 7 = 42", "42"),
        ("11:05", "11:05"),
        ("1. Buy a mattress", None),
        ("3 or 4", None),
        ("There are three things to think of, and 3 to do.", None),
        ("Buy 3.\nThen go.", None),
    ],
)
def test_the_only_number_of_a_short_reply(text: str, found: str | None) -> None:
    assert lone_number(text) == found


def written(value: Decimal) -> dict[str, str]:
    """A number in all supported notations."""
    grouped = f"{value:,}"
    swapped = grouped.translate({ord(","): ".", ord("."): ","})
    ways = {
        "plain": f"{value}",
        "commas": grouped,
        "apostrophes": grouped.replace(",", "'"),
        "spaces": grouped.replace(",", " "),
        "thin spaces": grouped.replace(",", "\u2009"),
        "no-break spaces": grouped.replace(",", "\u00a0"),
        "LaTeX": grouped.replace(",", "{,}"),
        "money": f"${value}",
        "a minus before money": f"-${-value}" if value < 0 else f"${value}",
        "a minus sign": f"{value}".replace("-", "\u2212"),
        "powers": f"{value:e}",
        "a fraction": "{}/{}".format(*Fraction(value).as_integer_ratio()),
        "a LaTeX fraction": "\\frac{{{}}}{{{}}}".format(*Fraction(value).as_integer_ratio()),
    }
    # A single comma before three digits separates thousands, a single point does not.
    if swapped.count(",") == 1 and (swapped.count(".") or len(swapped.partition(",")[2]) != 3):
        ways["the other way round"] = swapped
    return ways


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9)
SAID = st.sampled_from(["The answer is {}.", "**Answer:** {}", "#### {}", "{}", "So she has {} in all.", "= {}\n"])


@given(NUMBERS, SAID, st.data())
def test_equal_numbers_are_equal_texts_however_they_are_written(value: Decimal, said: str, data: st.DataObject) -> None:
    way = data.draw(st.sampled_from(sorted(written(value))))
    plain = number(f"{value}")
    assert plain is not None
    assert Fraction(plain) == Fraction(value)
    assert number(said.format(written(value)[way])) == plain


@given(NUMBERS, st.data())
def test_a_box_holds_the_same_number(value: Decimal, data: st.DataObject) -> None:
    way = data.draw(st.sampled_from(sorted(written(value).keys() - {"the other way round"})))
    assert boxed(f"so \\boxed{{{written(value)[way]}}}") == number(f"{value}")


@given(NUMBERS, NUMBERS)
def test_different_numbers_are_different_texts(one: Decimal, other: Decimal) -> None:
    assume(one != other)
    assert number(f"{one}") != number(f"{other}")


@given(NUMBERS)
def test_a_percentage_is_another_answer(value: Decimal) -> None:
    plain = number(f"The answer is {value}")
    assert number(f"The answer is {value}%") == number(f"{value} percent") == f"{plain}%"


@given(st.integers(-999, 999), st.integers(1, 999))
def test_a_fraction_is_exact(numerator: int, denominator: int) -> None:
    found = number(f"The answer is {numerator}/{denominator}.")
    assert found is not None
    assert Fraction(found) == Fraction(numerator, denominator)
    assert found == number(f"{Fraction(numerator, denominator)}") == boxed(rf"\boxed{{\dfrac{{{numerator}}}{{{denominator}}}}}")
