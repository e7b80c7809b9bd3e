"""What the HTTP endpoint adds to a mixture: the same questions asked directly, and through it, many at once.

The models are a loopback server in a process of its own that answers at once; the endpoint is one, too, as
`langchain-moa serve` runs it. So the seconds are those of the software, and none of a model.

    python benchmarks/endpoint.py [--requests 400] [--at-once 1 50 200]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from benchmarks.serving import served
from langchain_moa import ChatMoA
from langchain_moa.serving import make_app, server
from tests.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
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


def endpoint(pipe: Connection, url: str) -> None:
    listener = server.listen("127.0.0.1", 0)
    pipe.send(server.url_of(listener))
    serving = multiprocessing.get_context("fork").Process(
        target=server.run, args=(make_app(mixture(url), max_requests=100_000), listener), kwargs={"grace": 1}
    )
    serving.start()
    pipe.recv()
    serving.terminate()
    serving.join()


async def measure(ask: Callable[[int], Awaitable[str]], requests: int, at_once: int) -> tuple[float, float]:
    """Return answers per second, and the median of the seconds that one took."""
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
        await measure(ask, 5, 5)  # connections and the graph are made once
        for most in at_once:
            rate, median = await measure(ask, requests, most)
            print(f"| {most} | {name} | {rate:.1f} | {median:.3f} |")
    await client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 50, 200])
    given = parser.parse_args()
    with served(models) as (models_url, _), served(endpoint, models_url) as (endpoint_url, _):
        asyncio.run(main(models_url, endpoint_url, given.requests, given.at_once))
