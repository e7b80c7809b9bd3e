"""Asking a job server by `half_price`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa import Mixture
from langchain_moa.batch.run import BatchRun

if TYPE_CHECKING:
    from langchain_moa import BatchAnswer
    from tests.integration_tests.batch.job_server import JobServer

# Its input costs 10 cents per million tokens.
NANO = "gpt-4.1-nano"


def chat_of(server: JobServer, model: str = NANO, **more: Any) -> ChatOpenAI:
    """Return a model of the server."""
    return ChatOpenAI(model=model, base_url=f"{server.url}/v1", api_key=SecretStr("test"), max_retries=0, **more)


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
