"""Streams of all providers are converted to OpenAI's form."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

from langchain_moa.serving.chat import ChatRequest, ChatWriter, chat_usage, finish_reason
from langchain_moa.serving.errors import ApiError
from langchain_moa.serving.mixtures import FinalAnswer
from langchain_moa.serving.response_events import ResponsesWriter
from langchain_moa.serving.responses import ResponsesRequest


def writer(**body: Any) -> ChatWriter:
    asked, _ = ChatRequest.read({"model": "moa", "messages": [{"role": "user", "content": "Hi"}], **body}, strict=True)
    return ChatWriter(asked, breakdown=True, progress=False)


def events_of(*chunks: AIMessageChunk, **metadata: Any) -> list[dict[str, Any]]:
    """Return the events of a streamed response, each in its place."""
    asked, _ = ResponsesRequest.read({"model": "moa", "input": "Hi"}, strict=True)
    writes = ResponsesWriter(asked, breakdown=True, progress=False)
    items: list[Any] = [*chunks, FinalAnswer(AIMessage("", response_metadata=metadata), by_tool=False)]
    events = [*writes.start(), *(event for item in items for event in writes.write(item, by_tool=False))]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


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


def test_tool_calls_with_the_same_index_are_separate_calls() -> None:
    # Some servers of OpenAI's protocol, such as Gemini's, give all parallel calls the index 0.
    got = calls(
        tool_call_chunk(name="f", args='{"x"', id="a", index=0),
        tool_call_chunk(args=": 1}", index=0),
        tool_call_chunk(name="f", args="{}", id="b", index=0),
    )
    assert [(call["index"], call.get("id")) for call in got] == [(0, "a"), (0, None), (1, "b")]
    # Others give each chunk of one call another id.
    got = calls(tool_call_chunk(name="f", args='{"x"', id="a", index=0), tool_call_chunk(args=": 1}", id="b", index=0))
    assert [(call["index"], call.get("id")) for call in got] == [(0, "a"), (0, None)]


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


REFUSAL = {"type": "refusal", "refusal": "I will not."}


@pytest.mark.parametrize("block", [REFUSAL, {"type": "non_standard", "value": REFUSAL}])
def test_refusals_in_blocks(block: dict[str, Any]) -> None:
    chunk = AIMessageChunk(content=[block])
    (piece,) = writer().write(chunk, by_tool=False)
    assert piece["choices"][0]["delta"] == {"refusal": "I will not."}
    said = writer().whole(FinalAnswer(AIMessage(chunk.content), by_tool=False))["choices"][0]["message"]
    assert (said["content"], said["refusal"]) == (None, "I will not.")
    *_, last = events_of(chunk)
    assert last["response"]["output"][0]["content"] == [REFUSAL]


def piece_of(index: int, args: str, name: str | None = None) -> AIMessageChunk:
    chunk = tool_call_chunk(name=name, args=args, id=None if name is None else f"call_{name}", index=index)
    return AIMessageChunk(content="", tool_call_chunks=[chunk])


@pytest.mark.parametrize(
    ("chunks", "output"),
    [
        (
            [
                piece_of(0, "", "f"),
                piece_of(1, "", "g"),
                piece_of(0, '{"x":'),
                piece_of(1, '{"y":'),
                piece_of(0, "1}"),
                piece_of(1, "2}"),
            ],
            [("call_f", "f", '{"x":1}'), ("call_g", "g", '{"y":2}')],
        ),
        (
            [piece_of(0, '{"x"', "f"), AIMessageChunk(content="Well."), piece_of(0, ":1}")],
            [("call_f", "f", '{"x":1}'), "Well."],
        ),
        ([piece_of(0, "{}", "f"), AIMessageChunk(content="Well."), piece_of(0, "\n")], [("call_f", "f", "{}"), "Well."]),
        ([piece_of(0, "", "f"), piece_of(1, "", "g")], [("call_f", "f", "{}"), ("call_g", "g", "{}")]),
        ([piece_of(0, "{}", "f"), piece_of(0, "{}", "g")], [("call_f", "f", "{}"), ("call_g", "g", "{}")]),
        ([piece_of(0, "{bad", "f"), piece_of(1, "{}", "g")], [("call_f", "f", "{bad"), ("call_g", "g", "{}")]),
    ],
)
def test_items_of_a_response_follow_one_another(chunks: list[AIMessageChunk], output: list[Any]) -> None:
    events = events_of(*chunks)
    items = events[-1]["response"]["output"]
    said = [
        item["content"][0]["text"] if item["type"] == "message" else (item["call_id"], item["name"], item["arguments"])
        for item in items
    ]
    assert said == output
    # Each item is finished before the next one begins.
    order = [event["output_index"] for event in events if "output_index" in event]
    assert order == sorted(order)
    assert [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"] == [
        item["id"] for item in items
    ]


def test_the_last_item_of_a_cut_response_is_incomplete() -> None:
    *_, done, last = events_of(AIMessageChunk(content="Yes, "), piece_of(0, '{"x', "f"), finish_reason="length")
    assert [item["status"] for item in last["response"]["output"]] == ["completed", "incomplete"]
    assert done["item"]["status"] == "incomplete"
    asked, _ = ResponsesRequest.read({"model": "moa", "input": "Hi"}, strict=True)
    message = AIMessage("Yes, ", response_metadata={"finish_reason": "length"})
    whole = ResponsesWriter(asked, breakdown=True, progress=False).whole(FinalAnswer(message, by_tool=False))
    assert (whole["status"], whole["output"][0]["status"]) == ("incomplete", "incomplete")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ApiError(429, "slow down", code="rate_limit_exceeded", headers={"retry-after": "7"}), "rate_limit_exceeded"),
        (ApiError(400, "too long", code="context_length_exceeded"), "context_length_exceeded"),
        (ApiError(402, "no credit", code="insufficient_quota"), "insufficient_quota"),
        (ApiError(403, "wrong key", code="aggregator_failed"), "invalid_prompt"),
        (ApiError(502, "broken", code="aggregator_failed"), "server_error"),
        (ApiError(504, "too late", code="timeout"), "server_error"),
    ],
)
def test_the_code_of_a_failed_response_tells_whether_to_retry(error: ApiError, code: str) -> None:
    asked, _ = ResponsesRequest.read({"model": "moa", "input": "Hi"}, strict=True)
    (event,) = ResponsesWriter(asked, breakdown=True, progress=False).fail(error)
    assert event["response"]["error"]["code"] == code
    assert event["response"]["error"]["message"] == (
        "slow down; try again in 7 s" if code == "rate_limit_exceeded" else error.message
    )
