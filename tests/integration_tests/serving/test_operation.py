"""Operation: metrics, the log, shutdown, and clients that hold connections."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import openai
import pytest
from langchain_core.runnables import RunnableLambda

from langchain_moa.serving.app import make_app
from tests.integration_tests.serving.served import mixture, served, served_app
from tests.loopback import Reply
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.integration_tests.serving.served import Endpoint
    from tests.loopback import Loopback

HI: Any = [{"role": "user", "content": "Hi"}]
ANN, BOB = "key-of-ann-0123456789", "key-of-bob-0123456789"


def test_metrics_for_prometheus(loopback: Loopback) -> None:
    loopback.script("q", Reply("no", status=400))
    with served({"fast": mixture(loopback, max_retries=0)}, api_keys=[f"ann: {ANN}"]) as endpoint:
        headers = {"authorization": f"Bearer {ANN}"}
        endpoint.openai.with_options(api_key=ANN).chat.completions.create(model="fast", messages=HI)
        loopback.script("agg", Reply("no", status=500))
        with pytest.raises(openai.InternalServerError):
            endpoint.openai.with_options(api_key=ANN).chat.completions.create(model="fast", messages=HI)
        assert endpoint.http.get("/metrics").status_code == 401
        page = endpoint.http.get("/metrics", headers=headers).text
    lines = set(page.splitlines())
    assert 'moa_requests_total{key="ann",mixture="fast",status="200"} 1.0' in lines
    assert 'moa_requests_total{key="ann",mixture="fast",status="502"} 1.0' in lines
    assert 'moa_request_seconds_count{key="ann",mixture="fast"} 2.0' in lines
    assert 'moa_calls_total{key="ann",member="openai:p",mixture="fast",status="ok"} 2.0' in lines
    assert 'moa_failures_total{key="ann",kind="OpenAIInvalidRequestError",member="openai:q",mixture="fast"} 2.0' in lines
    assert any(line.startswith('moa_tokens_total{key="ann",kind="input",member="openai:agg"') for line in lines)
    assert ANN not in page


def test_a_log_line_for_each_answer(loopback: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "langchain_moa.serving"),
        served({"fast": mixture(loopback)}, api_keys=[f"ann: {ANN}", BOB]) as endpoint,
    ):
        create = endpoint.openai.with_options(api_key=ANN).chat.completions.create
        create(model="fast", messages=HI, extra_body={"min_p": 0.1})
        list(create(model="fast", messages=HI, stream=True))
        endpoint.http.get("/v1/models", headers={"authorization": f"Bearer {BOB}"})
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("access")]
    assert len([line for line in lines if "key=ann model=fast calls=3 tokens=" in line]) == 2
    assert "ignored=min_p" in lines[0]
    assert "cost=unknown (0 of 3 calls priced)" in lines[0]
    assert "key=key-2" in lines[2]
    assert "model=" not in lines[2]


def test_answers_at_once_for_each_key(loopback: Loopback) -> None:
    gate = loopback.gate()
    loopback.script("agg", Reply("there", gate=gate))
    with served(mixture(loopback), api_keys=[f"ann: {ANN}", f"bob: {BOB}"], max_requests_per_key=1) as endpoint:
        ann, bob = (endpoint.openai.with_options(api_key=key) for key in (ANN, BOB))
        asking = threading.Thread(target=lambda: ann.chat.completions.create(model="moa", messages=HI))
        asking.start()
        loopback.wait_for(1, "agg")
        with pytest.raises(openai.RateLimitError) as caught:
            ann.chat.completions.create(model="moa", messages=HI)
        assert "the limit of this API key" in caught.value.message
        others = threading.Thread(target=lambda: bob.chat.completions.create(model="moa", messages=HI))
        others.start()
        loopback.wait_for(2, "agg")
        gate.open()
        asking.join()
        others.join()


def test_a_server_that_shuts_down_answers_503(loopback: Loopback) -> None:
    gate = loopback.gate()
    loopback.script("agg", Reply("there", gate=gate))
    app = make_app(mixture(loopback))
    with served_app(app) as endpoint:
        assert endpoint.http.get("/ready").json() == {"status": "ready"}
        first: list[Any] = []
        asking = threading.Thread(
            target=lambda: first.append(endpoint.openai.chat.completions.create(model="moa", messages=HI))
        )
        asking.start()
        loopback.wait_for(1, "agg")
        app.drain()
        for path, body in (("/v1/chat/completions", {"model": "moa", "messages": HI}), ("/v1/responses", {"model": "moa"})):
            answer = endpoint.http.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
            assert answer.headers["retry-after"] == "1"
        assert endpoint.http.get("/ready").status_code == 503
        assert endpoint.http.get("/health").status_code == 200
        gate.open()
        asking.join()
    assert first[0].choices[0].message.content == "there"


@pytest.mark.parametrize("stream", [False, True])
def test_answers_unfinished_after_the_grace_period_get_an_error(loopback: Loopback, stream: bool) -> None:
    loopback.script("agg", Reply("one two", hang=True, after_chunks=1))
    app = make_app(mixture(loopback))
    with served_app(app) as endpoint:
        caught: list[openai.APIError] = []

        def ask() -> None:
            with pytest.raises(openai.APIError) as error:
                list(endpoint.openai.chat.completions.create(model="moa", messages=HI, stream=stream))
            caught.append(error.value)

        asking = threading.Thread(target=ask)
        asking.start()
        loopback.wait_for(1, "agg")
        endpoint.http.get("/health")
        app.expire()
        asking.join()
    assert caught[0].code == "shutting_down"
    assert [request.model for request in loopback.settle() if request.disconnected] == ["agg"]


def connect(endpoint: Endpoint, sent: bytes = b"") -> socket.socket:
    port = int(endpoint.url.rpartition(":")[2].partition("/")[0])
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(sent)
    return connection


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nhost: localhost\r\n"])
def test_half_sent_headers_close_the_connection(loopback: Loopback, sent: bytes) -> None:
    with (
        served(mixture(loopback), header_timeout=0.2) as endpoint,
        connect(endpoint, sent) as connection,
        contextlib.suppress(ConnectionResetError),
    ):
        assert connection.recv(1) == b""


def test_a_half_sent_body_does_not_count_as_an_answer(loopback: Loopback) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
    )
    with (
        served(mixture(loopback), max_requests=1, read_timeout=0.5) as endpoint,
        connect(endpoint, head) as connection,
    ):
        answer = endpoint.openai.chat.completions.create(model="moa", messages=HI)
        assert answer.choices[0].message.content == "agg says: Hi"
        said = connection.recv(4096)
        assert said.startswith(b"HTTP/1.1 408")
        assert b"request_timeout" in said


def test_too_many_connections_get_a_503(loopback: Loopback) -> None:
    with served(mixture(loopback), max_connections=2) as endpoint:
        first, second = connect(endpoint), connect(endpoint)
        # Its request is read, too: otherwise the connection would be reset, and the answer with it.
        with connect(endpoint, b"POST /v1/chat/completions HTTP/1.1\r\n" + b"x" * 100_000) as third:
            said = b"".join(iter(lambda: third.recv(4096), b""))
        assert said.startswith(b"HTTP/1.1 503")
        assert b"too_many_connections" in said
        first.close()
        second.close()
        endpoint.http.get("/health")


def test_failures_to_accept_are_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio
    import errno

    from langchain_moa.serving.server import AcceptErrors

    async def fail() -> None:
        loop, handler = asyncio.get_running_loop(), AcceptErrors()
        for _ in range(1000):
            handler(loop, {"message": "socket.accept() out of system resource", "exception": OSError(errno.EMFILE, "Too many")})
        handler(loop, {"message": "another", "exception": ValueError("shown")})

    asyncio.run(fail())
    assert caplog.text.count("cannot accept connections: Too many; allow more open files") == 1
    assert "another" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_long_conversations_do_not_wait_for_each_other(loopback: Loopback, stream: bool) -> None:
    roles = itertools.cycle(["user", "assistant"])
    messages: Any = [{"role": next(roles), "content": f"number {number}"} for number in range(301)]
    gate = loopback.gate()
    loopback.script("agg", [Reply("there", gate=gate), Reply("there", gate=gate), Reply("no", status=400)])
    with served(mixture(loopback)) as endpoint:
        create = endpoint.openai.chat.completions.create

        def ask() -> str | None:
            if not stream:
                return create(model="moa", messages=messages).choices[0].message.content
            chunks = create(model="moa", messages=messages, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

        said: list[str | None] = []
        asking = [threading.Thread(target=lambda: said.append(ask())) for _ in range(2)]
        for thread in asking:
            thread.start()
        # Both wait for their aggregator, and others are answered.
        loopback.wait_for(2, "agg")
        assert endpoint.http.get("/health").status_code == 200
        gate.open()
        for thread in asking:
            thread.join()
        with pytest.raises(openai.APIError) as caught:
            ask()
    assert said == ["there", "there"]
    assert caught.value.code == "invalid_request"
    assert len(loopback.calls("agg")[0].messages) == 302


CALL: Any = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "messages",
    [
        HI * 300,
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}] * 300}],
        [*HI, {"role": "assistant", "tool_calls": [{**CALL, "id": str(number)} for number in range(300)]}, *HI],
    ],
)
def test_short_conversations_do_not_wait_for_long_ones(loopback: Loopback, messages: Any) -> None:
    computing, done = threading.Event(), threading.Event()

    async def compute(given: Any) -> str:
        if len(str(given)) > 1000:
            computing.set()
            done.wait(PATIENCE)  # as a provider's package that converts the messages
        return "computed"

    with served(mixture(loopback, proposers=[RunnableLambda(compute)])) as endpoint:
        create = endpoint.openai.chat.completions.create
        asking = threading.Thread(target=lambda: create(model="moa", messages=messages))
        asking.start()
        assert computing.wait(PATIENCE)
        try:
            answer = create(model="moa", messages=HI, timeout=PATIENCE / 2)
            assert str(answer.choices[0].message.content).startswith("agg says")
            assert asking.is_alive()
        finally:
            done.set()
            asking.join()


def test_health_is_answered_while_the_models_code_computes(loopback: Loopback) -> None:
    computing, done = threading.Event(), threading.Event()

    async def compute(_: Any) -> str:
        computing.set()
        done.wait(PATIENCE)  # async code that keeps its event loop
        return "computed"

    with served(mixture(loopback, proposers=[RunnableLambda(compute)])) as endpoint:
        said: list[Any] = []
        asking = threading.Thread(target=lambda: said.append(endpoint.openai.chat.completions.create(model="moa", messages=HI)))
        asking.start()
        computing.wait(PATIENCE)
        assert endpoint.http.get("/health").status_code == 200
        done.set()
        asking.join()
    assert said[0].choices[0].message.content == "agg says: Hi"
