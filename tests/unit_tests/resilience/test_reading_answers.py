"""What a member returns is read as an answer, or as the reason why it is none."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa.reference import read_answer


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
    (ai("<think>long thoughts, then the tokens ran out"), "empty"),
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
