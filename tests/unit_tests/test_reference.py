"""References: merged in the proposers' order, and only real answers count."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa.data.answer import read_answer
from langchain_moa.data.reference import merge_references, replace_merged


def reference(layer: int, proposer: int, text: str = "text", turn: str = "1") -> Any:
    whose = {"turn": turn, "layer": layer, "proposer": proposer, "name": "a", "model": "openai:a"}
    return {**whose, "text": text, "status": "ok"}


places = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12)), unique=True)


@given(places, st.randoms())
def test_the_order_is_that_of_layers_and_proposers_whatever_comes_first(found: list[tuple[int, int]], random: Any) -> None:
    random.shuffle(found)
    merged: list[Any] = []
    for layer, proposer in found:
        merged = merge_references(merged, [reference(layer, proposer)])
    assert [(each["layer"], each["proposer"]) for each in merged] == sorted(found)
    assert merge_references(merged, merged) == merged


def test_one_written_again_replaces_the_one_at_its_place() -> None:
    old = [reference(1, 1, "old"), reference(1, 2)]
    merged = merge_references(old, [reference(1, 1, "new")])
    assert [each["text"] for each in merged] == ["new", "text"]
    assert old[0]["text"] == "old"


def test_a_new_turn_forgets_the_old_one() -> None:
    merged = merge_references([reference(1, 1), reference(2, 1)], [reference(1, 2, turn="2")])
    assert merged == [reference(1, 2, turn="2")]
    assert merge_references([reference(1, 1)], []) == [reference(1, 1)]


def test_what_is_read_next_is_what_was_written_last() -> None:
    assert replace_merged([reference(1, 1), reference(1, 2)], [reference(1, 2)]) == [reference(1, 2)]
    assert replace_merged([reference(1, 1)], []) == []


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("text", "it must be a list of references, not str"),
        (None, "it must be a list of references, not NoneType"),
        (["plain"], "item 1 is not a reference (it lacks 'layer'"),
        ([None], "item 1 is not a reference (it lacks 'layer'"),
        ([reference(1, 1), {"text": "only text"}], "item 2 is not a reference (it lacks 'layer', 'proposer', 'name', 'model'"),
        ([{**reference(1, 1), "text": 7}], "item 1 is not a reference (its text is not a string"),
        ([reference(1, 1, " \u200b\n")], "item 1 has no text; to remove a reference, leave it out"),
    ],
)
def test_a_wrong_edit_is_refused_when_it_is_made(written: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^merged: {re.escape(words)}"):
        replace_merged([], written)
    if written and "to remove" not in words:
        with pytest.raises(ValueError, match=r"^references: "):
            merge_references([], written)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("It is blue.", "It is blue."),
        (AIMessage("It is blue."), "It is blue."),
        (HumanMessage("It is blue."), "It is blue."),
        ([HumanMessage("Why?"), AIMessage("It is blue.")], "It is blue."),
        ({"messages": [HumanMessage("Why?"), AIMessage("It is blue.")]}, "It is blue."),
        (AIMessage([{"type": "reasoning", "reasoning": "Hmm."}, {"type": "text", "text": "It is blue."}]), "It is blue."),
        (AIMessage([{"type": "thinking", "thinking": "Hmm."}, {"type": "text", "text": "It is blue."}]), "It is blue."),
        (AIMessage("<think>\nHmm, <b>red</b>?\n</think>\n\nIt is blue."), "It is blue."),
        (AIMessage("<thinking>Hmm.</thinking>It is blue."), "It is blue."),
        (AIMessage("Write <think> in <b>."), "Write <think> in <b>."),
    ],
)
def test_an_answer_is_read_from_whatever_a_runnable_returns(output: Any, text: str) -> None:
    answer = read_answer(output)
    assert (answer["text"], answer["failure"]) == (text, None)


TOOL_CALL: Any = {"name": "search", "args": {}, "id": "1"}


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        (AIMessage("<think>Only thoughts.</think>"), "empty"),
        (AIMessage("", tool_calls=[TOOL_CALL]), "tool_call_only"),
        (AIMessage("Half an ans", response_metadata={"finish_reason": "content_filter"}), "content_filter"),
        (AIMessage("", additional_kwargs={"refusal": "I will not."}), "refusal"),
        (AIMessage("No.", response_metadata={"stop_reason": "refusal"}), "refusal"),
        (None, "no_text"),
        ({"answer": "It is blue."}, "no_text"),
        ({"messages": []}, "no_text"),
        (42, "no_text"),
    ],
)
def test_what_is_no_answer_says_why(output: Any, kind: str) -> None:
    answer = read_answer(output)
    assert answer["failure"] is not None
    assert answer["failure"]["kind"] == kind


def test_a_graphs_usage_is_that_of_its_new_messages() -> None:
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    said = [AIMessage("old", usage_metadata=usage), HumanMessage("Why?")]
    new = [AIMessage("", tool_calls=[TOOL_CALL], usage_metadata=usage), AIMessage("Blue.", usage_metadata=usage)]
    assert read_answer({"messages": [*said, *new]}, seen=2)["usage"] == {
        "input_tokens": 2,
        "output_tokens": 4,
        "total_tokens": 6,
    }
