"""The endpoint works with OpenAI's own client, sync and async, as OpenAI does."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from tests.integration_tests.serving.served import mixture, served
from tests.loopback import Reply, ToolCall, able

if TYPE_CHECKING:
    from tests.integration_tests.serving.served import Endpoint
    from tests.loopback import Loopback

HI: Any = [{"role": "user", "content": "Hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def called(answer: Any) -> list[Any]:
    """Return an answer's tool calls."""
    return answer.choices[0].message.tool_calls or []


def test_an_answer(endpoint: Endpoint, loopback: Loopback) -> None:
    answer = endpoint.openai.chat.completions.create(model="moa", messages=HI)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "agg says: Hi", "stop")
    assert answer.object == "chat.completion"
    assert answer.model == "moa"
    assert sorted(loopback.models) == ["agg", "p", "q"]
    assert "p says: Hi" in loopback.calls("agg")[0].system


def test_the_tokens_of_all_calls_and_the_calls_behind_the_answer(endpoint: Endpoint) -> None:
    answer = endpoint.openai.chat.completions.create(model="moa", messages=HI)
    moa = answer.model_dump()["moa"]
    calls = [*moa["layers"][0], moa["aggregator"]]
    assert [call["model"] for call in calls] == ["openai:p", "openai:q", "openai:agg"]
    # Agents use `usage` for the size of the conversation, so it is the aggregator's own. `moa` has the sum of all calls.
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == moa["aggregator"]["usage"]["input_tokens"]
    assert moa["usage"]["input_tokens"] == sum(call["usage"]["input_tokens"] for call in calls)
    assert moa["usage"]["output_tokens"] == sum(call["usage"]["output_tokens"] for call in calls)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_has_one_role_the_text_in_pieces_and_one_end(endpoint: Endpoint) -> None:
    chunks = list(endpoint.openai.chat.completions.create(model="moa", messages=HI, stream=True))
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant", None, None, None, None]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "agg", " says:", " Hi", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, None, "stop"]
    assert {(chunk.id, chunk.model, chunk.object) for chunk in chunks} == {(chunks[0].id, "moa", "chat.completion.chunk")}
    assert chunks[-1].model_dump()["moa"]["calls"] == 3


def test_the_wire_of_a_stream(endpoint: Endpoint) -> None:
    body = {"model": "moa", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    answer = endpoint.http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, done, empty = answer.text.split("\n\n")
    assert (done, empty) == ("data: [DONE]", "")
    assert all(event.startswith("data: {") for event in events)
    *pieces, last = [json.loads(event.removeprefix("data: ")) for event in events]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0
    assert [piece["usage"] for piece in pieces] == [None] * len(pieces)
    plain = endpoint.http.post("/v1/chat/completions", json={**body, "stream_options": None})
    assert '"usage":null' not in plain.text


def test_tokens_that_were_not_all_counted_are_no_usage(loopback: Loopback) -> None:
    with served(mixture(loopback, aggregator=loopback.chat("agg", stream_usage=False))) as endpoint:
        create = endpoint.openai.chat.completions.create
        *_, last = create(model="moa", messages=HI, stream=True, stream_options={"include_usage": True})
        # Clients would take the number for the total; `moa` has what was counted.
        assert last.usage is None
        moa = last.model_dump()["moa"]
        assert moa["uncounted"] == 1
        assert moa["layers"][0][0]["usage"]["total_tokens"] > 0
        model = ChatOpenAI(model="moa", base_url=endpoint.url, api_key=SecretStr("none"), stream_usage=True)
        *_, end = model.stream("Hi")
        assert end.usage_metadata is None
        assert create(model="moa", messages=HI).usage is not None


async def test_the_asynchronous_client(endpoint: Endpoint) -> None:
    async with endpoint.aopenai() as client:
        answer = await client.chat.completions.create(model="moa", messages=HI)
        assert answer.choices[0].message.content == "agg says: Hi"
        stream = await client.chat.completions.create(model="moa", messages=HI, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "agg says: Hi"


def test_tool_calls_and_what_came_of_them(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", able)
    messages: Any = [{"role": "user", "content": "The weather in Rome?"}]
    first = endpoint.openai.chat.completions.create(model="moa", messages=messages, tools=[WEATHER])
    assert first.choices[0].finish_reason == "tool_calls"
    assert first.choices[0].message.content is None
    call = called(first)[0]
    assert set(json.loads(call.function.arguments)) == {"city"}
    assert loopback.calls("agg")[0].body["tools"] == [WEATHER]
    assert loopback.calls("p")[0].tools == []
    messages += [first.choices[0].message.model_dump(exclude_none=True)]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    second = endpoint.openai.chat.completions.create(model="moa", messages=messages, tools=[WEATHER])
    assert second.choices[0].message.content == "agg found: sunny"
    sent = loopback.calls("agg")[1].messages
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool"]
    assert sent[2]["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": call.function.arguments}
    assert sent[3]["tool_call_id"] == call.id


def test_parallel_tool_calls_in_a_stream(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", Reply(None, tool_calls=[ToolCall("get_weather", {"city": "Rome"}), ToolCall("get_weather", "{bad")]))
    with endpoint.openai.chat.completions.stream(model="moa", messages=HI, tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        snapshot = stream.current_completion_snapshot
    calls = called(snapshot)
    assert [call.function.arguments for call in calls] == ['{"city": "Rome"}', "{bad"]
    assert len({call.id for call in calls}) == 2
    assert snapshot.choices[0].finish_reason == "tool_calls"
    # Text that is not JSON is passed on unchanged, as from a model.
    whole = endpoint.openai.chat.completions.create(model="moa", messages=HI, tools=[WEATHER])
    assert [call.function.arguments for call in called(whole)] == ['{"city": "Rome"}', "{bad"]


@pytest.mark.parametrize("choice", ["none", "required", {"type": "function", "function": {"name": "get_weather"}}])
def test_tool_choice_is_passed_to_the_aggregator(endpoint: Endpoint, loopback: Loopback, choice: Any) -> None:
    endpoint.openai.chat.completions.create(
        model="moa", messages=HI, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False
    )
    (sent,) = loopback.calls("agg")
    assert sent.body["tool_choice"] == choice
    assert sent.body["parallel_tool_calls"] is False
    assert "tool_choice" not in loopback.calls("p")[0].body


def test_an_answer_in_a_schema(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", able)
    ann: Any = [{"role": "user", "content": "Ann is 41"}]
    parsed = endpoint.openai.chat.completions.parse(model="moa", messages=ann, response_format=Person)
    assert isinstance(parsed.choices[0].message.parsed, Person)
    assert parsed.choices[0].message.parsed.age == 41
    sent = loopback.calls("agg")[0].body["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["strict"] is True
    with endpoint.openai.chat.completions.stream(model="moa", messages=ann, response_format=Person) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Person)
    assert "response_format" not in loopback.calls("p")[0].body


def test_any_json(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", able)
    ask: Any = [{"role": "user", "content": "JSON with 'colour'"}]
    answer = endpoint.openai.chat.completions.create(model="moa", messages=ask, response_format={"type": "json_object"})
    assert "colour" in json.loads(answer.choices[0].message.content or "")
    assert loopback.calls("agg")[0].body["response_format"] == {"type": "json_object"}


def test_a_refusal(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", Reply("I had rather not.", refusal="I had rather not."))
    # For a mixture, a refusal is not an answer either, unless the aggregator also writes text.
    answer = endpoint.openai.chat.completions.create(model="moa", messages=HI)
    assert answer.choices[0].message.refusal == "I had rather not."


def test_parameters_reach_every_call(endpoint: Endpoint, loopback: Loopback) -> None:
    endpoint.openai.chat.completions.create(
        model="moa", messages=HI, temperature=0.25, top_p=0.5, seed=7, stop=["END"], max_completion_tokens=99, user="me"
    )
    for request in loopback.requests:
        said = {name: request.body.get(name) for name in ("temperature", "top_p", "seed", "stop", "max_completion_tokens")}
        assert said == {"temperature": 0.25, "top_p": 0.5, "seed": 7, "stop": ["END"], "max_completion_tokens": 99}
        assert "user" not in request.body


def test_a_token_limit_cuts_the_answer(endpoint: Endpoint) -> None:
    answer = endpoint.openai.chat.completions.create(model="moa", messages=HI, max_tokens=2)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("agg says:", "length")


def test_roles_names_and_pictures(endpoint: Endpoint, loopback: Loopback) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(b'x').decode()}"}}
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]},
    ]
    answer = endpoint.openai.chat.completions.create(model="moa", messages=messages)
    assert answer.choices[0].message.content == "agg says: What is it?"
    for request in loopback.requests:
        assert request.roles == ["system", "user", "assistant", "user"]
        assert request.system.startswith("Be brief.")
        assert request.messages[1]["name"] == "ann"
        assert request.messages[3]["content"][1] == picture


def test_the_models(loopback: Loopback) -> None:
    with served({"fast": mixture(loopback), "team/careful": mixture(loopback)}) as endpoint:
        models = endpoint.openai.models.list().data
        assert [(model.id, model.object) for model in models] == [("fast", "model"), ("team/careful", "model")]
        assert endpoint.openai.models.retrieve("team/careful").id == "team/careful"
        with pytest.raises(openai.NotFoundError) as caught:
            endpoint.openai.models.retrieve("slow")
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            endpoint.openai.chat.completions.create(model="slow", messages=HI)
    assert loopback.requests == []


def test_an_agents_steps_share_their_references(loopback: Loopback) -> None:
    loopback.script("agg", able)
    with served(mixture(loopback, references_per="turn")) as endpoint:
        messages: Any = [{"role": "user", "content": "The weather in Rome?"}]
        first = endpoint.openai.chat.completions.create(model="moa", messages=messages, tools=[WEATHER])
        call = called(first)[0]
        messages += [first.choices[0].message.model_dump(exclude_none=True)]
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        endpoint.openai.chat.completions.create(model="moa", messages=messages, tools=[WEATHER])
    assert sorted(loopback.models) == ["agg", "agg", "p", "q"]


def test_an_agents_steps_share_the_references_of_a_retry(loopback: Loopback) -> None:
    loopback.script("agg", [Reply(status=500), Reply(None, tool_calls=[ToolCall("get_weather", {"city": "Rome"})]), "sunny"])
    with served(mixture(loopback, references_per="turn")) as endpoint:
        messages: Any = [{"role": "user", "content": "The weather in Rome?"}]
        ask: dict[str, Any] = {"model": "moa", "messages": messages, "tools": [WEATHER]}
        with pytest.raises(openai.InternalServerError):
            endpoint.openai.chat.completions.create(**ask)
        first = endpoint.openai.chat.completions.create(**ask)
        messages += [first.choices[0].message.model_dump(exclude_none=True)]
        messages += [{"role": "tool", "tool_call_id": called(first)[0].id, "content": "sunny"}]
        endpoint.openai.chat.completions.create(**ask)
    assert sorted(loopback.models) == ["agg", "agg", "agg", "p", "q"]


STRICT_FORM: Any = {
    "type": "json_schema",
    "json_schema": {"name": "person", "schema": Person.model_json_schema(), "strict": True},
}


@pytest.mark.parametrize("stream", [False, True])
def test_arguments_of_a_call_without_any_are_json(endpoint: Endpoint, loopback: Loopback, stream: bool) -> None:
    loopback.script("agg", Reply(None, tool_calls=[ToolCall("get_weather", ""), ToolCall("get_weather", '{"city": "Rome"}')]))
    ask: dict[str, Any] = {"model": "moa", "messages": HI, "tools": [WEATHER]}
    if stream:
        with endpoint.openai.chat.completions.stream(**ask) as events:
            completion: Any = events.get_final_completion()
    else:
        completion = endpoint.openai.chat.completions.create(**ask)
    assert [call.function.arguments for call in called(completion)] == ["{}", '{"city": "Rome"}']
    tool = {"type": "function", **WEATHER["function"]}
    asked: dict[str, Any] = {"model": "moa", "input": "Hi", "tools": [tool]}
    if stream:
        *_, last = endpoint.openai.responses.create(**asked, stream=True)
        response: Any = last.response
    else:
        response = endpoint.openai.responses.create(**asked)
    assert [item.arguments for item in response.output] == ["{}", '{"city": "Rome"}']


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_a_schema_in_one_request(endpoint: Endpoint, loopback: Loopback, stream: bool) -> None:
    loopback.script("agg", [Reply(None, tool_calls=[ToolCall("get_weather", {"city": "Rome"})]), '{"name": "Ann", "age": 41}'])
    ask: dict[str, Any] = {"model": "moa", "messages": HI, "tools": [WEATHER], "response_format": STRICT_FORM}

    def message() -> Any:
        if not stream:
            return endpoint.openai.chat.completions.create(**ask).choices[0].message
        with endpoint.openai.chat.completions.stream(**ask) as events:
            for _ in events:
                pass
            return events.current_completion_snapshot.choices[0].message

    assert [call.function.name for call in message().tool_calls] == ["get_weather"]
    assert json.loads(message().content) == {"name": "Ann", "age": 41}
    assert loopback.calls("agg")[0].body["response_format"] == STRICT_FORM
    assert loopback.calls("agg")[0].tools == ["get_weather"]


def test_a_cut_answer_in_a_schema_is_returned_unchanged(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", Reply('{"name": "An', finish_reason="length"))
    answer = endpoint.openai.chat.completions.create(model="moa", messages=HI, response_format=STRICT_FORM)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ('{"name": "An', "length")


def test_parameters_of_other_servers_are_ignored_and_named(endpoint: Endpoint, loopback: Loopback) -> None:
    more = {
        "top_k": 5,
        "min_p": 0.1,
        "chat_template_kwargs": {"enable_thinking": False},
        "options": {"num_ctx": 9},
        "n": 1.0,
        "max_tokens": -1,
        "max_completion_tokens": 50,
        "stream_options": {"include_usage": True},
        "reasoning": {"effort": "low"},
        "bad\r\nname": 1,
    }
    messages = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes?"}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": None},
    ]
    answer = endpoint.http.post("/v1/chat/completions", json={"model": "moa", "messages": messages, **more})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-moa-ignored"] == "min_p, chat_template_kwargs, options, bad??name"
    sent = loopback.calls("agg")[0]
    assert sent.body["max_completion_tokens"] == 50
    assert sent.body["reasoning_effort"] == "low"
    assert [request.body["top_k"] for request in loopback.requests] == [5, 5, 5]
    assert "thinking" not in json.dumps(sent.messages)
    assert sent.messages[1]["content"] == "Hi"


def test_strict_refuses_unknown_parameters(loopback: Loopback) -> None:
    with served(mixture(loopback), strict=True) as endpoint, pytest.raises(openai.BadRequestError) as caught:
        endpoint.openai.chat.completions.create(model="moa", messages=HI, extra_body={"min_p": 0.1})
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", "min_p")
    assert loopback.requests == []


def test_progress_as_reasoning(loopback: Loopback) -> None:
    gate = loopback.gate()
    loopback.script("p", Reply("p", gate=gate))
    loopback.script("q", Reply("no", status=400))
    with served(mixture(loopback, max_retries=0)) as endpoint:
        stream = endpoint.openai.chat.completions.create(
            model="moa", messages=HI, stream=True, extra_headers={"x-moa-progress": "reasoning"}
        )
        said = []
        for chunk in stream:
            delta = chunk.choices[0].delta.model_dump()
            said.append(delta.get("reasoning_content") or "")
            if "asking 2 models, layer 1 of 1" in said[-1]:
                gate.open()
        lines = "".join(said).splitlines()
        plain = endpoint.openai.chat.completions.create(model="moa", messages=HI, stream=True)
        assert not any("reasoning_content" in chunk.choices[0].delta.model_dump() for chunk in plain)
    assert lines[0] == "asking 2 models, layer 1 of 1"
    assert {line.rpartition(",")[0] for line in lines[1:3]} == {
        "openai:p: done",
        "openai:q: failed (OpenAIInvalidRequestError)",
    }
    assert lines[3] == "openai:agg writes the answer"


def test_progress_tells_late_members_from_failed_ones(loopback: Loopback) -> None:
    loopback.script("q", Reply("too late", hang=True))
    with served(mixture(loopback, quorum=1), progress="reasoning") as endpoint:
        body = {"model": "moa", "messages": HI, "stream": True}
        text = endpoint.http.post("/v1/chat/completions", json=body).text
    assert "openai:q: late (quorum), " in text


def test_progress_without_breakdown_hides_the_members(loopback: Loopback) -> None:
    with served(mixture(loopback), progress="reasoning", breakdown=False) as endpoint:
        body = {"model": "moa", "messages": HI, "stream": True}
        text = endpoint.http.post("/v1/chat/completions", json=body).text
    assert "model 1: done" in text
    assert "openai:" not in text


def test_the_aggregator_alone_for_small_tasks(loopback: Loopback) -> None:
    small = loopback.chat("small")
    with served({"fast": mixture(loopback)}, task_models={"fast": small}) as endpoint:
        client = endpoint.openai
        assert [model.id for model in client.models.list().data] == ["fast"]
        listed = client.models.list(extra_query={"aliases": "1"}).data
        assert {model.id for model in listed} == {"fast", "fast#aggregator", "fast#task"}
        for name, model in {"fast#aggregator": "agg", "fast#task": "small"}.items():
            loopback.reset()
            answer = client.chat.completions.create(model=name, messages=HI)
            assert answer.choices[0].message.content == f"{model} says: Hi"
            assert loopback.models == [model]
            assert loopback.requests[0].messages == HI
            assert answer.model_dump()["moa"]["calls"] == 1
            stream = client.chat.completions.create(model=name, messages=HI, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == f"{model} says: Hi"


def test_the_aggregator_alone_is_retried_as_in_the_mixture(loopback: Loopback) -> None:
    loopback.script("agg", [Reply("our fault", status=500), "at last"])
    with served({"fast": mixture(loopback, retry={"initial": 0})}) as endpoint:
        answer = endpoint.openai.chat.completions.create(model="fast#aggregator", messages=HI)
    assert answer.choices[0].message.content == "at last"
    assert loopback.models == ["agg", "agg"]


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:1/latest/meta-data",
        "https://pictures.example.evil.org/a.png",
        "https://evilpictures.example/a.png",
        "https://pictures.example@evil.org/a.png",
        "https://pictures.example:8443/a.png",
        "http://pictures.example/a.png",
        "file:///etc/passwd",
        "gs://bucket/file",
        "//pictures.example/a.png",
        "https://[::1",
    ],
)
def test_links_outside_allowed_domains_are_refused(loopback: Loopback, link: str) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": link}}]}]
    with served(mixture(loopback), link_domains=["pictures.example"]) as endpoint:
        with pytest.raises(openai.BadRequestError) as caught:
            endpoint.openai.chat.completions.create(model="moa", messages=messages)
        assert (caught.value.code, caught.value.param) == ("link_not_allowed", "messages[0].content[0].image_url.url")
        assert loopback.requests == []
        for good in ("https://pictures.example/a.png", "https://eu.Pictures.Example/b.png"):
            messages[0]["content"][0]["image_url"]["url"] = good
            endpoint.openai.chat.completions.create(model="moa", messages=messages)
        assert loopback.calls("agg")[-1].messages[-1]["content"][0]["image_url"]["url"] == good
