"""The Responses API, with the openai package and an agent of openai-agents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.integration_tests.serving.served import mixture, served
from tests.loopback import Reply, ToolCall, able

if TYPE_CHECKING:
    from tests.integration_tests.serving.served import Endpoint
    from tests.loopback import Loopback

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


class Person(BaseModel):
    name: str
    age: int


def events_of(endpoint: Endpoint, **body: Any) -> list[dict[str, Any]]:
    """Return the events of a stream from the wire, each checked against OpenAI's types."""
    answer = endpoint.http.post("/v1/responses", json={"model": "moa", "stream": True, **body})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *blocks, empty = answer.text.split("\n\n")
    assert empty == ""
    events = []
    for block in blocks:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
        EVENT.validate_python(events[-1])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def test_a_response(endpoint: Endpoint, loopback: Loopback) -> None:
    response = endpoint.openai.responses.create(
        model="moa", input="Hi", instructions="Be brief.", temperature=0.25, max_output_tokens=99, reasoning={"effort": "low"}
    )
    assert (response.output_text, response.status, response.model) == ("agg says: Hi", "completed", "moa")
    assert [item.type for item in response.output] == ["message"]
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    moa = response.model_dump()["moa"]
    assert moa["calls"] == 3
    assert response.usage.input_tokens == moa["aggregator"]["usage"]["input_tokens"]
    for request in loopback.requests:
        sent = {name: request.body.get(name) for name in ("temperature", "max_completion_tokens", "reasoning_effort")}
        assert sent == {"temperature": 0.25, "max_completion_tokens": 99, "reasoning_effort": "low"}
        assert request.system.startswith("Be brief.")
    raw = endpoint.http.post("/v1/responses", json={"model": "moa", "input": "Hi"}).json()
    Response.model_validate(raw)
    assert raw["store"] is False


def test_the_events_of_a_text_in_their_order(endpoint: Endpoint) -> None:
    events = events_of(endpoint, input="Hi")
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == "agg says: Hi"
    last = events[-1]["response"]
    assert last["output"] == [events[-2]["item"]]
    assert last["output"][0]["content"][0]["text"] == "agg says: Hi"
    assert last["moa"]["calls"] == 3
    assert last["id"] == events[0]["response"]["id"]


def test_the_openai_package_reads_the_stream(endpoint: Endpoint) -> None:
    with endpoint.openai.responses.stream(model="moa", input="Hi") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == "agg says: Hi"


def test_progress_and_the_aggregators_reasoning_are_a_summary(loopback: Loopback) -> None:
    with served(mixture(loopback), progress="reasoning") as endpoint:
        events = events_of(endpoint, input="Hi")
    kinds = [event["type"] for event in events]
    assert kinds[2:4] == ["response.output_item.added", "response.reasoning_summary_part.added"]
    assert kinds.index("response.reasoning_summary_part.done") < kinds.index("response.content_part.added")
    summary = next(event["text"] for event in events if event["type"] == "response.reasoning_summary_text.done")
    assert summary.startswith("asking 2 models, layer 1 of 1\n")
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_of_tools(endpoint: Endpoint, loopback: Loopback, stream: bool) -> None:
    loopback.script("agg", [Reply("Let me see.", tool_calls=[ToolCall("get_weather", {"city": "Rome"})]), "It is sunny."])
    conversation: list[Any] = [{"role": "user", "content": "The weather in Rome?"}]

    def output() -> list[Any]:
        body: dict[str, Any] = {"input": conversation, "tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": False}
        if stream:
            return list(events_of(endpoint, **body)[-1]["response"]["output"])
        response = endpoint.openai.responses.create(model="moa", **body)
        return [item.model_dump(exclude_none=True) for item in response.output]

    first = output()
    assert [item["type"] for item in first] == ["message", "function_call"]
    assert json.loads(first[1]["arguments"]) == {"city": "Rome"}
    # What clients send back: all items, including reasoning items of other models.
    conversation += [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"}, *first]
    conversation += [{"type": "function_call_output", "call_id": first[1]["call_id"], "output": "sunny"}]
    (second,) = output()
    assert second["content"][0]["text"] == "It is sunny."
    sent = loopback.calls("agg")[-1]
    assert sent.roles[-3:] == ["user", "assistant", "tool"]
    assert sent.messages[-2]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert sent.messages[-2]["content"] == "Let me see."
    assert sent.messages[-1]["content"] == "sunny"
    assert sent.body["parallel_tool_calls"] is False
    assert "xyz" not in json.dumps(sent.body)


def test_the_events_of_two_calls(endpoint: Endpoint, loopback: Loopback) -> None:
    two = [ToolCall("get_weather", {"city": "Rome"}), ToolCall("get_weather", "{bad")]
    loopback.script("agg", Reply(None, tool_calls=two))
    events = events_of(endpoint, input="The weather?", tools=[WEATHER])
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["output_index"], event["arguments"]) for event in done] == [(0, '{"city": "Rome"}'), (1, "{bad")]
    assert len({item["call_id"] for item in events[-1]["response"]["output"]}) == 2


def test_an_answer_in_a_schema(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", able)
    parsed = endpoint.openai.responses.parse(model="moa", input="Ann is 41", text_format=Person)
    assert parsed.output_parsed is not None
    assert parsed.output_parsed.age == 41
    sent = loopback.calls("agg")[0].body["response_format"]
    assert (sent["type"], sent["json_schema"]["name"], sent["json_schema"]["strict"]) == ("json_schema", "Person", True)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut_is_incomplete(endpoint: Endpoint, stream: bool) -> None:
    body: dict[str, Any] = {"input": "Hi", "max_output_tokens": 2}
    if stream:
        last = events_of(endpoint, **body)[-1]
        assert last["type"] == "response.incomplete"
        response = last["response"]
    else:
        response = endpoint.http.post("/v1/responses", json={"model": "moa", **body}).json()
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["content"][0]["text"] == "agg says:"


def test_a_refusal(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", Reply("I had rather not.", refusal="I had rather not."))
    response = endpoint.openai.responses.create(model="moa", input="Hi")
    assert response.output_text == "I had rather not."


def test_a_failure(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", Reply("over", status=429, headers={"retry-after": "7"}))
    with pytest.raises(openai.RateLimitError) as caught:
        endpoint.openai.responses.create(model="moa", input="Hi")
    assert caught.value.response.headers["retry-after"] == "7"
    last = events_of(endpoint, input="Hi")[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "rate_limit_exceeded"
    assert "the aggregator openai:agg failed" in last["response"]["error"]["message"]


def test_parts_of_messages_and_tools_of_other_kinds(endpoint: Endpoint, loopback: Loopback) -> None:
    picture = "data:image/png;base64,eA=="
    parts = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": picture, "detail": "low"}]
    items: list[Any] = [
        {"type": "message", "role": "developer", "content": "Be brief."},
        {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "Yes?"}]},
        {"type": "message", "role": "user", "content": parts},
    ]
    answer = endpoint.http.post("/v1/responses", json={"model": "moa", "input": items, "tools": [{"type": "web_search"}]})
    assert answer.headers["x-moa-ignored"] == "tools[0] (web_search)"
    sent = loopback.calls("agg")[0]
    assert sent.roles == ["system", "assistant", "user"]
    assert sent.messages[-1]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
    ]
    assert "tools" not in sent.body


async def test_an_agent_of_openai_agents_calls_a_tool(loopback: Loopback) -> None:
    from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled

    set_tracing_disabled(disabled=True)

    @function_tool
    def get_weather(city: str) -> str:
        """Return the weather in a city."""
        return f"{city} is sunny"

    loopback.script("agg", able)
    with served(mixture(loopback, references_per="turn")) as endpoint:
        async with endpoint.aopenai() as client:
            model = OpenAIResponsesModel(model="moa", openai_client=client)
            agent = Agent(name="a", instructions="Use tools.", model=model, tools=[get_weather], model_settings=ModelSettings())
            whole = await Runner.run(agent, "get_weather for Rome, please")
            streamed = Runner.run_streamed(agent, "get_weather for Oslo, please")
            async for _ in streamed.stream_events():
                pass
    assert "is sunny" in str(whole.final_output)
    assert "is sunny" in str(streamed.final_output)
    # Two steps each; the steps of a turn share the proposers' answers.
    assert sorted(loopback.models) == ["agg"] * 4 + ["p"] * 2 + ["q"] * 2
