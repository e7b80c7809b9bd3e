"""API keys, limits, and many clients at once."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import openai
import pytest

from langchain_moa.serving import server
from tests.integration_tests.serving.served import mixture, served
from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.loopback import Loopback

HI: Any = [{"role": "user", "content": "Hi"}]
ANN, BOB = "key-of-ann-0123456789", "key-of-bob-0123456789"


def test_requests_without_a_valid_key_are_refused(loopback: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    with served(mixture(loopback), api_keys=[ANN, BOB]) as endpoint, caplog.at_level(logging.DEBUG, "langchain_moa"):
        for key in (ANN, BOB):
            client = endpoint.openai.with_options(api_key=key)
            assert client.chat.completions.create(model="moa", messages=HI).choices[0].message.content == "agg says: Hi"
        loopback.reset()
        for wrong in ("key-of-eve-0123456789", ANN[:-1], f"{ANN}0"):
            with pytest.raises(openai.AuthenticationError) as caught:
                endpoint.openai.with_options(api_key=wrong).chat.completions.create(model="moa", messages=HI)
            assert caught.value.code == "invalid_api_key"
            assert caught.value.response.headers["www-authenticate"] == "Bearer"
            assert wrong not in caught.value.response.text
        for headers in ({}, {"authorization": ANN}, {"authorization": f"Basic {ANN}"}, {"authorization": "Bearer"}):
            assert endpoint.http.get("/v1/models", headers=headers).status_code == 401
        assert endpoint.http.get("/health").json() == {"status": "ok"}
    assert loopback.requests == []
    assert ANN not in caplog.text


def test_too_many_requests_get_a_429_with_retry_after(loopback: Loopback) -> None:
    gate = loopback.gate()
    loopback.script("agg", Reply("there", gate=gate))
    with served(mixture(loopback), max_requests=1) as endpoint:
        first: list[Any] = []
        asking = threading.Thread(
            target=lambda: first.append(endpoint.openai.chat.completions.create(model="moa", messages=HI))
        )
        asking.start()
        loopback.wait_for(1, "agg")
        with pytest.raises(openai.RateLimitError) as caught:
            endpoint.openai.chat.completions.create(model="moa", messages=HI)
        assert caught.value.code == "too_many_requests"
        assert "1 answer is in progress" in caught.value.message
        assert caught.value.response.headers["retry-after"] == "1"
        assert endpoint.openai.models.list().data  # what costs nothing is not counted
        gate.open()
        asking.join()
        assert first[0].choices[0].message.content == "there"
        assert endpoint.openai.chat.completions.create(model="moa", messages=HI).choices[0].message.content == "there"


def test_the_body_size_is_limited_with_and_without_content_length(loopback: Loopback) -> None:
    body = b'{"model": "moa", "messages": [{"role": "user", "content": "' + b"x" * 2000 + b'"}]}'
    with served(mixture(loopback), max_body_bytes=1000) as endpoint:
        for content in (body, (body[i : i + 100] for i in range(0, len(body), 100))):
            answer = endpoint.http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "request_too_large"
    assert loopback.requests == []


async def test_two_hundred_at_once_each_get_their_own_answer(loopback: Loopback) -> None:
    with served(mixture(loopback, proposers=[loopback.chat("p")]), max_requests=200) as endpoint:
        async with endpoint.aopenai() as client:

            async def ask(number: int) -> str:
                messages: Any = [{"role": "user", "content": f"number {number}"}]
                if number % 2:
                    answer = await client.chat.completions.create(model="moa", messages=messages)
                    return answer.choices[0].message.content or ""
                stream = await client.chat.completions.create(model="moa", messages=messages, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            answers = await asyncio.gather(*(ask(number) for number in range(200)))
    assert answers == [f"agg says: number {number}" for number in range(200)]
    assert len(loopback.requests) == 400


def test_the_log_has_no_questions_answers_or_query_strings(loopback: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    # A request is logged after its answer. All lines are written when the server has stopped.
    with caplog.at_level(logging.INFO, "langchain_moa.serving"), served(mixture(loopback)) as endpoint:
        body = {"model": "moa", "messages": [{"role": "user", "content": "my question"}]}
        endpoint.http.post("/v1/chat/completions?api_key=abc", json=body)
        endpoint.http.get("/v1/%0Aforged line")
    assert "question" not in caplog.text
    assert "says" not in caplog.text
    assert "abc" not in caplog.text
    assert r"GET /v1/\nforged line 404" in caplog.text


def test_client_and_log_have_the_same_request_id(loopback: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    loopback.script("agg", ["there", "in pieces", Reply("no", status=400)])
    with caplog.at_level(logging.INFO, "langchain_moa.serving"), served(mixture(loopback)) as endpoint:
        create = endpoint.openai.chat.completions.create
        whole = create(model="moa", messages=HI)
        stream = create(model="moa", messages=HI, stream=True)
        list(stream)
        with pytest.raises(openai.BadRequestError) as caught:
            create(model="moa", messages=HI)
    ids = [whole._request_id, stream.response.headers["x-request-id"], caught.value.request_id]
    lines = [record.getMessage() for record in caplog.records if "POST" in record.getMessage()]
    assert [line.split()[-1] for line in lines] == ids
    assert len(set(ids)) == 3


def test_small_pieces_are_sent_at_once() -> None:
    with server.listen("127.0.0.1", 0) as listener:
        # Only then does asyncio turn off what would hold each of them back.
        assert listener.proto == socket.IPPROTO_TCP
        assert server.is_loopback(listener)
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1, port {port}: .*; give another --host or --port"):
            server.listen("127.0.0.1", port)
    with pytest.raises(OSError, match=r"cannot listen at no-such-host\.invalid"):
        server.listen("no-such-host.invalid", 0)
