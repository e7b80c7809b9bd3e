from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from langchain_moa.aggregation.vote import Vote
from tests.inquiries import QUESTION, Conducted, references


def vote(*texts: str, **settings: Any) -> Any:
    return Conducted(Vote(**settings)(QUESTION, references(*texts))).result


def test_the_majority_wins_and_its_first_reference_is_the_answer() -> None:
    choice = vote("It is 41.", "The answer is 42", "so 42.0")
    assert choice.reference["text"] == "The answer is 42"
    assert choice.why == {"answer": "42", "votes": 2, "of": 3, "agreement": 0.6667}


def test_a_tie_goes_to_the_first_proposer_and_is_told() -> None:
    choice = vote("none", "7", "8", "8", "7")
    assert choice.reference["proposer"] == 2
    assert choice.why == {"answer": "7", "votes": 2, "of": 5, "agreement": 0.4, "tie": True}


def test_without_any_short_answer_the_medoid_is_the_answer() -> None:
    choice = vote("the sky is red", "the sky is blue", "the blue sky is high")
    assert choice.reference["text"] == "the sky is blue"
    assert choice.why["fallback"] == "medoid"
    assert choice.why["because"] == "no reference has an answer that can be counted"


def test_an_own_extractor() -> None:
    choice = vote("yes, 1", "no, 1", "no, 2", extract=lambda text: text.split(",")[0])
    assert choice.why["answer"] == "no"


@pytest.mark.parametrize("extract", ["numbers", 3, None, ["number"]])
def test_an_unknown_extractor_is_refused_with_those_that_are_known(extract: Any) -> None:
    with pytest.raises(ValueError, match=r"extract\n.*choose one of: auto, said, number, letter, boxed"):
        Vote(extract=extract)


@given(st.lists(st.sampled_from(["1", "2", "3", "none"]), min_size=1, max_size=8), st.randoms())
def test_a_clear_majority_wins_in_any_order(texts: list[str], random: Any) -> None:
    counts = Counter(text for text in texts if text != "none").most_common(2)
    assume(counts and (len(counts) == 1 or counts[0][1] > counts[1][1]))
    random.shuffle(texts)
    choice = vote(*texts)
    assert choice.why["answer"] == counts[0][0]
    assert choice.why["agreement"] == round(counts[0][1] / len(texts), 4)
    assert choice.reference["proposer"] == texts.index(counts[0][0]) + 1


@given(
    st.lists(st.sampled_from(["1", "2", "3", "none"]), min_size=1, max_size=7),
    st.sampled_from([None, ("p1", "p2", "p3"), ("p3", "p1"), ("p4",)]),
    st.randoms(),
)
def test_a_decided_vote_comes_out_the_same_whatever_follows(texts: list[str], trust: Any, random: Any) -> None:
    asked = references(*texts)
    rule = Vote(extract="number", trust=trust)
    whole = Conducted(rule(QUESTION, asked)).result
    random.shuffle(asked)
    for made in range(1, len(asked)):
        some = sorted(asked[:made], key=lambda each: each["proposer"])
        if rule.decided(asked[:made], len(asked) - made) is not None:
            assert Conducted(rule(QUESTION, some)).result.why["answer"] == whole.why["answer"]


def test_a_vote_whose_agreement_counts_is_not_decided_early() -> None:
    assert Vote().may_decide
    assert not Vote(threshold=0.6).may_decide


def test_by_trust_the_answer_is_that_of_the_most_trusted() -> None:
    choice = vote("It is 7", "7 it is", "8", trust=("p2",), extract="number")
    assert choice.reference["text"] == "7 it is"
    with pytest.raises(ValueError, match="undecided has no effect without a threshold"):
        Vote(undecided="aggregator")
