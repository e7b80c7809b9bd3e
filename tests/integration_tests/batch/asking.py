"""Asking rows: of the loopback server directly, and of a job server by `half_price`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa import Mixture, batch_answers
from langchain_moa.batch.run import BatchRun

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_moa import BatchAnswer
    from tests.integration_tests.batch.job_server import JobServer
    from tests.loopback import Loopback

# Its input costs 10 cents per million tokens.
NANO = "gpt-4.1-nano"


def pair(server: Loopback, **fields: Any) -> Mixture:
    """Return a mixture of two proposers in one layer."""
    given = {"proposers": [server.chat("a"), server.chat("b")], "aggregator": server.chat("last"), "num_layers": 1}
    return Mixture(**{**given, **fields})


def answered(mixture: Mixture, rows: Any, **settings: Any) -> list[BatchAnswer]:
    """Ask rows, and return the answers."""

    async def collect() -> list[BatchAnswer]:
        return [answer async for answer in batch_answers(mixture, rows, **settings)]

    return asyncio.run(collect())


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the lines of an output."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def prompts(number: int) -> list[dict[str, Any]]:
    """Return rows."""
    return [{"id": f"r{i}", "prompt": f"question {i}", "kind": i % 3} for i in range(number)]


def asked(server: Loopback, model: str) -> Counter[str]:
    """Return how often a model was sent each question."""
    return Counter(request.user for request in server.calls(model))


def chat_of(server: JobServer, model: str = NANO, **more: Any) -> ChatOpenAI:
    """Return a model of the server."""
    return ChatOpenAI(model=model, base_url=f"{server.url}/v1", api_key=SecretStr("test"), max_retries=0, **more)


def claude_of(server: JobServer, model: str = "claude-haiku-4-5") -> Any:
    """Return a model of Anthropic's protocol."""
    anthropic = pytest.importorskip("langchain_anthropic", reason="the provider's package is not installed")
    key = SecretStr("test")
    return anthropic.ChatAnthropic(model=model, base_url=server.url, api_key=key, max_retries=0, max_tokens=9)


def together_of(server: JobServer) -> Any:
    """Return a model of Together's, whose batch jobs the server then has."""
    server.is_together = True
    together = pytest.importorskip("langchain_together", reason="the provider's package is not installed")
    return together.ChatTogether(model="a/b", base_url=f"{server.url}/v1", api_key=SecretStr("test"), max_retries=0)


def mixture_of(server: JobServer, **fields: Any) -> Mixture:
    """Return a mixture of two proposers in two layers, all of them models of the server."""
    first, second = chat_of(server, temperature=0.1), chat_of(server, temperature=0.2)
    return Mixture(**{"proposers": [first, second], "aggregator": chat_of(server), "num_layers": 2, **fields})


def answers_of(mixture: Mixture, rows: Any, **options: Any) -> tuple[list[BatchAnswer], BatchRun]:
    """Ask rows with batch jobs, and return the answers and the run."""

    async def collect(run: BatchRun) -> list[BatchAnswer]:
        return [answer async for answer in run.answers()]

    with BatchRun(mixture, rows, half_price=True, poll=0.01, **options) as run:
        return asyncio.run(collect(run)), run


def some_rows(number: int) -> list[dict[str, Any]]:
    """Return rows."""
    return [{"id": f"r{each}", "prompt": f"question {each}."} for each in range(number)]


def asked_of(server: JobServer) -> Counter[str]:
    """Return the number of requests for each call."""
    return Counter(json.dumps(body, sort_keys=True) for job in server.jobs for _, body in job.lines)
