"""Chunks of an answer: nothing is sent before there is text, and everything after."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_moa.engine.streaming import AnswerStream

EMPTY = AIMessageChunk(content="")
SAYS_NOTHING = [
    EMPTY,
    AIMessageChunk(content=[]),
    AIMessageChunk(content=[{"type": "text", "text": "", "index": 0}]),
    AIMessageChunk(content="", response_metadata={"model_provider": "openai"}),
    AIMessageChunk(content="", usage_metadata={"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}),
    "",
]
SAYS_SOMETHING: list[Any] = [
    "a",
    " ",
    AIMessageChunk(content="a"),
    AIMessage("a"),
    AIMessageChunk(content=[{"type": "text", "text": "a", "index": 0}]),
    AIMessageChunk(content=[{"type": "reasoning", "reasoning": ""}]),
    AIMessageChunk(content="", tool_call_chunks=[{"name": "search", "args": "", "id": "1", "index": 0}]),
    AIMessageChunk(content="", additional_kwargs={"reasoning_content": "I wonder"}),
]


@pytest.mark.parametrize("item", SAYS_NOTHING)
def test_what_says_nothing_waits(item: Any) -> None:
    sent: list[Any] = []
    stream = AnswerStream(sent.append)
    stream.send(item)
    stream.send(EMPTY)
    assert not stream.has_begun()
    assert sent == []


@pytest.mark.parametrize("item", SAYS_SOMETHING)
def test_what_says_something_goes_with_all_that_waited(item: Any) -> None:
    sent: list[Any] = []
    stream = AnswerStream(sent.append)
    stream.send(EMPTY)
    stream.send(item)
    assert stream.has_begun()
    assert len(sent) == 2
    stream.send(EMPTY)
    assert len(sent) == 3
    assert all(isinstance(chunk, AIMessageChunk) for chunk in sent)


def test_an_answer_may_be_begun_anew_before_it_is_out() -> None:
    sent: list[Any] = []
    stream = AnswerStream(sent.append)
    stream.send(AIMessageChunk(content="", id="first"))
    stream.restart()
    stream.send(AIMessageChunk(content="the answer", id="second"))
    assert [chunk.id for chunk in sent] == ["second"]
    assert stream.answer()["message"].id == "second"
    assert stream.answer()["text"] == "the answer"


def test_the_answer_is_everything_that_was_said() -> None:
    stream = AnswerStream(lambda _: None)
    for item in ("one", AIMessageChunk(content=" two"), AIMessage(" three")):
        stream.send(item)
    assert stream.answer()["text"] == "one two three"
    assert type(stream.answer()["message"]) is AIMessage


def test_an_answer_of_nothing_is_a_failure() -> None:
    stream = AnswerStream(lambda _: None)
    failure = stream.answer()["failure"]
    assert failure is not None
    assert failure["kind"] == "empty"


def test_a_call_of_a_tool_begins_nothing_where_no_tool_was_given() -> None:
    sent: list[Any] = []
    stream = AnswerStream(sent.append, may_call=False)
    stream.send(AIMessageChunk(content="", tool_call_chunks=[{"name": "search", "args": "", "id": "1", "index": 0}]))
    stream.send(AIMessageChunk(content=[{"type": "tool_use", "name": "search", "id": "1", "input": {}}]))
    assert not stream.has_begun()
    assert sent == []
    stream.send("the answer")
    assert stream.has_begun()
    assert len(sent) == 3
