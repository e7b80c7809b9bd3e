"""Failed answers: the status tells the kind of failure, the message which members failed and why."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import openai
import pytest

from langchain_moa.serving.mixtures import ProgressLine, ServedMixture
from tests.integration_tests.serving.served import mixture, served
from tests.loopback import Reply
from tests.time_limits import LIMITS
from tests.waiting import until

if TYPE_CHECKING:
    from tests.integration_tests.serving.served import Endpoint
    from tests.loopback import Loopback

HI: Any = [{"role": "user", "content": "Hi"}]

KEY = "sk-proj-abcdefghijklmnop123456"


def failing(endpoint: Endpoint) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        endpoint.openai.chat.completions.create(model="moa", messages=HI)
    body: Any = caught.value.body
    assert set(body) == {"message", "type", "param", "code"}
    return caught.value


def failing_stream(endpoint: Endpoint) -> openai.APIError:
    stream = endpoint.openai.chat.completions.create(model="moa", messages=HI, stream=True)
    assert stream.response.status_code == 200
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "status", "code", "again"),
    [
        (Reply("over", status=429, headers={"retry-after": "7"}), 429, "rate_limit_exceeded", "true"),
        (Reply("context_length_exceeded: too long", status=400), 400, "context_length_exceeded", "false"),
        (Reply("what?", status=400), 400, "invalid_request", "false"),
        (Reply(f"Incorrect API key: {KEY}", status=401), 403, "aggregator_failed", "false"),
        (Reply("gone", status=404), 403, "aggregator_failed", "false"),
        (Reply("no money", status=429, code="insufficient_quota"), 402, "insufficient_quota", "false"),
        (Reply("broken", status=500), 502, "aggregator_failed", "true"),
        (Reply(""), 502, "aggregator_failed", "false"),
    ],
)
def test_failures_of_the_aggregator(
    endpoint: Endpoint, loopback: Loopback, reply: Reply, status: int, code: str, again: str
) -> None:
    loopback.script("agg", reply)
    error = failing(endpoint)
    assert (error.status_code, error.code) == (status, code)
    assert "the aggregator openai:agg failed" in error.message
    assert KEY not in error.response.text
    assert error.response.headers["x-should-retry"] == again
    assert error.response.headers.get("retry-after") == ("7" if status == 429 else None)
    in_stream = failing_stream(endpoint)
    assert in_stream.code == code
    assert KEY not in str(in_stream.body)


@pytest.mark.parametrize(
    ("replies", "status", "code"),
    [
        ((Reply(status=500), Reply(status=401)), 502, "proposers_failed"),
        ((Reply(""), Reply("", refusal="no")), 403, "proposers_failed"),
        ((Reply(status=401), Reply(status=403)), 403, "proposers_failed"),
        ((Reply(status=429), Reply(status=429)), 429, "rate_limit_exceeded"),
        ((Reply(status=429), Reply(status=500)), 502, "proposers_failed"),
        ((Reply("context_length_exceeded: too long", status=400),) * 2, 400, "context_length_exceeded"),
    ],
)
def test_failures_of_the_proposers(
    endpoint: Endpoint, loopback: Loopback, replies: tuple[Reply, Reply], status: int, code: str
) -> None:
    loopback.script("p", replies[0])
    loopback.script("q", replies[1])
    error = failing(endpoint)
    assert (error.status_code, error.code) == (status, code)
    assert "proposer 1, openai:p" in error.message
    assert "proposer 2, openai:q" in error.message
    assert loopback.calls("agg") == []


def test_a_deadline_of_the_mixture(loopback: Loopback) -> None:
    loopback.script("*", Reply(hang=True))
    with served(mixture(loopback, deadline=0.2)) as endpoint:
        error = failing(endpoint)
    assert (error.status_code, error.code) == (504, "timeout")
    assert all(request.disconnected for request in loopback.settle())


@pytest.mark.parametrize("stream", [False, True])
def test_the_servers_timeout(loopback: Loopback, stream: bool) -> None:
    loopback.script("p", Reply(hang=True))
    with served(mixture(loopback), timeout=0.3) as endpoint:
        error = failing_stream(endpoint) if stream else failing(endpoint)
        assert all(request.disconnected for request in loopback.settle() if request.model == "p")
    assert error.code == "timeout"
    assert not isinstance(error, openai.APIStatusError) or error.status_code == 504
    assert "0.3 s" in error.message


def test_failure_in_the_middle_of_a_stream(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", Reply(f"The answer is {KEY} that", status=500, after_chunks=2))
    stream = endpoint.openai.chat.completions.create(model="moa", messages=HI, stream=True)
    got: list[str | None] = []
    with pytest.raises(openai.APIError) as caught:
        got.extend(chunk.choices[0].delta.content for chunk in stream)
    assert got == ["", "The", " answer"]
    assert caught.value.code == "aggregator_failed"
    assert KEY not in str(caught.value.body)
    body = {"model": "moa", "messages": HI, "stream": True}
    text = endpoint.http.post("/v1/chat/completions", json=body).text
    assert "[DONE]" not in text
    assert '"finish_reason":"stop"' not in text


def test_timeout_in_the_middle_of_a_stream(loopback: Loopback) -> None:
    loopback.script("agg", Reply("one two three", hang=True, after_chunks=1))
    text = ""
    for limit in LIMITS:
        with served(mixture(loopback), timeout=limit) as endpoint:
            text = endpoint.http.post("/v1/chat/completions", json={"model": "moa", "messages": HI, "stream": True}).text
            loopback.settle()
        if '"content":"one"' in text:
            break  # else the machine was too busy for this limit
    assert '"content":"one"' in text
    assert '"code":"timeout"' in text
    assert "[DONE]" not in text


def test_pings_while_silent_and_an_error_event_afterwards(loopback: Loopback) -> None:
    gate = loopback.gate()
    loopback.script("p", Reply(status=500, gate=gate))
    loopback.script("q", Reply(status=500))
    body = {"model": "moa", "messages": HI, "stream": True}
    with (
        served(mixture(loopback), ping=0.05) as endpoint,
        endpoint.http.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        assert answer.status_code == 200
        assert '"role":"assistant"' in next(lines)
        assert next(lines) == ""
        # No empty line follows a comment, since some clients would expect an event.
        assert [next(lines), next(lines)] == [": still at work"] * 2
        gate.open()
        rest = [line for line in lines if line and not line.startswith(":")]
    assert len(rest) == 1
    assert '"code":"proposers_failed"' in rest[0]


def test_no_breakdown_hides_the_members(loopback: Loopback) -> None:
    with served(mixture(loopback), breakdown=False) as endpoint:
        assert "moa" not in endpoint.openai.chat.completions.create(model="moa", messages=HI).model_dump()
        loopback.script("p", Reply(status=500))
        loopback.script("q", Reply(status=404))
        error = failing(endpoint)
    assert error.status_code == 502
    assert "openai" not in error.response.text


def test_unexpected_errors_are_logged_and_not_sent(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: Any, **__: Any) -> Any:
        yield ProgressLine("asking")
        msg = f"my key is {KEY}"
        raise RuntimeError(msg)

    monkeypatch.setattr(ServedMixture, "run", breaks)
    with caplog.at_level(logging.INFO, "langchain_moa.serving"):
        error = failing(endpoint)
    assert (error.status_code, error.code) == (500, "internal_error")
    assert "my key" not in error.response.text
    assert "unexpected RuntimeError: my key is **********" in caplog.text
    assert "in breaks" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_retry_does_not_call_the_proposers_again(endpoint: Endpoint, loopback: Loopback, stream: bool) -> None:
    loopback.script("agg", [Reply("broken", status=500), Reply("broken", status=500), "there"])
    create = endpoint.openai.chat.completions.create
    for _ in range(2):
        with pytest.raises(openai.APIError):
            list(create(model="moa", messages=HI, stream=True)) if stream else create(model="moa", messages=HI)
    answer = create(model="moa", messages=HI)
    assert answer.choices[0].message.content == "there"
    assert sorted(loopback.models) == ["agg", "agg", "agg", "p", "q"]
    assert "p says: Hi" in loopback.calls("agg")[-1].system
    # They were for this answer only: the next answer is asked anew, and so is another conversation.
    create(model="moa", messages=HI)
    assert len(loopback.calls("p")) == 2
    loopback.script("agg", [Reply("broken", status=500), "there"])
    with pytest.raises(openai.APIError):
        create(model="moa", messages=HI)
    create(model="moa", messages=[{"role": "user", "content": "Ho"}])
    assert len(loopback.calls("p")) == 4


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [{"role": "user", "content": "Hi", "name": "bob"}]},
        {"tools": [{"type": "function", "function": {"name": "g", "parameters": {}}}]},
    ],
)
def test_references_are_not_kept_for_another_author_or_other_tools(
    endpoint: Endpoint, loopback: Loopback, other: dict[str, Any]
) -> None:
    loopback.script("agg", [Reply("broken", status=500), "there"])
    ask: dict[str, Any] = {
        "model": "moa",
        "messages": [{"role": "user", "content": "Hi", "name": "ann"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    }
    with pytest.raises(openai.InternalServerError):
        endpoint.openai.chat.completions.create(**ask)
    endpoint.openai.chat.completions.create(**{**ask, **other})
    assert len(loopback.calls("p")) == 2


def test_references_are_kept_separately_for_each_key(loopback: Loopback) -> None:
    keys = ["ann: key-of-ann-0123456789", "bob: key-of-bob-0123456789"]
    loopback.script("agg", [Reply("broken", status=500), "there"])
    with served(mixture(loopback), api_keys=keys) as endpoint:
        ann, bob = (endpoint.openai.with_options(api_key=key.partition(": ")[2]) for key in keys)
        with pytest.raises(openai.InternalServerError):
            ann.chat.completions.create(model="moa", messages=HI)
        bob.chat.completions.create(model="moa", messages=HI)
    assert len(loopback.calls("p")) == 2


async def test_references_are_kept_when_the_client_disconnects(endpoint: Endpoint, loopback: Loopback) -> None:
    loopback.script("agg", [Reply("one two", hang=True, after_chunks=1), "there"])
    body = {"model": "moa", "messages": HI, "stream": True}
    with endpoint.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(line for line in answer.iter_lines() if "one" in line)
    await asyncio.to_thread(loopback.settle)
    running = "moa_answers_running 0.0"
    await asyncio.to_thread(until, lambda: running in endpoint.http.get("/metrics").text, "the end of the answer")
    async with endpoint.aopenai() as client:
        whole = await client.chat.completions.create(model="moa", messages=HI)
    assert whole.choices[0].message.content == "there"
    assert sorted(loopback.models) == ["agg", "agg", "p", "q"]
