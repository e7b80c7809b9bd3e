"""What a quorum is worth when some calls take long: answers that wait for all proposers beside answers that do not.

    python -m benchmarks.stragglers

A mixture of 4 proposers in 2 layers and an aggregator asks a server on this machine. Each call takes the same time, but for a
share of the proposers' calls, which take many times as long. The figures are ratios to the limit: the time of an answer in
which no call straggles, which is one call for each layer and one for the aggregator.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.serving import served
from langchain_moa import ChatMoA
from tests.loopback import Loopback, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

PROPOSERS, LAYERS = 4, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=400, help="answers for each line of the table (default: 400)")
    parser.add_argument("--at-once", type=int, default=8, help="answers under way at once (default: 8)")
    parser.add_argument("--call", type=float, default=0.5, help="seconds that a call takes (default: 0.5)")
    parser.add_argument("--slow", type=float, default=0.05, help="share of the proposers' calls that straggle (default: 0.05)")
    parser.add_argument("--times", type=float, default=20, help="how many times as long they take (default: 20)")
    parser.add_argument("--grace", type=float, default=0.05, help="quorum_grace in seconds (default: 0.05)")
    given = parser.parse_args()
    limit = given.call * (LAYERS + 1)
    quorum: dict[str, Any] = {"quorum": PROPOSERS - 1, "quorum_grace": given.grace}
    print(f"{given.answers} answers a line, {given.at_once} at once; {PROPOSERS} proposers x {LAYERS} layers + 1; a call takes")
    print(f"{given.call:g} s, {given.slow:.0%} of the proposers' take {given.times:g} times as long; limit {limit:g} s\n")
    print("| | p50 / limit | p95 / limit | slowest / limit | stragglers cancelled at the server |")
    print("|---|---:|---:|---:|---:|")
    for title, run, options in (
        ("async, waits for all", asynchronous, {}),
        (f"async, quorum {PROPOSERS - 1} of {PROPOSERS}", asynchronous, quorum),
        ("sync, waits for all", synchronous, {}),
        (f"sync, quorum {PROPOSERS - 1} of {PROPOSERS}", synchronous, quorum),
    ):
        seconds, cancelled = measure(run, options, given)
        cuts = [statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1], max(seconds)]
        print(f"| {title} | " + " | ".join(f"{cut / limit:.2f}" for cut in cuts) + f" | {cancelled} |", flush=True)


def measure(
    run: Callable[[ChatMoA, int, int], list[float]], options: dict[str, Any], given: argparse.Namespace
) -> tuple[list[float], str]:
    """Return the seconds of each answer, and how many of the slow calls were cancelled."""
    with served(serve, given) as (url, server):
        client = Loopback()
        client.url = url
        proposers = [client.chat(f"proposer-{number}") for number in range(PROPOSERS)]
        moa = ChatMoA(proposers=proposers, aggregator=client.chat("aggregator"), num_layers=LAYERS, **options)
        moa.invoke("Get ready.")
        server.send("straggle")
        server.recv()
        seconds = run(moa, given.answers, given.at_once)
        server.send("report")
        return seconds, server.recv()


def serve(pipe: Connection, given: argparse.Namespace) -> None:
    """Serve the models, at first without stragglers."""
    # The share of slow calls is exact and the same for every line.
    calls = given.answers * PROPOSERS * LAYERS
    slow = given.call * given.times
    delays = [slow] * round(given.slow * calls)
    delays += [given.call] * (calls - len(delays))
    random.Random(0).shuffle(delays)  # noqa: S311  # an order, not a secret

    def propose(body: dict[str, Any]) -> Reply:
        return Reply(f"{body['model']} has an answer", delay=delays.pop())

    with Loopback() as server:
        server.script("aggregator", Reply("the answer", delay=given.call))
        pipe.send(server.url)
        while (asked := pipe.recv()) != "end":
            if asked == "straggle":
                server.script("*", propose)
                pipe.send("ready")
            else:
                stragglers = [request for request in server.requests if request.reply and request.reply.delay == slow]
                pipe.send(f"{sum(request.disconnected for request in stragglers)} of {len(stragglers)}")


def asynchronous(moa: ChatMoA, answers: int, at_once: int) -> list[float]:
    async def all_of_them() -> list[float]:
        places = asyncio.Semaphore(at_once)

        async def ask() -> float:
            async with places:
                began = perf_counter()
                await moa.ainvoke("Hi")
                return perf_counter() - began

        return await asyncio.gather(*(ask() for _ in range(answers)))

    return asyncio.run(all_of_them())


def synchronous(moa: ChatMoA, answers: int, at_once: int) -> list[float]:
    def ask(_: int) -> float:
        began = perf_counter()
        moa.invoke("Hi")
        return perf_counter() - began

    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(ask, range(answers)))


if __name__ == "__main__":
    main()
