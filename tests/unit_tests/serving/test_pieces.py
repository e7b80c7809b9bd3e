"""Streams of all providers are converted to OpenAI's form."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

from langchain_moa.serving.chat import ChatRequest, ChatWriter, chat_usage, finish_reason
from langchain_moa.serving.mixtures import FinalAnswer


def writer(**body: Any) -> ChatWriter:
    asked, _ = ChatRequest.read({"model": "moa", "messages": [{"role": "user", "content": "Hi"}], **body}, strict=True)
    return ChatWriter(asked, breakdown=True, progress=False)


def calls(*chunks: Any) -> list[Any]:
    writes = writer()
    said = [AIMessageChunk(content="", tool_call_chunks=[chunk]) for chunk in chunks]
    written = [piece for chunk in said for piece in writes.write(chunk, by_tool=False)]
    return [call for piece in written for call in piece["choices"][0]["delta"].get("tool_calls", ())]


def test_tool_calls_are_numbered_from_zero() -> None:
    # Anthropic counts the blocks of its answer, and the first of them is text.
    got = calls(
        tool_call_chunk(name="f", args="", id="a", index=1),
        tool_call_chunk(args='{"x"', index=1),
        tool_call_chunk(name="g", args="{}", id="b", index=3),
        tool_call_chunk(args=": 1}", index=1),
    )
    assert [call["index"] for call in got] == [0, 0, 1, 0]
    assert [call.get("id") for call in got] == ["a", None, "b", None]
    assert [call["function"] for call in got[:2]] == [{"name": "f", "arguments": ""}, {"arguments": '{"x"'}]


def test_tool_calls_without_an_index_are_separate_calls() -> None:
    got = calls(
        tool_call_chunk(name="f", args="{}", id=None, index=None), tool_call_chunk(name="f", args="{}", id="b", index=None)
    )
    assert [call["index"] for call in got] == [0, 1]
    assert got[0]["id"].startswith("call_")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"finish_reason": "length"}, "length"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"stop_reason": "end_turn"}, "stop"),
        ({}, "stop"),
    ],
)
def test_finish_reasons_of_all_providers_become_openais(metadata: dict[str, Any], reason: str) -> None:
    assert finish_reason(metadata, calls=False) == reason
    assert finish_reason(metadata, calls=True) == ("tool_calls" if reason == "stop" else reason)


def test_tokens_that_were_not_counted_are_not_zero() -> None:
    assert chat_usage(None) is None
    assert "usage" not in writer().whole(FinalAnswer(AIMessage("Hi."), by_tool=False))
    *_, last = writer(stream_options={"include_usage": True}).write(FinalAnswer(AIMessage("Hi."), by_tool=False), by_tool=False)
    assert last["usage"] is None


@pytest.mark.parametrize(
    "chunk",
    [
        AIMessageChunk(content="", additional_kwargs={"reasoning_content": "hm"}),
        AIMessageChunk(content=[{"type": "thinking", "thinking": "hm", "index": 0}]),
        AIMessageChunk(content=[{"type": "reasoning", "reasoning": "hm"}]),
        AIMessageChunk(content=[{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]),
    ],
)
def test_the_aggregators_own_reasoning_is_passed_on(chunk: AIMessageChunk) -> None:
    (piece,) = writer().write(chunk, by_tool=False)
    assert piece["choices"][0]["delta"] == {"reasoning_content": "hm"}
    message = AIMessage(chunk.content, additional_kwargs=chunk.additional_kwargs)
    whole = writer().whole(FinalAnswer(message, by_tool=False))
    assert whole["choices"][0]["message"]["reasoning_content"] == "hm"
