"""Support: which references a sentence of the answer comes from, and whose the answer is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_moa.runs.difference import difference
from langchain_moa.runs.sentences import sentences_of
from langchain_moa.runs.support import read_by_aggregator, support_of
from tests.recorded_runs import a_call, a_run


def test_each_sentence_counts_for_the_reference_that_is_most_like_it() -> None:
    run = a_run(
        a_call("Bees make honey from nectar. They fly.", proposer=1),
        a_call("The sky is blue because of the air.", proposer=2),
        a_call("x", layer=None),
        answer="Bees make honey from nectar. The sky is blue because of air. Quite another thing entirely.",
    )
    support = support_of(run)
    assert support is not None
    assert [sentence.best for sentence in support.sentences] == [(0,), (1,), ()]
    assert [sentence.supporters for sentence in support.sentences] == [[0], [1], []]
    # 5, 7 and 4 words.
    assert support.shares == pytest.approx((5 / 16, 7 / 16))
    assert support.own == pytest.approx(4 / 16)


def test_references_that_say_the_same_share() -> None:
    run = a_run(a_call("Bees make honey."), a_call("Bees make honey!", proposer=2), a_call("", layer=None))
    support = support_of(run)
    assert support is not None
    assert support.shares == (0.5, 0.5)
    assert support.likeness == (1.0, 1.0)


def test_only_what_the_writer_has_read_counts() -> None:
    first = a_call("Bees make honey.", layer=1)
    left_out = a_call("Bees make honey.", layer=2, kept=False)
    read = a_call("Wax.", layer=2, proposer=2, kept=True)
    failed = a_call("", layer=2, proposer=3, status="failed")
    assert read_by_aggregator(a_run(first, left_out, read, failed)) == [read]
    # A layer that has nothing good was answered from the one before it.
    assert read_by_aggregator(a_run(first, failed)) == [first]
    assert support_of(a_run(failed)) is None
    assert support_of(a_run(first, answer=None)) is None


def test_sentences_have_no_marks_of_lists_and_headings() -> None:
    text = "# Why?\n\n- It is so. And so!\n2. Two\n\n---\n> A quote\n**Bold** \u4e00\u3002\u4e8c\u3002\n\n***"
    assert sentences_of(text) == ["Why?", "It is so.", "And so!", "Two", "A quote", "Bold \u4e00\u3002", "\u4e8c\u3002"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It costs $3.50, i.e. little. See Fig. 3.", ["It costs $3.50, i.e. little.", "See Fig. 3."]),
        ("Dr. Smith lives in the U.S. The law is old.", ["Dr. Smith lives in the U.S.", "The law is old."]),
        ("U.S. law, e.g. this, etc. is old. So.", ["U.S. law, e.g. this, etc. is old.", "So."]),
        ("George W. Bush and J. K. Rowling came. It is so.", ["George W. Bush and J. K. Rowling came.", "It is so."]),
        ("The answer is B. Because.", ["The answer is B.", "Because."]),
        ('"Stop!" she said. Really?! Yes... maybe.', ['"Stop!" she said.', "Really?!", "Yes... maybe."]),
        ("**It is. It** `is`.", ["It is.", "It is."]),
        ("One line\nand another", ["One line", "and another"]),
        ("| a | b |\n|---|---|\n| c. D | e |\n|  | f |", ["a | b", "c. D | e", "f"]),
        ("See:\n\n```python\nx = 1. So it is.\n```\n\n    y = 2\n\nDone.", ["See:", "Done."]),
        ("See [the page](https://a.example).", ["See the page."]),
    ],
)
def test_sentences_end_where_they_end(text: str, sentences: list[str]) -> None:
    assert sentences_of(text) == sentences


@settings(deadline=None)
@given(st.text("ab .\n", max_size=60), st.text("ab .\n", max_size=60))
def test_shares_add_up(reference: str, answer: str) -> None:
    support = support_of(a_run(a_call(reference), answer=answer))
    if support is not None and support.sentences:
        assert sum(support.shares) + support.own == pytest.approx(1)


@settings(deadline=None)
@given(st.text("ab \n", max_size=60), st.text("ab \n", max_size=60))
def test_a_difference_has_every_word_of_both_texts(reference: str, answer: str) -> None:
    pieces = difference(reference, answer)
    old = "".join(f" {piece.text} " for piece in pieces if piece.kind != "new")
    new = "".join(f" {piece.text} " for piece in pieces if piece.kind != "gone")
    assert old.split() == reference.split()
    assert new.split() == answer.split()


def test_a_difference_marks_words() -> None:
    pieces = difference("Bees make honey.", "All bees make honey and wax.")
    assert [(kind, text) for kind, text in pieces if text.strip()] == [
        ("gone", "Bees"),
        ("new", "All bees"),
        ("same", "make "),
        ("gone", "honey."),
        ("new", "honey and wax."),
    ]


def test_a_difference_says_what_it_does_not_compare() -> None:
    lines = "\n".join(f"line {number}" for number in range(2_001))
    *_, note = difference(lines, lines)
    assert note == ("note", "Only the first 2,000 lines of each are compared.")
    assert [piece.kind for piece in difference(lines[:-10], lines[:-10])] == ["same"]
