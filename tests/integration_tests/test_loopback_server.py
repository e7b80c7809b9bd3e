"""The loopback server: what it sends, and what it records."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import httpx
import openai
import pytest
from pytest_socket import SocketBlockedError, disable_socket

from tests.loopback import Loopback, Reply, ToolCall, Usage
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from langchain_core.messages import AIMessageChunk
    from langchain_openai import ChatOpenAI

    from tests.loopback.fixtures import Chat

USAGE = Usage(prompt=30, completion=20, cached=10, reasoning=5)


def post(server: Loopback, **body: Any) -> httpx.Response:
    asked = {"model": "a", "messages": [{"role": "user", "content": "Hi"}], **body}
    return httpx.post(f"{server.url}/chat/completions", json=asked, trust_env=False, timeout=PATIENCE)


def collect(stream: Iterator[AIMessageChunk], into: list[str]) -> None:
    for chunk in stream:
        into.append(chunk.text)  # noqa: PERF401 - a comprehension would lose those before an error


def streamed(model: ChatOpenAI) -> tuple[list[str], AIMessageChunk]:
    chunks = list(model.stream("Hi"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return [chunk.text for chunk in chunks if chunk.text], whole


def test_unscripted_model_echoes_and_every_request_is_recorded(loopback: Loopback, chat: Chat) -> None:
    assert chat("a", temperature=0.7).invoke([("system", "Be brief."), ("user", "Hi")]).text == "a says: Hi"
    assert chat("b").invoke("Bye").text == "b says: Bye"
    first, second = loopback.requests
    assert (first.model, first.system, first.user, first.stream) == ("a", "Be brief.", "Hi", False)
    assert first.roles == ["system", "user"]
    assert first.body["temperature"] == 0.7
    assert first.headers["authorization"] == "Bearer test"
    assert "Bearer" not in repr(first)
    assert first.finished is not None
    assert first.arrived <= first.finished <= second.arrived
    assert first.connection == second.connection
    assert loopback.calls("b") == [second]
    assert loopback.models == ["a", "b"]
    assert loopback.system(0) == "Be brief."
    loopback.reset()
    assert loopback.requests == []


async def test_behaviours(loopback: Loopback, chat: Chat) -> None:
    async def later(body: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        return f"{len(body['messages'])} messages"

    loopback.script("list", ["one", Reply("two")])
    loopback.script("function", lambda body: Reply(body["messages"][-1]["content"].upper()))
    loopback.script("async", later)
    loopback.script("*", "anyone")
    assert [(await chat("list").ainvoke("?")).text for _ in range(3)] == ["one", "two", "two"]
    assert (await chat("function").ainvoke("shout")).text == "SHOUT"
    assert (await chat("async").ainvoke([("user", "1"), ("user", "2")])).text == "2 messages"
    assert (await chat("other").ainvoke("?")).text == "anyone"
    loopback.reset(scripts=True)
    assert (await chat("list").ainvoke("?")).text == "list says: ?"
    with pytest.raises(ValueError, match="at least one"):
        loopback.script("a", [])


@pytest.mark.parametrize(
    ("chunks", "pieces"),
    [
        (None, ["one", " two", "  three", "\n"]),
        (5, ["one t", "wo  t", "hree\n"]),
        (["one two  ", "three\n"], ["one two  ", "three\n"]),
    ],
)
def test_stream(loopback: Loopback, chat: Chat, chunks: Any, pieces: list[str]) -> None:
    text = "one two  three\n"
    loopback.script("a", Reply(text, chunks=chunks, usage=USAGE))
    got, whole = streamed(chat())
    assert got == pieces
    answer = chat().invoke("Hi")
    assert answer.text == whole.text == text
    for name in ("model_name", "finish_reason", "system_fingerprint"):
        assert whole.response_metadata[name] == answer.response_metadata[name]
    assert whole.response_metadata["model_name"] == "a"
    assert whole.usage_metadata == answer.usage_metadata
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_token_details"]["reasoning"] == 5
    assert answer.usage_metadata["input_token_details"]["cache_read"] == 10
    assert [request.stream for request in loopback.requests] == [True, False]
    assert streamed(chat(stream_usage=False))[1].usage_metadata is None
    loopback.script("a", Reply(text, usage=None))
    assert streamed(chat())[1].usage_metadata is None


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("settings", "cut"),
    [
        ({"stop": ["three"]}, ("one two ", "stop")),
        ({"max_tokens": 2}, ("one two", "length")),
        ({"max_tokens": 3}, ("one two three", "stop")),
    ],
)
def test_stop_and_token_limit(
    loopback: Loopback, chat: Chat, settings: dict[str, Any], cut: tuple[str, str], *, streaming: bool
) -> None:
    loopback.script("a", "one two three")
    answer = chat(streaming=streaming, **settings).invoke("a b c d")
    assert (answer.text, answer.response_metadata["finish_reason"]) == cut
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] == 4
    assert answer.usage_metadata["output_tokens"] == len(cut[0].split())


@pytest.mark.parametrize("streaming", [False, True])
def test_errors_are_openai_s(loopback: Loopback, chat: Chat, *, streaming: bool) -> None:
    loopback.script("limited", Reply("slow down", status=429, headers={"retry-after": "7"}))
    loopback.script("long", Reply("too long", status=400, code="context_length_exceeded"))
    loopback.script("broken", Reply(status=503))
    with pytest.raises(openai.RateLimitError, match="slow down") as limited:
        chat("limited", streaming=streaming).invoke("Hi")
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.BadRequestError) as long:
        chat("long", streaming=streaming).invoke("Hi")
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.InternalServerError):
        chat("broken", streaming=streaming).invoke("Hi")
    loopback.script("broken", [Reply(status=500), "fine"])
    assert chat("broken", streaming=streaming, max_retries=1).invoke("Hi").text == "fine"


def test_answers_that_break(loopback: Loopback, chat: Chat) -> None:
    text = "one two three four"
    pieces: list[str] = []
    loopback.script("a", Reply(text, drop=True))
    with pytest.raises(openai.APIConnectionError):
        chat().invoke("Hi")
    with pytest.raises(openai.APIConnectionError):
        collect(chat().stream("Hi"), pieces)
    assert "".join(pieces) == "one two"
    loopback.script("a", Reply(text, drop=True, after_chunks=0))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        post(loopback)
    loopback.script("a", Reply("overloaded", chunks=1, status=500, after_chunks=4))
    pieces.clear()
    with pytest.raises(openai.APIError, match="overloaded"):
        collect(chat().stream("Hi"), pieces)
    assert "".join(pieces) == "over"
    loopback.script("a", Reply(malformed=True))
    with pytest.raises(json.JSONDecodeError):
        chat().invoke("Hi")
    with pytest.raises(json.JSONDecodeError):
        streamed(chat())
    loopback.script("a", Reply(no_choices=True))
    assert post(loopback).json()["choices"] == []
    assert post(loopback, stream=True).text.count("data: ") == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_tool_calls_refusals_reasoning(loopback: Loopback, chat: Chat, *, streaming: bool) -> None:
    calls = [ToolCall("f", {"a": "äöü"}), ToolCall("g", "not JSON", id="mine")]
    loopback.script("a", [Reply(tool_calls=calls), Reply(None, refusal="No."), Reply(reasoning_content="Hm")])
    answer = chat(streaming=streaming).invoke("Hi")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("f", {"a": "äöü"})]
    assert [(call["id"], call["args"]) for call in answer.invalid_tool_calls] == [("mine", "not JSON")]
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    assert '"refusal":"No."' in post(loopback, stream=streaming).text
    assert '"reasoning_content":"Hm"' in post(loopback, stream=streaming).text


def test_client_that_goes_is_recorded(loopback: Loopback, chat: Chat) -> None:
    loopback.script("a", Reply("one two three", hang=True, after_chunks=1))
    stream = cast("Generator[AIMessageChunk]", chat().stream("Hi"))
    assert "one" in (str(chunk.text) for chunk in stream)
    stream.close()
    with pytest.raises(openai.APITimeoutError):
        chat(timeout=0.05).invoke("Hi")
    for request in loopback.settle():
        assert request.disconnected
        assert request.finished is None


def test_server_stops_with_calls_open() -> None:
    with ThreadPoolExecutor() as pool:
        with Loopback() as server:
            server.script("a", Reply(hang=True))
            answer = pool.submit(server.chat("a").invoke, "Hi")
            server.wait_for(1)
        assert isinstance(answer.exception(), openai.APIConnectionError)
    assert not server.requests[0].disconnected


def test_held_answers(loopback: Loopback, chat: Chat) -> None:
    gate = loopback.gate()
    loopback.script("gated", Reply("gated", gate=gate))
    loopback.script("late", Reply("late", after="gated"))
    loopback.script("trio", Reply("trio", together=3))
    with ThreadPoolExecutor() as pool:
        late, gated = (pool.submit(chat(name).invoke, "Hi") for name in ("late", "gated"))
        loopback.wait_for(2)
        assert [request.finished for request in loopback.requests] == [None, None]
        gate.open()
        assert (late.result().text, gated.result().text) == ("late", "gated")
        first, last = loopback.calls("gated")[0].finished, loopback.calls("late")[0].finished
        assert first is not None
        assert last is not None
        assert first <= last
        loopback.reset()
        trio = [pool.submit(chat("trio").invoke, "Hi") for _ in range(3)]
        assert [answer.result().text for answer in trio] == ["trio"] * 3
    assert loopback.peak == 3


async def test_hundreds_of_connections_at_once(loopback: Loopback, chat: Chat) -> None:
    loopback.script("a", Reply("ok", together=300))
    model = chat()
    answers = await asyncio.gather(*(model.ainvoke(str(i)) for i in range(300)))
    assert {answer.text for answer in answers} == {"ok"}
    assert {request.user for request in loopback.requests} == {str(i) for i in range(300)}
    assert len({request.connection for request in loopback.requests}) == loopback.peak == 300


def test_failing_script_fails_the_test() -> None:
    def script(body: dict[str, Any]) -> str:
        assert body["model"] == "b", "not b"
        return "never"

    server = Loopback().__enter__()
    server.script("a", script)
    with pytest.raises(openai.APIConnectionError):
        server.chat("a").invoke("Hi")
    with pytest.raises(AssertionError, match="not b"):
        server.__exit__(None, None, None)


def test_http(loopback: Loopback) -> None:
    loopback.script("scripted", "Hi")
    models = openai.OpenAI(**{k: loopback.settings()[k] for k in ("base_url", "api_key", "http_client")}).models
    assert [model.id for model in models.list()] == ["scripted"]
    assert httpx.get(f"{loopback.url}/nothing", trust_env=False, timeout=PATIENCE).status_code == 404
    assert httpx.post(f"{loopback.url}/chat/completions", content="{", trust_env=False, timeout=PATIENCE).status_code == 400
    assert post(loopback, model=None).json()["error"]["type"] == "invalid_request_error"
    body = b'{"model": "a", "messages": []}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    closing = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", int(loopback.url.split(":")[2][:-3]))) as wire:
        for byte in request[:80]:
            wire.send(bytes([byte]))
        wire.sendall(request[80:] + request + closing)
        assert wire.makefile("rb").read().count(b"a says: ") == 3
    assert [r.connection for r in loopback.requests] == [loopback.requests[0].connection] * 3


def test_forbidden_sockets_are_an_error() -> None:
    disable_socket()
    with pytest.warns(UserWarning, match="socket"), pytest.raises(SocketBlockedError):
        Loopback().__enter__()
