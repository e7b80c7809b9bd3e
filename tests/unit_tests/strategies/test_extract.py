"""Short answers: boxes, the `auto` extractor, and counting."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.strategies.extract import EXTRACTORS, auto, boxed, extractor, said, tally


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"thus \boxed{\frac{1}{2}} it is", "0.5"),
        (r"\boxed{\left(\dfrac{1}{2}\right)}", "0.5"),
        (r"\boxed{1} or rather \boxed{ 2 }", "2"),
        (r"first \boxed{3} then \boxed{5", "3"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed 5", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{1,000.0}", "1000"),
        (r"\boxed{1{,}234}", "1234"),
        (r"\boxed{1,2}", "1,2"),
        (r"\boxed{(1, 2)}", "(1,2)"),
        (r"\boxed{\$18}", "18"),
        (r"\boxed{18 \text{ eggs}}", "18"),
        (r"\boxed{18\ \text{cm}^2}", "18"),
        (r"\boxed{\text{18 eggs}}", "18"),
        (r"\boxed{90^\circ}", "90"),
        (r"\boxed{50\%}", "50%"),
        (r"\boxed{x=5}", "5"),
        (r"\boxed{5.}", "5"),
        (r"\boxed{10:30}", "10:30"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\textbf{(C)}}", "C"),
        (r"\boxed{(b)}", "B"),
        (r"\boxed{C. Paris}", "C"),
        (r"\boxed{b}", "b"),
        (r"\boxed{x + \, 1}", "x+1"),
        (r"\boxed{\dfrac{\pi}{2}}", r"\frac{\pi}{2}"),
        (r"\boxed{3\sqrt{2}}", r"3\sqrt{2}"),
        (r"\boxed{\sqrt{2}}", r"\sqrt{2}"),
        (r"\boxed{2\pi}", r"2\pi"),
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
    assert auto("A) 5\nB) 6\nThe answer is 6") == "6"
    assert auto("who knows") is None


LISTS = (
    "To sleep better:\n1. Avoid coffee.\n2. Keep a schedule.\n3. Darken the room.",
    "You should not sleep at all:\n1. Drink cola.\n2. Watch films.\n3. Dance.",
    "Answer:\n\n1. **Buy** a mattress\n2. Exercise\n3. See a doctor",
)


@pytest.mark.parametrize(
    "text", [*LISTS, "There are 3 ways to see this, all of them wrong.", "1. Buy a mattress", "A: it rains"]
)
def test_what_merely_holds_a_number_or_a_label_says_nothing(text: str) -> None:
    assert said(text) is None


@pytest.mark.parametrize(("text", "found"), [("7", "7"), ("It is 7.", "7"), ("(b)", "B"), (r"\boxed{7}", "7"), ("A: 7", "7")])
def test_what_is_said_boxed_or_alone_counts(text: str, found: str) -> None:
    assert said(text) == auto(text) == found


def test_only_auto_takes_the_last_number_of_a_text() -> None:
    text = "Each of the 3 hens lays 2 eggs a day, and so she comes to 42 in the week"
    assert (auto(text), said(text)) == ("42", None)


@given(st.text() | st.text(alphabet="answer iABb(). :\\{}$0123,/^-\n\u00bd\u2212*"))
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
    assert tally(["yes it is", "no", "yes", " empty"], first_word) == [("yes", [0, 2]), ("no", [1])]


def test_an_own_extractor_that_returns_no_text_is_an_error() -> None:
    def number_of_words(text: str) -> Any:
        return len(text.split())

    with pytest.raises(TypeError, match="extract returned int; return a string, or None if there is no answer"):
        tally(["one", "two"], number_of_words)
