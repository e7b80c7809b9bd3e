"""What the HTTP endpoint adds to a mixture: the same questions asked directly, and through it, many at once.

The models are a loopback server in a process of its own that answers at once; the endpoint is
`langchain-moa serve`. So the seconds are those of the software, and none of a model.

    python -m benchmarks.endpoint [--requests 400] [--at-once 1 50 200]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from benchmarks.serving import served
from langchain_moa import ChatMoA
from tests.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from multiprocessing.connection import Connection


def models(pipe: Connection) -> None:
    with Loopback() as loopback:
        pipe.send(loopback.url)
        pipe.recv()


def mixture(url: str) -> ChatMoA:
    from langchain_openai import ChatOpenAI

    def chat(model: str) -> ChatOpenAI:
        return ChatOpenAI(model=model, base_url=url, api_key="none", max_retries=0, stream_usage=True)

    return ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"), num_layers=1)


@contextmanager
def endpoint(models_at: str) -> Iterator[str]:
    """Run `langchain-moa serve`, and yield its address."""
    fields = ("-p", "openai:p", "-p", "openai:q", "-a", "openai:agg", "--layers", "1", "--max-requests", "100000")
    env = {**os.environ, "OPENAI_BASE_URL": models_at, "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "langchain_moa", "serve", "--port", "0", *fields]
    with TemporaryFile("w+") as log, subprocess.Popen(command, env=env, stderr=log) as process:  # noqa: S603  # our own program
        try:
            while not (found := re.search(r"http://\S+", Path(f"/dev/fd/{log.fileno()}").read_text(encoding="utf-8"))):
                assert process.poll() is None
                sleep(0.1)
            yield found[0]
        finally:
            process.terminate()


async def measure(ask: Callable[[int], Awaitable[str]], requests: int, at_once: int) -> tuple[float, float]:
    """Return the answers per second, and the median duration of an answer in seconds."""
    places, seconds = asyncio.Semaphore(at_once), []

    async def one(number: int) -> None:
        async with places:
            started = perf_counter()
            assert await ask(number) == f"agg says: {number}"
            seconds.append(perf_counter() - started)

    started = perf_counter()
    await asyncio.gather(*(one(number) for number in range(requests)))
    return requests / (perf_counter() - started), sorted(seconds)[len(seconds) // 2]


async def main(models_at: str, endpoint_at: str, requests: int, at_once: list[int]) -> None:
    moa = mixture(models_at)
    client = AsyncOpenAI(base_url=endpoint_at, api_key="none", http_client=DefaultAsyncHttpxClient(trust_env=False))

    async def directly(number: int) -> str:
        return (await moa.ainvoke(str(number))).text

    async def through_it(number: int) -> str:
        messages: Any = [{"role": "user", "content": str(number)}]
        answer = await client.chat.completions.create(model="moa", messages=messages)
        return answer.choices[0].message.content or ""

    print("| at once | | answers per second | median seconds |\n|---|---|---|---|")
    for name, ask in (("directly", directly), ("through the endpoint", through_it)):
        await measure(ask, 5, 5)  # creates the connections and the graph
        for most in at_once:
            rate, median = await measure(ask, requests, most)
            print(f"| {most} | {name} | {rate:.1f} | {median:.3f} |")
    await client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 50, 200])
    given = parser.parse_args()
    with served(models) as (models_url, _), endpoint(models_url) as endpoint_url:
        asyncio.run(main(models_url, endpoint_url, given.requests, given.at_once))
