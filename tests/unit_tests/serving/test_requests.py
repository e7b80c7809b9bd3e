"""What requests the application accepts, translates and refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda

from langchain_moa.serving.chat import ChatRequest
from langchain_moa.serving.conversation import Links
from langchain_moa.serving.responses import ResponsesRequest
from tests.unit_tests.serving.app import HI, Foreign, app_of, client, post

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
FORM = {"type": "json_schema", "json_schema": {"name": "Place", "schema": {"type": "object", "properties": {"city": {}}}}}


@pytest.mark.parametrize(
    ("body", "code", "param", "words"),
    [
        ({"messages": []}, "invalid_value", "messages", "messages: must have at least 1 item"),
        ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content", "missing"),
        ({"messages": [{"role": "function"}]}, "invalid_value", "messages[0]", "system, developer, user"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "invalid_value", "messages[0].content[0]", "image"),
        ({"messages": [*HI, {"role": "tool", "content": "x"}]}, "missing_required_parameter", "messages[1].tool_call_id", ""),
        ({"model": 5}, "invalid_type", "model", "model: must be a string"),
        ({"temperature": "1"}, "invalid_type", "temperature", "temperature: must be a number"),
        ({"temperature": 3}, "invalid_value", "temperature", "temperature: must be at most 2"),
        ({"temperature": -1}, "invalid_value", "temperature", "temperature: must be at least 0"),
        ({"max_tokens": True}, "invalid_type", "max_tokens", "max_tokens: must be a whole number"),
        ({"max_tokens": 2**31}, "invalid_value", "max_tokens", "max_tokens: must be below 2147483648"),
        ({"stream": "yes"}, "invalid_type", "stream", "stream: must be true or false"),
        ({"tools": {}}, "invalid_type", "tools", "tools: must be a list"),
        ({"tools": ["f"]}, "invalid_type", "tools[0]", "tools[0]: must be an object"),
        ({"tools": [{**TOOL, "type": "x"}]}, "invalid_value", "tools[0].type", "tools[0].type: must be 'function'"),
        ({"tools": [{**TOOL, "function": {"name": ""}}]}, "invalid_value", "tools[0].function.name", "must not be empty"),
        ({"stop": 5}, "invalid_type", "stop", "string"),
        ({"messages": HI * 2049}, "array_above_max_length", "messages", "at most 2048"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 2049}]},
            "array_above_max_length",
            "messages",
            "",
        ),
        (
            {"messages": [*HI, {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}] * 2049}, *HI]},
            "array_above_max_length",
            "messages",
            "2048 tool calls",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "http://10.0.0.1/a.pdf"}}]}]},
            "link_not_allowed",
            "messages[0].content[0].file.file_data",
            "data: URL",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "input_audio", "input_audio": {"data": "file:///a", "format": "wav"}}],
                    }
                ]
            },
            "link_not_allowed",
            "messages[0].content[0].input_audio.data",
            "data: URL",
        ),
        ({"tools": [TOOL] * 129}, "array_above_max_length", "tools", "at most 128"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "invalid_value",
            "tool_choice",
            "no",
        ),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice", "has no `tools`"),
        ({"response_format": {"type": "xml"}}, "invalid_value", "response_format", "json_schema"),
        ({"n": 2}, "unsupported_parameter", "n", "many calls"),
        ({"logprobs": True}, "unsupported_parameter", "logprobs", "probabilities"),
        ({"functions": [{}]}, "unsupported_parameter", "functions", "`tools`"),
        ({"temprature": 1}, "unknown_parameter", "temprature", "did you mean 'temperature'"),
    ],
)
async def test_errors_name_the_field(body: dict[str, Any], code: str, param: str, words: str) -> None:
    answer = await post(app_of(strict=True), **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["code"], error["param"]) == (code, param)
    assert words in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"n": 1},
        {"logprobs": False},
        {"modalities": ["text"]},
        {"user": "me", "store": True},
        {"temperature": None},
        {"top_k": -1},
        {"prompt_cache_options": {"mode": "implicit"}},
    ],
)
async def test_parameters_without_effect_are_accepted(body: dict[str, Any]) -> None:
    assert (await post(app_of(), **body)).status_code == 200


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"max_tokens": 50.0, "seed": 1.0}, {"max_tokens": 50, "seed": 1}),
        ({"stop": ""}, {}),
        ({"stop": ["", "END"]}, {"stop": ["END"]}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
    ],
)
def test_values_as_members_take_them(body: dict[str, Any], sent: dict[str, Any]) -> None:
    asked, ignored = ChatRequest.read({"model": "moa", "messages": HI, **body}, strict=True)
    assert asked.prompting("-", Links()).shared == sent
    assert ignored == []


async def test_reasoning_without_an_effort_is_named() -> None:
    answer = await post(app_of(), reasoning={"max_tokens": 100})
    assert answer.headers["x-moa-ignored"] == "reasoning"


async def test_empty_content_and_arguments() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": None}}
    said = [{"role": "user", "content": [{"type": "thinking", "thinking": "hm"}]}, {"role": "assistant", "tool_calls": [call]}]
    asked, _ = ChatRequest.read({"model": "moa", "messages": said}, strict=True)
    user, assistant = asked.prompting("-", Links()).messages
    assert user.content == ""
    assert isinstance(assistant, AIMessage)
    assert assistant.tool_calls[0]["args"] == {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["chat/completions", "responses"])
async def test_half_a_character_of_a_model(path: str, stream: bool) -> None:
    app = app_of(RunnableLambda(lambda _: "half \ud83d of it"))
    async with client(app) as http:
        answer = await http.post(f"/v1/{path}", json={"model": "moa", "stream": stream, "messages": HI, "input": "Hi"})
    assert answer.status_code == 200
    assert "half \ufffd of it" in answer.text
    assert not stream or "data: [DONE]" in answer.text or "response.completed" in answer.text


async def test_half_a_character_in_an_error() -> None:
    def fail(_: Any) -> None:
        msg = "half \ud83d of it"
        raise ValueError(msg)

    answer = await post(app_of(RunnableLambda(fail)))
    assert answer.status_code in (403, 502)
    assert "half \ufffd of it" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_of_another_provider(stream: bool) -> None:
    answer = await post(app_of(), tools=[TOOL], tool_choice="required", stream=stream)
    if stream:
        pieces = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line.startswith("data: {")]
        (call,) = [call for piece in pieces for call in piece["choices"][0]["delta"].get("tool_calls", ())]
        reason = pieces[-1]["choices"][0]["finish_reason"]
    else:
        choice = answer.json()["choices"][0]
        (call,), reason = choice["message"]["tool_calls"], choice["finish_reason"]
    assert call["function"] == {"name": "f", "arguments": '{"city": "Rome"}'}
    assert reason == "tool_calls"


async def test_tool_choice_none() -> None:
    answer = await post(app_of(), tools=[TOOL], tool_choice="none")
    assert answer.json()["choices"][0]["message"]["content"].startswith("answer to")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_schema_that_a_provider_has_as_a_tool_comes_as_text(stream: bool) -> None:
    answer = await post(app_of(), response_format=FORM, stream=stream)
    if stream:
        pieces = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line.startswith("data: {")]
        text = "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces)
        reason = pieces[-1]["choices"][0]["finish_reason"]
    else:
        choice = answer.json()["choices"][0]
        assert "tool_calls" not in choice["message"]
        text, reason = choice["message"]["content"], choice["finish_reason"]
    assert json.loads(text) == {"city": "Rome"}
    assert reason == "stop"


class Talkative(Foreign):
    """Says something before its calls, and calls the schema's tool twice."""

    calls_the_tool: bool = True

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        for each in ("Gladly", ": "):
            yield ChatGenerationChunk(message=AIMessageChunk(content=each))
        for index, args in enumerate(['{"city": ', '"Rome"}', '{"city": "Oslo"}'] if self.calls_the_tool else [], start=1):
            name = None if index == 2 else kwargs["my_tools"][0]
            chunk = tool_call_chunk(name=name, args=args, id=name and str(index), index=max(index, 2))
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))


@pytest.mark.parametrize(("calls_the_tool", "text"), [(True, '{"city": "Rome"}'), (False, "Gladly: ")])
async def test_the_text_of_a_streamed_answer_in_a_schema(calls_the_tool: bool, text: str) -> None:
    form = {"type": "json_schema", "name": "Place", "schema": {"type": "object", "properties": {"city": {}}}}
    async with client(app_of(Talkative(calls_the_tool=calls_the_tool))) as http:
        chat = {"model": "moa", "messages": HI, "response_format": FORM, "stream": True}
        answer = (await http.post("/v1/chat/completions", json=chat)).text
        pieces = [json.loads(line.removeprefix("data: ")) for line in answer.split("\n\n") if line.startswith("data: {")]
        assert "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces) == text
        response = {"model": "moa", "input": "Hi", "text": {"format": form}, "stream": True}
        *_, last = (await http.post("/v1/responses", json=response)).text.split("\ndata: ")
    assert [item["content"][0]["text"] for item in json.loads(last)["response"]["output"]] == [text]


@pytest.mark.parametrize("body", [{"tools": [TOOL]}, {"response_format": FORM}])
@pytest.mark.parametrize("aggregator", [Foreign(tools=False), RunnableLambda(lambda _: "text")])
async def test_an_aggregator_without_tools_and_schemas(aggregator: Any, body: dict[str, Any]) -> None:
    answer = await post(app_of(aggregator), **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", next(iter(body)))


async def test_tools_and_a_schema_need_openais_protocol() -> None:
    answer = await post(app_of(), tools=[TOOL], response_format=FORM)
    assert answer.json()["error"]["param"] == "response_format"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": ""}, "invalid_value", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": [5]}, "invalid_type", "input[0]"),
        ({"input": [{"type": "message", "role": "user"}]}, "missing_required_parameter", "input[0].content"),
        ({"input": [{"role": "robot", "content": "Hi"}]}, "invalid_value", "input[0].role"),
        ({"input": [{"type": "web_search_call"}]}, "invalid_value", "input[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "unsupported_parameter", "input[0]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "missing_required_parameter", "input[0].call_id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "missing_required_parameter",
            None,
        ),
        ({"store": True}, "unsupported_parameter", "store"),
        ({"background": True}, "unsupported_parameter", "background"),
        ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
        ({"conversation": "conv_1"}, "unsupported_parameter", "conversation"),
        ({"prompt": {"id": "x"}}, "unsupported_parameter", "prompt"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
        ({"tool_choice": {"type": "web_search"}}, "unsupported_parameter", "tool_choice"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"tool_choice": "maybe"}, "invalid_value", "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "tools": [{"name": "g"}]}, "tools": [{"type": "function", "name": "f"}]},
            "invalid_value",
            "tool_choice",
        ),
        (
            {"tool_choice": {"type": "function", "name": "g"}, "tools": [{"type": "function", "name": "f"}]},
            "invalid_value",
            "tool_choice",
        ),
        ({"text": {"format": {"type": "xml"}}}, "invalid_value", "text.format"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "missing_required_parameter", "text.format.name"),
        ({"max_output_tokens": 0}, "invalid_value", "max_output_tokens"),
        ({"temprature": 1}, "unknown_parameter", "temprature"),
        ({"input": [{"role": "user", "content": "Hi"}] * 2049}, "array_above_max_length", "input"),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "1", "name": "f"},
                    {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "x"}] * 2049},
                ]
            },
            "array_above_max_length",
            "input",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "http://10.0.0.1/a.pdf"}]}]},
            "link_not_allowed",
            "input[0].content[0].file_data",
        ),
    ],
)
async def test_errors_of_responses_name_the_field(body: dict[str, Any], code: str, param: str | None) -> None:
    async with client(app_of(strict=True)) as http:
        answer = await http.post("/v1/responses", json={"model": "moa", "input": "Hi", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code)
    assert param is None or error["param"] == param
    assert param is None or param in error["message"]


async def test_a_schema_for_an_aggregator_without_schemas_names_the_field_of_responses() -> None:
    form = {"type": "json_schema", "name": "Place", "schema": {"type": "object", "properties": {}}}
    async with client(app_of(Foreign(tools=False))) as http:
        answer = await http.post("/v1/responses", json={"model": "moa", "input": "Hi", "text": {"format": form}})
    assert answer.json()["error"]["param"] == "text.format"


@pytest.mark.parametrize(
    ("choice", "tools", "sent"),
    [
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}, ["g"], "required"),
        ({"type": "function", "name": "g"}, ["f", "g"], {"type": "function", "function": {"name": "g"}}),
        ("none", ["f", "g"], "none"),
        ({"type": "web_search"}, ["f", "g"], None),
    ],
)
def test_tool_choices_of_responses(choice: Any, tools: list[str], sent: Any) -> None:
    functions = [{"type": "function", "name": name, "parameters": {}} for name in "fg"]
    asked, ignored = ResponsesRequest.read(
        {"model": "moa", "input": "Hi", "tools": functions, "tool_choice": choice}, strict=False
    )
    own = asked.prompting("-", Links()).own
    assert [tool["function"]["name"] for tool in own["tools"]] == tools
    assert own.get("tool_choice") == sent
    assert ignored == ([] if sent else ["tool_choice (web_search)"])
