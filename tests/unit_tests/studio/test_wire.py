"""Messages of a graph on a server arrive as plain data, without losing anything."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from langchain_moa import MoAError
from langchain_moa.data.answer import read_answer

USAGE: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


@pytest.mark.parametrize("kind", [AIMessage, AIMessageChunk])
def test_a_message_is_read_with_its_tokens(kind: type[AIMessage]) -> None:
    sent = kind("An answer.", usage_metadata=USAGE, response_metadata={"finish_reason": "stop"}, id="1")
    answer = read_answer({"messages": [HumanMessage("Hi").model_dump(), sent.model_dump()]}, seen=1)
    assert answer["failure"] is None
    assert answer["text"] == "An answer."
    assert answer["usage"] == USAGE
    assert answer["message"].id == "1"


def test_a_refusal_there_is_a_refusal_here() -> None:
    sent = AIMessage("", additional_kwargs={"refusal": "No."}).model_dump()
    failure = read_answer({"messages": [sent]})["failure"]
    assert failure is not None
    assert failure["kind"] == "refusal"


def test_all_calls_of_an_agent_there_count() -> None:
    called = AIMessage("", tool_calls=[{"name": "t", "args": {}, "id": "1"}], usage_metadata=USAGE)
    messages = [called, ToolMessage("2", tool_call_id="1"), AIMessage("2", usage_metadata=USAGE)]
    answer = read_answer({"messages": [message.model_dump() for message in messages]})
    assert answer["usage"] == {"input_tokens": 2, "output_tokens": 4, "total_tokens": 6}


def test_a_mixture_inside_counts_all_its_calls() -> None:
    call = {"name": "p", "model": "p", "status": "ok", "seconds": 1.0, "usage": USAGE}
    account = {"layers": [[call, call]], "aggregator": call, "calls": 3}
    answer = read_answer(AIMessage("An answer.", usage_metadata=USAGE, response_metadata={"moa": account}))
    assert answer["usage"] == {"input_tokens": 3, "output_tokens": 6, "total_tokens": 9}


@pytest.mark.parametrize("odd", [{}, {"type": "ai"}, {"type": "nothing", "content": "x"}, {"content": "x"}, 3, None])
def test_what_is_no_message_is_none(odd: Any) -> None:
    failure = read_answer({"messages": [odd]})["failure"]
    assert failure is not None
    assert failure["kind"] == "no_text"


def test_an_error_is_plain_data_for_a_server() -> None:
    assert MoAError("too few").model_dump() == {"error": "MoAError", "message": "too few"}
