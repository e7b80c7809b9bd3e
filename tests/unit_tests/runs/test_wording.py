"""Wording: which sentences of the answer resemble a reference, and which decisive words differ."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_moa.runs.page import LONGEST
from langchain_moa.runs.sentences import sentences_of
from langchain_moa.runs.wording import Wording, bleu, decisive_differences, difference, wording_of
from tests.recorded_runs import a_call, a_run


def _compared(answer: str, *references: str) -> Wording:
    calls = [a_call(text, proposer=place) for place, text in enumerate(references, start=1)]
    wording = wording_of(a_run(*calls, a_call("x", layer=None), answer=answer))
    assert wording is not None
    return wording


def test_each_sentence_counts_for_the_reference_that_is_worded_most_like_it() -> None:
    wording = _compared(
        "Bees make honey from nectar. The sky is blue because of air. Quite another thing entirely.",
        "Bees make honey from nectar. They fly.",
        "The sky is blue because of the air.",
    )
    assert [sentence.best for sentence in wording.sentences] == [(0,), (1,), ()]
    assert [sentence.kind for sentence in wording.sentences] == ["similar", "similar", "own"]
    assert wording.sentences[1].matches[0].text == "The sky is blue because of the air."
    # 5, 7 and 4 words.
    assert wording.shares == pytest.approx((5 / 16, 7 / 16))
    assert wording.own == pytest.approx(4 / 16)


def test_references_that_say_the_same_share() -> None:
    wording = _compared("Bees make honey.", "Bees make honey.", "Bees make honey!")
    assert wording.shares == (0.5, 0.5)
    assert wording.bleu == pytest.approx((100, 100))


@pytest.mark.parametrize(
    ("reference", "answer", "kind"),
    [
        ("The vaccine does cause autism.", "The vaccine does not cause autism.", "negations: not in the answer"),
        ("It can't be repaired.", "It can be repaired.", "negations: n't in the reference"),
        ("500 mg", "20 mg", "numbers: 20 in the answer, 500 in the reference"),
        ("It costs $1,800.", "It costs $1,900.", "numbers: 1900 in the answer, 1800 in the reference"),
        (
            "Paris is the capital of France.",
            "Lyon is the capital of France.",
            "names: Lyon in the answer, Paris in the reference",
        ),
        ("It was written by Jane Austen.", "It was written by Mary Shelley.", "names: Mary Shelley in the answer"),
    ],
)
def test_a_decisive_difference_is_never_similar_wording(reference: str, answer: str, kind: str) -> None:
    wording = _compared(answer, reference)
    (sentence,) = wording.sentences
    assert sentence.kind == "differs"
    assert sentence.matches[0].differences[0].startswith(kind)
    assert (wording.similar, wording.differing, wording.own) == (0, 1, 0)


def test_two_doses_are_no_support_of_a_third_one() -> None:
    wording = _compared("The dose is 20 mg.", "The dose is 500 mg.", "The dose is 50 mg.")
    assert sum(wording.shares) == 0
    assert wording.differing == 1


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("It costs $1,800.00.", "It costs 1.8e3 $."),
        ("However, bees make honey.", "Bees also make honey."),
        ("It is never late.", "It is not late."),
        ("THE SKY IS BLUE.", "The sky is blue."),
    ],
)
def test_the_same_in_other_spelling_does_not_differ(answer: str, reference: str) -> None:
    assert decisive_differences(answer, reference) == ()


def test_a_match_without_a_decisive_difference_comes_first() -> None:
    wording = _compared("The dose is 20 mg a day.", "The dose is 50 mg a day.", "The usual dose is 20 mg a day for adults.")
    (sentence,) = wording.sentences
    assert sentence.best == (1,)
    assert [match.reference for match in sentence.matches] == [1, 0]


# What sacreBLEU 2 gives for the same words: BLEU(effective_order=True, smooth_method="exp").
@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        (
            "The sky is blue because of Rayleigh scattering.",
            "The sky looks blue because air scatters blue light.",
            13.784336590962209,
        ),
        ("Bees make honey.", "Bees make honey from nectar.", 51.341711903259224),
        ("Bees make honey.", "bees MAKE honey!", 100),
        ("Wax.", "Bees make honey.", 0),
        ("", "Bees make honey.", 0),
    ],
)
def test_bleu_is_that_of_sacrebleu(answer: str, reference: str, score: float) -> None:
    assert bleu(answer, reference) == pytest.approx(score)


def test_only_what_the_writer_has_read_counts() -> None:
    first = a_call("Bees make honey.", layer=1)
    left_out = a_call("Bees make honey.", layer=2, kept=False)
    read = a_call("Wax.", layer=2, proposer=2, kept=True)
    failed = a_call("", layer=2, proposer=3, status="failed")
    assert a_run(first, left_out, read, failed).references == [read]
    # After a layer without a good answer, the previous layer was used.
    assert a_run(first, failed).references == [first]
    assert wording_of(a_run(failed)) is None
    assert wording_of(a_run(first, answer=None)) is None


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
@given(st.text("ab 1N.\n", max_size=60), st.text("ab 1N.\n", max_size=60))
def test_shares_add_up(reference: str, answer: str) -> None:
    wording = wording_of(a_run(a_call(reference), answer=answer))
    if wording is not None and wording.sentences:
        assert wording.similar + wording.differing + wording.own == pytest.approx(1)


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_differences_are_the_same_seen_from_either_side(a: str, b: str) -> None:
    assert len(decisive_differences(a, b)) == len(decisive_differences(b, a))
    assert decisive_differences(a, a) == ()


# Each of these took, or could take, time that grows quadratically with its length.
@pytest.mark.parametrize("piece", ["e.g. ", '."', "U.S. ", "1 000 "])
def test_a_megabyte_of_one_piece_is_compared(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    wording = wording_of(a_run(a_call(text), answer=text))
    assert wording is None or len(wording.references) == 1
    # A sentence is never longer than the text that is parsed.
    assert decisive_differences(text[:LONGEST], text[:LONGEST]) == ()
    assert 0 <= bleu(text, text) <= 100.0001


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
