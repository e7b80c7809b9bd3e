"""A member's output is parsed as an answer, or as the reason why there is none."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa.data.answer import read_answer
from langchain_moa.data.reference import is_reference


def ai(content: Any = "", **fields: Any) -> AIMessage:
    return AIMessage(content, **fields)


def finished(reason: str, content: str = "half an ans", **more: Any) -> AIMessage:
    return AIMessage(content, response_metadata={"finish_reason": reason, **more})


CALL = {"name": "search", "args": {}, "id": "1"}
REFUSAL = {"type": "refusal", "refusal": "I cannot help with that."}

FAILURES: list[tuple[Any, str]] = [
    (ai(""), "empty"),
    (ai(" \n\t\u2003 "), "empty"),
    (ai("\u200b\ufeff\u2060"), "empty"),
    (ai([]), "empty"),
    (ai([{"type": "text", "text": "  "}]), "empty"),
    (ai("<think>long thoughts, then the tokens ran out", response_metadata={"finish_reason": "length"}), "empty"),
    (ai("<think>thoughts only</think>\n"), "empty"),
    (ai([{"type": "reasoning", "reasoning": "thoughts only"}]), "empty"),
    (ai("", tool_calls=[CALL]), "tool_call_only"),
    (ai("", invalid_tool_calls=[{**CALL, "args": "{", "error": "no JSON"}]), "tool_call_only"),
    (ai("", additional_kwargs={"refusal": "No."}), "refusal"),
    (ai("I must not.", additional_kwargs={"refusal": "No."}), "refusal"),
    (ai([REFUSAL]), "refusal"),
    (ai([{"type": "non_standard", "value": REFUSAL}]), "refusal"),
    (AIMessage("No.", response_metadata={"stop_reason": "refusal"}), "refusal"),
    (finished("content_filter"), "content_filter"),
    (finished("SAFETY"), "content_filter"),
    (finished("guardrail_intervened"), "content_filter"),
    (AIMessage("half", response_metadata={"incomplete_details": {"reason": "content_filter"}}), "content_filter"),
    (None, "no_text"),
    ({"answer": 42}, "no_text"),
    ({"messages": []}, "no_text"),
    (b"bytes", "no_text"),
]


@pytest.mark.parametrize(("output", "kind"), FAILURES)
def test_what_is_no_answer_is_a_failure_with_a_reason(output: Any, kind: str) -> None:
    failure = read_answer(output)["failure"]
    assert failure is not None
    assert failure["kind"] == kind
    assert failure["message"]


ANSWERS: list[tuple[Any, str]] = [
    ("a text", "a text"),
    (ai("42"), "42"),
    (ai("\u200b42"), "\u200b42"),
    (ai("\U0001f44d"), "\U0001f44d"),
    (ai("\u0915\u094d\u0937"), "\u0915\u094d\u0937"),
    (ai([{"type": "text", "text": "in "}, {"type": "text", "text": "blocks"}]), "in blocks"),
    (ai("I have looked it up.", tool_calls=[CALL]), "I have looked it up."),
    (ai("<think>thoughts</think>\nthe answer"), "the answer"),
    (ai("<think>one</think><think>two</think>the answer"), "the answer"),
    (ai("<think>the answer, its thoughts beside it"), "the answer, its thoughts beside it"),
    # Half a character cannot be encoded; two halves are one character.
    (ai("cut in an emoji: \ud83d"), "cut in an emoji: \ufffd"),
    (ai("sent in halves: \ud83d\ude00, and \udc00"), "sent in halves: \U0001f600, and \ufffd"),
    # The format in which a graph on another machine sends its messages.
    ({"messages": [{"type": "human", "content": "Hi"}, {"type": "ai", "content": "over the wire"}]}, "over the wire"),
    (ai("the answer, with a <think> in it"), "the answer, with a <think> in it"),
    (finished("length", "cut by the token limit"), "cut by the token limit"),
    (finished("stop", "done", incomplete_details=None), "done"),
    (ai("no refusal", additional_kwargs={"refusal": None}), "no refusal"),
    ({"messages": [HumanMessage("Hi"), ai("of a graph")]}, "of a graph"),
]


@pytest.mark.parametrize(("output", "text"), ANSWERS)
def test_what_says_something_is_an_answer(output: Any, text: str) -> None:
    answer = read_answer(output)
    assert answer["failure"] is None
    assert answer["text"] == text


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (finished("content_filter"), "the provider's content filter cut the answer"),
        (ai([REFUSAL]), "the model refused to answer"),
        (ai("", tool_calls=[CALL]), "the model called a tool instead of answering"),
        (ai(""), "the model answered nothing (finish reason: not given)"),
        (finished("length", ""), "the model answered nothing (finish reason: length)"),
        (AIMessage("", response_metadata={"stop_reason": "end_turn"}), "the model answered nothing (finish reason: end_turn)"),
        (42, "it returned int, which has no message and no text"),
        ({"messages": [{"type": "ai"}]}, "it returned dict, which has no message and no text"),
    ],
)
def test_the_reason_is_said_in_words(output: Any, words: str) -> None:
    failure = read_answer(output)["failure"]
    assert failure is not None
    assert failure["message"] == words


def test_what_holds_no_answer_is_an_empty_one_that_nobody_paid_for() -> None:
    answer = read_answer({"answer": 42})
    assert (answer["message"], answer["text"], answer["usage"], answer["cost_usd"]) == (AIMessage(""), "", None, None)


def test_another_kind_of_message_is_taken_for_an_answer_under_its_id() -> None:
    assert read_answer(HumanMessage("Blue.", id="7"))["message"] == AIMessage("Blue.", id="7")


USAGE: Any = {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
KNOWN = {"model_provider": "openai", "model_name": "gpt-4o"}


def test_all_new_messages_are_counted_and_those_without_tokens_left_out() -> None:
    said = [AIMessage("", usage_metadata=USAGE), HumanMessage("More."), AIMessage("uncounted"), AIMessage("Blue.")]
    assert read_answer([*said, AIMessage("Blue.", usage_metadata=USAGE)])["usage"] == {
        "input_tokens": 20,
        "output_tokens": 40,
        "total_tokens": 60,
    }
    assert read_answer("Blue.")["usage"] is None
    assert read_answer(AIMessage("Blue."))["usage"] is None


def test_a_mixtures_answer_counts_with_all_that_it_took() -> None:
    call = {"name": "a", "model": "openai:a", "status": "ok", "seconds": 1.0, "usage": USAGE}
    moa = {"layers": [[call, call]], "aggregator": call, "cost_usd": 0.25}
    answer = read_answer(AIMessage("Blue.", usage_metadata=USAGE, response_metadata={"moa": moa}))
    assert answer["usage"] == {"input_tokens": 30, "output_tokens": 60, "total_tokens": 90}
    assert answer["cost_usd"] == 0.25


def test_an_answer_costs_what_its_messages_cost() -> None:
    once = read_answer(AIMessage("Blue.", usage_metadata=USAGE, response_metadata=KNOWN))["cost_usd"]
    assert once
    twice = [AIMessage("Blue.", usage_metadata=USAGE, response_metadata=KNOWN)] * 2
    assert read_answer(twice)["cost_usd"] == pytest.approx(2 * once)
    assert read_answer(twice, seen=1)["cost_usd"] == once


WHOLE = {"layer": 1, "proposer": 1, "name": "a", "model": "openai:a", "text": "Blue."}


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        (WHOLE, True),
        ({**WHOLE, "more": 1}, True),
        ({**WHOLE, "text": None}, False),
        *(({key: WHOLE[key] for key in WHOLE if key != left_out}, False) for left_out in WHOLE),
        ("Blue.", False),
        (["layer", "proposer", "name", "model", "text"], False),
        (None, False),
    ],
)
def test_a_reference_has_a_text_and_says_whose_it_is(value: Any, is_one: bool) -> None:
    assert is_reference(value) is is_one
