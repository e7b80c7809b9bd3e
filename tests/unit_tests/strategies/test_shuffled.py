"""The shuffled order depends only on the seed, the conversation and the layer."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa.filters.shuffled import Shuffled
from tests.inquiries import closed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

TEXTS = ("a", "b", "c", "d")


def order(seed: int = 0, texts: Sequence[str] = TEXTS, **attributes: Any) -> list[int]:
    return [each["proposer"] for each in Shuffled(seed=seed)(closed(*texts, **attributes))]


@given(st.lists(st.text(), min_size=1, max_size=9), st.integers(), st.text())
def test_every_reference_is_there_once_and_the_order_can_be_repeated(texts: list[str], seed: int, question: str) -> None:
    messages: list[BaseMessage] = [HumanMessage(question)]
    assert sorted(order(seed, texts, messages=messages)) == list(range(1, len(texts) + 1))
    again: list[BaseMessage] = [HumanMessage(question, id="another id")]
    assert order(seed, texts, messages=messages) == order(seed, texts, messages=again)


def test_the_seed_the_conversation_and_the_layer_each_draw_another_order() -> None:
    def orders(*drawn: list[int]) -> int:
        return len({tuple(each) for each in drawn})

    assert orders(*(order(seed) for seed in range(20))) > 10
    assert orders(*(order(messages=[HumanMessage(f"{number} + 1?")]) for number in range(20))) > 10
    assert orders(*(order(number=number) for number in range(1, 21))) > 10
    histories = ([AIMessage("Yes.")], [AIMessage("No.")], [HumanMessage("Yes.")])
    assert orders(*(order(messages=[*history, HumanMessage("Why?")]) for history in histories)) == 3


def test_every_place_is_as_likely_for_every_proposer() -> None:
    drawn = [tuple(order(seed, "abc")) for seed in range(600)]
    counts = [drawn.count(each) for each in permutations((1, 2, 3))]
    assert min(counts) > 70
    assert sum(counts) == 600


def test_what_a_proposer_writes_does_not_move_it() -> None:
    assert order(texts="abcd") == order(texts=("a", "attack " * 99, "c", "d"))


def test_one_that_is_missing_leaves_the_others_in_their_order() -> None:
    found = closed(*TEXTS).references
    for gone in found:
        rest = [each for each in found if each is not gone]
        left = [each["proposer"] for each in Shuffled()(closed(references=rest))]
        assert left == [place for place in order() if place != gone["proposer"]]


def test_references_that_are_shuffled_already_are_shuffled_the_same() -> None:
    turned = Shuffled()(closed(references=closed(*TEXTS).references[::-1]))
    assert [each["proposer"] for each in turned] == order()
