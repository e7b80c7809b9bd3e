"""`select` and `consistent`: the same engine with two questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import Proposer
from langchain_moa.aggregation.consistent import Consistent
from langchain_moa.aggregation.select import Select
from tests.inquiries import QUESTION, Conducted, fails, label_of, references

if TYPE_CHECKING:
    from langchain_moa.data.answer import Answer

TEXTS = ("the sky is red", "the sky is blue", "the blue sky is high")
MEDOID = TEXTS[1]


def conduct(strategy: Any, *answers: str | Answer) -> Conducted:
    return Conducted(strategy(QUESTION, references(*TEXTS)), *answers)


@pytest.mark.parametrize("strategy", [Select(), Consistent()])
@pytest.mark.parametrize("text", TEXTS)
def test_what_the_model_names_is_the_answer_unchanged(strategy: Any, text: str) -> None:
    asked = Conducted(strategy(QUESTION, references(*TEXTS)), "[[A]]").sent()
    done = conduct(strategy, f"Let me see. [[{label_of(asked, text)}]]")
    assert done.result.reference["text"] == text
    assert done.result.why == {}
    assert len(done.asked) == 1


def test_a_reply_that_names_none_or_two_is_asked_for_once_more() -> None:
    label = label_of(conduct(Select(), "[[A]]").sent(), TEXTS[2])
    for bad in ("the first", "[[A]] or [[B]]", "[[Z]]"):
        done = conduct(Select(), bad, f"[[{label}]]")
        assert done.result.reference["text"] == TEXTS[2]
        assert done.messages(1)[-2].text == bad
        assert done.sent(1) == (
            "That could not be read. Reply again, with nothing but one label of A, B, C in double brackets, like [[A]]."
        )


@pytest.mark.parametrize(
    ("answers", "because"),
    [
        (("?", "??"), "ranker's reply could not be read"),
        ((fails(),), "ranker failed: RateLimitError"),
        (("?", fails("Timeout")), "ranker failed: Timeout"),
    ],
)
def test_then_the_medoid_is_the_answer_and_says_why(answers: tuple[str | Answer, ...], because: str) -> None:
    choice = conduct(Select(), *answers).result
    assert choice.reference["text"] == MEDOID
    assert (choice.why["fallback"], choice.why["because"]) == ("medoid", because)


def test_one_reference_is_the_answer_without_a_question() -> None:
    assert Conducted(Select()(QUESTION, references("alone"))).result.reference["text"] == "alone"


def test_whom_it_asks_and_what_it_says() -> None:
    judge = Proposer("openai:gpt-4.1")
    done = conduct(Select(model=judge, instruction="Take the shortest."), "[[A]]")
    assert done.asked[0].model is judge
    assert done.messages()[0].text == "Take the shortest."
    assert conduct(Select(), "[[A]]").asked[0].model is None
    assert conduct(Consistent(instruction="Count."), "[[A]]").messages()[0].text == "Count."
    assert "most consistent response based on majority consensus" in conduct(Consistent(), "[[A]]").messages()[0].text


def test_a_seed_draws_another_order() -> None:
    assert len({conduct(Select(seed=seed), "[[A]]").sent() for seed in range(20)}) > 1
    assert conduct(Select(seed=1), "[[A]]").sent() == conduct(Select(seed=1), "[[A]]").sent()
