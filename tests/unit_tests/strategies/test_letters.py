"""Which option a text gives as its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.strategies.extract import letter


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B", "B"),
        ("b", "B"),
        (" (c).", "C"),
        ("(C)", "C"),
        ("**D**", "D"),
        ("Option C.", "C"),
        ("B) Paris", "B"),
        ("(b) Paris", "B"),
        ("B. Paris", "B"),
        ("B: Paris", "B"),
        ("A: Paris", "A"),
        ("B) Paris\n\nIt is the capital.", "B"),
        ("The answer is (B).", "B"),
        ("The answer is (b)", "B"),
        ("Answer: B", "B"),
        ("answer: b", "B"),
        ("Answer (C)", "C"),
        ("Answer\nC", "C"),
        ("The answer is:\n\n**C) Paris**", "C"),
        ("Correct answer: `C`", "C"),
        ('The answer is "C"', "C"),
        ("answer: [C]", "C"),
        ("The answer is <C>", "C"),
        ("Answer is $\\boxed{C}$", "C"),
        ("Therefore, the answer is option (C).", "C"),
        ("The right choice: (D) 12", "D"),
        ("A good answer is C because D is wrong", "C"),
        ("The best choice is A because B is wrong", "A"),
        ("The answer is A because it is", "A"),
        ("The answer is A. A dog", "A"),
        ("I think option C is right", "C"),
        ("C is correct.", "C"),
        ("Answer: A is correct", "A"),
        ("I choose C", "C"),
        ("I'd go with (B)", "B"),
        ("So it must be C.", "C"),
    ],
)
def test_what_is_said_to_be_the_answer(text: str, found: str) -> None:
    assert letter(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("First answer: A. No, the answer is D", "D"),
        ("Option A is wrong; option B is wrong; the answer must be C", "C"),
        ("My answer is C, though option B is also plausible", "C"),
        ("A) is wrong. B) is right.", "B"),
        ("Option A is wrong. Therefore B.", "B"),
        ("The answer cannot be option A, so B", "B"),
        ("The answer is not A but B", "B"),
        ("The answer is not A.", None),
        ("The wrong answer is A.", None),
        ("I would not choose A.", None),
        ("A) is wrong.", None),
        ("The answers are A and B", None),
        ("The answer is A and B", None),
        ("The answer is A, B or C", None),
        ("A: it rains. B: it does not.", None),
        ("A) 5\nB) 6\nThe answer is 6", None),
        ("Option B: 12\nSo we get 12", None),
    ],
)
def test_the_last_one_counts_that_is_not_denied(text: str, found: str | None) -> None:
    assert letter(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "The answer is A man",
        "The answer is A 5-mile walk",
        "Answer: A total of 18 eggs",
        "The answer is I think 5",
        "The answer is I'm not sure",
        "Answer: It's 4",
        "The answer is Both",
        "The answer is E=mc^2",
        "The correct answer is B^T A^T.",
        "The answer is D's",
        "Answer: C++",
        "The answer is K",
        "Vitamin C is the answer: 90 mg",
        "A man bought 3 apples",
        "A: 18",
        "I. Introduction\n- Explain the purpose",
        "choice B2",
        "Zebra",
        "",
    ],
)
def test_a_capital_is_not_always_an_option(text: str) -> None:
    assert letter(text) is None


SAID = [
    *(
        "{0}",
        "({0})",
        "**{0}**",
        "({1})",
        "{0}) Paris",
        "({1}) Paris",
        "{0}. Paris",
        "The answer is {0}.",
        "The answer is ({1}).",
    ),
    *("Answer: {0}", "The correct option is **{0}**.", "I choose {0}.", "It must be {0}.", "Option {0} is right."),
    *("Therefore, {0}.", "Let me see.\n\nThe answer is {0}\n\nBecause of this."),
]


@given(st.sampled_from("ABCDEFGH"), st.sampled_from("ABCDEFGH"), st.sampled_from(SAID))
def test_any_option_in_any_way_and_mentions_change_nothing(option: str, other: str, said: str) -> None:
    text = said.format(option, option.lower())
    assert letter(text) == option
    assert letter(f"It could be option {other}.\n{text}") in {option, None}
    assert letter(f"{text}\nMany would say that option {other} is wrong.") == option
