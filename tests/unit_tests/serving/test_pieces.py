"""What providers stream in many ways leaves in OpenAI's one."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk

from langchain_moa.serving.completion import Completion, Pieces, finish_reason, wire_usage


def calls(*chunks: Any) -> list[Any]:
    pieces = Pieces(Completion(model="moa"), include_usage=False)
    read = [piece for chunk in chunks for piece in pieces.read(AIMessageChunk(content="", tool_call_chunks=[chunk]))]
    return [call for piece in read for call in piece["choices"][0]["delta"].get("tool_calls", ())]


def test_tool_calls_are_counted_from_zero_whatever_the_provider_counts() -> None:
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


def test_tool_calls_that_nobody_counts_are_each_a_call() -> None:
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
def test_the_reasons_of_all_providers_in_openais_words(metadata: dict[str, Any], reason: str) -> None:
    assert finish_reason(metadata, calls=False) == reason
    assert finish_reason(metadata, calls=True) == ("tool_calls" if reason == "stop" else reason)


def test_tokens_that_nobody_counted_are_not_zero() -> None:
    assert wire_usage(None, {}) is None
    assert wire_usage(UsageMetadata(input_tokens=1, output_tokens=1, total_tokens=2), {"moa": {"uncounted": 1}}) is None
    said = AIMessage("Hi.", response_metadata={"moa": {"uncounted": 1}})
    assert "usage" not in Completion(model="moa").whole(said)
