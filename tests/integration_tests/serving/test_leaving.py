"""When a client disconnects, all calls made for it are cancelled."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration_tests.serving.served import mixture, served
from tests.loopback import Reply
from tests.time_limits import LIMITS
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.integration_tests.serving.served import Endpoint
    from tests.loopback import Loopback


def body(*, stream: bool) -> dict[str, Any]:
    return {"model": "moa", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}


async def ask_and_leave(endpoint: Endpoint, loopback: Loopback, *, stream: bool, after: int) -> None:
    """Ask, wait until this number of calls has arrived at the models, and disconnect."""
    async with httpx.AsyncClient(base_url=endpoint.url, trust_env=False, timeout=PATIENCE) as client:
        asking = asyncio.create_task(client.post("/chat/completions", json=body(stream=stream)))
        await asyncio.to_thread(loopback.wait_for, after)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_first_token(endpoint: Endpoint, loopback: Loopback, stream: bool) -> None:
    loopback.script("*", Reply(hang=True))
    await ask_and_leave(endpoint, loopback, stream=stream, after=2)
    requests = await asyncio.to_thread(loopback.settle)
    assert [request.disconnected for request in requests] == [True, True]


@pytest.mark.parametrize("stream", [False, True])
async def test_while_the_aggregator_writes(endpoint: Endpoint, loopback: Loopback, stream: bool) -> None:
    loopback.script("agg", Reply("one two three four", hang=True, after_chunks=2))
    await ask_and_leave(endpoint, loopback, stream=stream, after=3)
    requests = await asyncio.to_thread(loopback.settle)
    assert [request.model for request in requests if request.disconnected] == ["agg"]


def test_failure_in_the_middle_of_a_stream(loopback: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    loopback.script("agg", Reply("one two three four", hang=True, after_chunks=2))
    # A request is logged after its answer. All lines are written when the server has stopped.
    with caplog.at_level(logging.INFO, "langchain_moa.serving"), served(mixture(loopback)) as endpoint:
        with endpoint.http.stream("POST", "/v1/chat/completions", json=body(stream=True)) as answer:
            next(line for line in answer.iter_lines() if "one" in line)
        assert [request.model for request in loopback.settle() if request.disconnected] == ["agg"]
        # The server works as before.
        loopback.script("agg", "all well")
        assert "all well" in endpoint.http.post("/v1/chat/completions", json=body(stream=False)).text
    assert "POST /v1/chat/completions 499" in caplog.text


def test_clients_that_read_to_the_end_are_not_logged_as_gone(loopback: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "langchain_moa.serving"), served(mixture(loopback)) as endpoint:
        for stream in (True, False):
            assert endpoint.http.post("/v1/chat/completions", json=body(stream=stream)).status_code == 200
        endpoint.http.get("/health")
    assert " 499 " not in caplog.text
    assert caplog.text.count("POST /v1/chat/completions 200") == 2


def test_a_client_that_reads_nothing_does_not_block_the_server(loopback: Loopback) -> None:
    statuses, text = set[int](), ""
    for limit in LIMITS:
        loopback.script("agg", Reply("word " * 200_000, chunks=50_000))
        with (
            served(mixture(loopback), timeout=limit, ping=limit / 5, max_requests=1) as endpoint,
            endpoint.http.stream("POST", "/v1/chat/completions", json=body(stream=True)) as answer,
        ):
            loopback.settle()
            loopback.script("agg", "all well")
            with httpx.Client(base_url=endpoint.url, trust_env=False, timeout=PATIENCE) as other:
                # Its slot is free again when its time is over.
                while (reply := other.post("/chat/completions", json=body(stream=False))).status_code == 429:
                    time.sleep(0.02)
        statuses, text = {answer.status_code, reply.status_code}, reply.text
        if statuses == {200}:
            break  # else the machine was too busy for this limit
    assert statuses == {200}
    assert "all well" in text
