from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.strategies.extract import EXTRACTORS, auto, boxed, extractor, letter, number, tally


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so 5-3=2", "2"),
        ("He has -3.50 dollars.", "-3.5"),
        ("\u22127 degrees", "-7"),
        ("#### 1,800", "1800"),
        ("A: 18", "18"),
        ("A: 18\nThat took 3 steps.", "18"),
        ("The answer is 7 apples, as all 2 of us saw.", "7"),
        ("The final answer is **$42.00**.", "42"),
        ("Answer:\n\n12", "12"),
        ("the answer: 3, no, the answer: 4", "4"),
        ("To answer 3 of them takes 5 minutes", "5"),
        ("0.0", "0"),
        (".5", "0.5"),
        ("100000000000000000000000000001", "100000000000000000000000000001"),
        ("none at all", None),
        ("", None),
    ],
)
def test_number(text: str, found: str | None) -> None:
    assert number(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B", "B"),
        (" (c).", None),
        ("(C)", "C"),
        ("**D**", "D"),
        ("B) Paris", "B"),
        ("B. Paris", "B"),
        ("The answer is (B).", "B"),
        ("Answer: B", "B"),
        ("I think option C is right", "C"),
        ("First answer: A. No, the answer is D", "D"),
        ("The answer is A because it is", "A"),
        ("The answer is A man", None),
        ("Answer: It's 4", None),
        ("A man bought 3 apples", None),
        ("A: 18", None),
        ("Zebra", None),
    ],
)
def test_letter(text: str, found: str | None) -> None:
    assert letter(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"thus \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{1} or rather \boxed{ 2 }", "2"),
        (r"\boxed{1,000.0}", "1000"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{x + \, 1}", "x+1"),
        (r"\boxed{never closed", None),
        (r"\boxed{}", None),
        ("no box", None),
    ],
)
def test_boxed(text: str, found: str | None) -> None:
    assert boxed(text) == found


def test_auto_takes_the_box_before_the_letter_before_the_number() -> None:
    assert auto(r"Answer: B, \boxed{3}, 4") == "3"
    assert auto("Answer: B, 4") == "B"
    assert auto("A: 18") == "18"
    assert auto("who knows") is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_equal_numbers_are_equal_strings_however_they_are_written(value: object) -> None:
    plain = number(f"{value}")
    assert plain == number(f"It is {value:,}.") == number(f"The answer is ${value}") == boxed(rf"\boxed{{{value}}}")


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    for extract in EXTRACTORS.values():
        found = extract(text)
        assert found is None or found


@given(st.lists(st.sampled_from(["1", "2", "3", "none"])))
def test_tally_counts_every_text_that_has_an_answer(texts: list[str]) -> None:
    counted = tally(texts, "number")
    assert sorted(place for _, places in counted for place in places) == [
        place for place, text in enumerate(texts) if text != "none"
    ]
    assert all(texts[place] == answer for answer, places in counted for place in places)
    order = [(-len(places), places[0]) for _, places in counted]
    assert order == sorted(order)


def test_an_own_extractor() -> None:
    def first_word(text: str) -> str:
        return text.partition(" ")[0]

    assert extractor(first_word) is first_word
    assert tally(["yes it is", "no", "yes"], first_word) == [("yes", [0, 2]), ("no", [1])]
