"""One mixture under load: a thousand answers at once, two hundred by threads; memory, threads, sockets over ten thousand.

    python -m benchmarks.load

The mixture's members are `ChatOpenAI` models with their clients' own limits; the server is a process of its own, so that the
figures are the client's. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from langchain_openai import ChatOpenAI
from openai import DefaultAsyncHttpxClient, DefaultHttpxClient
from pydantic import SecretStr

from benchmarks.serving import served
from langchain_moa import ChatMoA
from tests.loopback import Loopback, Reply

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

ANSWER = "An answer of some twenty words, which is enough for a reference to be one, and for a prompt to have some length."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=1000, help="answers at once in the first part (default: 1000)")
    parser.add_argument("--threads", type=int, default=200, help="answers at once in the second part, sync (default: 200)")
    parser.add_argument("--answers", type=int, default=10_000, help="answers in the third part (default: 10000)")
    parser.add_argument("--limits", action="store_true", help="with retry, proposer_timeout, deadline and quorum set")
    parser.add_argument("--slow", action="store_true", help="one proposer hangs in every fifth call; implies --limits")
    parser.add_argument("--max-concurrency", type=int, help="the mixture's max_concurrency (default: none)")
    given = parser.parse_args()
    options: dict[str, Any] = {"max_concurrency": given.max_concurrency}
    if given.limits or given.slow:
        options |= {"retry": {"attempts": 3}, "proposer_timeout": 600, "deadline": 3600, "quorum": 2, "quorum_grace": 0.05}
    with served(serve, given.slow) as (url, _):
        asyncio.run(all_at_once(url, given.at_once, options))
        by_threads(url, given.threads, options)
        asyncio.run(one_after_the_other(url, given.answers, options))


async def all_at_once(url: str, answers: int, options: dict[str, Any]) -> None:
    before = await state_of_things()
    seconds: list[float] = []
    # Our own client, so that it can be closed: ChatOpenAI's is shared by the whole process.
    async with DefaultAsyncHttpxClient() as client:
        moa = mixture(url, {"http_async_client": client}, num_layers=2, **options)
        await moa.ainvoke("Get ready.")

        async def ask(number: int) -> str:
            began = perf_counter()
            answer = await moa.ainvoke(f"Question {number}")
            seconds.append(perf_counter() - began)
            return answer.text

        began, busy = perf_counter(), process_time()
        texts = await asyncio.gather(*(ask(number) for number in range(answers)))
        took, busy = perf_counter() - began, process_time() - busy
    assert [*texts] == [ANSWER] * answers
    tell("answers at once, async", seconds, took, busy)
    print(f"  before: {before}\n  after:  {await state_of_things()}\n", flush=True)


def by_threads(url: str, answers: int, options: dict[str, Any]) -> None:
    before = asyncio.run(state_of_things())
    seconds: list[float] = []
    with DefaultHttpxClient() as client:
        moa = mixture(url, {"http_client": client}, num_layers=2, **options)
        moa.invoke("Get ready.")

        def ask(number: int) -> str:
            began = perf_counter()
            answer = moa.invoke(f"Question {number}")
            seconds.append(perf_counter() - began)
            return answer.text

        began, busy = perf_counter(), process_time()
        with ThreadPoolExecutor(answers) as threads:
            texts = [*threads.map(ask, range(answers))]
        took, busy = perf_counter() - began, process_time() - busy
    assert texts == [ANSWER] * answers
    tell("answers at once, sync, a thread each", seconds, took, busy)
    print(f"  before: {before}\n  after:  {asyncio.run(state_of_things())}\n", flush=True)


def tell(what: str, seconds: list[float], took: float, busy: float) -> None:
    answers = len(seconds)
    print(f"{answers} {what}, 3 proposers x 2 layers + 1, {7 * answers} calls:")
    print(
        f"  {took:.1f} s, {answers / took:.0f} answers/s, {7 * answers / took:.0f} calls/s, {1000 * busy / answers:.0f} ms of ",
        end="",
    )
    print(f"CPU an answer; an answer took {statistics.median(seconds):.1f} s in the middle, {max(seconds):.1f} s at most")


async def one_after_the_other(url: str, answers: int, options: dict[str, Any]) -> None:
    print(f"{answers} answers, 20 at once, 3 proposers x 1 layer + 1:")
    places = asyncio.Semaphore(20)
    async with DefaultAsyncHttpxClient() as client:
        moa = mixture(url, {"http_async_client": client}, num_layers=1, **options)

        async def ask(number: int) -> None:
            async with places:
                await moa.ainvoke(f"Question {number}")

        step = max(answers // 10, 1)
        for done in range(0, answers + 1, step):
            print(f"  after {done:6}: {await state_of_things()}", flush=True)
            if done < answers:
                await asyncio.gather(*(ask(number) for number in range(step)))
    print(f"  at the end:   {await state_of_things()}")


def mixture(url: str, client: dict[str, Any], **options: Any) -> ChatMoA:
    def chat(model: str) -> ChatOpenAI:
        return ChatOpenAI(model=model, base_url=url, api_key=SecretStr("test"), max_retries=0, **client)

    return ChatMoA(proposers=[chat("one"), chat("two"), chat("three")], aggregator=chat("aggregator"), **options)


async def state_of_things() -> str:
    # Let the event loop finish what the last answers left.
    await asyncio.sleep(0.5)
    gc.collect()
    return f"{resources()}, {len(asyncio.all_tasks())} tasks"


def resources() -> str:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    sockets = sum(is_socket(path) for path in Path("/proc/self/fd").iterdir())
    objects = f"{len(gc.get_objects()):,} objects"
    return f"{megabytes:.1f} MB, {objects}, {threading.active_count()} threads, {sockets} sockets"


def is_socket(path: Path) -> bool:
    try:
        return str(path.readlink()).startswith("socket:")
    except OSError:  # closed meanwhile
        return False


def serve(pipe: Connection, hanging: bool) -> None:  # noqa: FBT001  # arguments of processes are positional
    calls = iter(range(10**9))

    def three(_: dict[str, Any]) -> Reply:
        return Reply(ANSWER, hang=hanging and next(calls) % 5 == 0)

    with Loopback() as server:
        server.script("*", ANSWER)
        server.script("three", three)
        pipe.send(server.url)
        while not pipe.poll(1):
            # Limit the server's record of requests, which is not used here.
            server.reset()


if __name__ == "__main__":
    main()
