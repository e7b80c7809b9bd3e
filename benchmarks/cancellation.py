"""How long it takes from a caller's cancel until every call of the answer is closed at the server.

    python -m benchmarks.cancellation

A mixture of 4 proposers in 2 layers and an aggregator asks a server on this machine, a process of its own, whose models never
answer. Once all calls of the answers under way have arrived, their tasks are cancelled; the server says when the last of its
calls was closed. Both processes read the same monotonic clock (Linux).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from time import monotonic
from typing import TYPE_CHECKING, Any

from openai import DefaultAsyncHttpxClient

from benchmarks.serving import served
from langchain_moa import ChatMoA
from tests.loopback import Loopback, Reply

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PROPOSERS = 4
LIMITS: dict[str, Any] = {"retry": {"attempts": 3}, "deadline": 3600, "quorum": 3, "max_concurrency": 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="cancellations for each line of the table (default: 20)")
    parser.add_argument("--at-once", type=int, default=20, help="answers cancelled together (default: 20)")
    given = parser.parse_args()
    print(f"{given.rounds} rounds a line; milliseconds from the cancel until all calls are closed at the server\n")
    print("| what is cancelled | open calls | median | p95 | slowest |\n|---|---:|---:|---:|---:|")
    for hanging, calls in (("proposers", PROPOSERS), ("aggregator", 1)):
        for answers in (1, given.at_once):
            for limits in ({}, LIMITS):
                took = asyncio.run(measure(hanging, answers, limits, given.rounds))
                cuts = [statistics.median(took), statistics.quantiles(took, n=20, method="inclusive")[-1], max(took)]
                what = f"{answers} answer{'s' * (answers > 1)}, the {hanging} at work{', with limits' * bool(limits)}"
                print(f"| {what} | {calls * answers} | " + " | ".join(f"{1000 * cut:.0f}" for cut in cuts) + " |", flush=True)


async def measure(hanging: str, answers: int, limits: dict[str, Any], rounds: int) -> list[float]:
    """Return the seconds of each round."""
    took = []
    with served(serve, hanging) as (url, server):
        client = Loopback()
        client.url = url
        async with DefaultAsyncHttpxClient() as http:
            names = [*(f"proposer-{number}" for number in range(PROPOSERS)), "aggregator"]
            *proposers, aggregator = (client.chat(name, http_async_client=http) for name in names)
            moa = ChatMoA(proposers=proposers, aggregator=aggregator, num_layers=2 if hanging == "proposers" else 1, **limits)
            for _ in range(rounds):
                tasks = [asyncio.create_task(moa.ainvoke("Hi")) for _ in range(answers)]
                server.send(answers)
                await asyncio.to_thread(server.recv)
                began = monotonic()
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
                closed: float = await asyncio.to_thread(server.recv)
                took.append(closed - began)
    return took


def serve(pipe: Connection, hanging: str) -> None:
    """Serve the models. For each number of answers received, report when all their calls are open and when none is left."""
    with Loopback() as server:
        models = [f"proposer-{number}" for number in range(PROPOSERS)] if hanging == "proposers" else ["aggregator"]
        for model in models:
            server.script(model, Reply(hang=True))
        pipe.send(server.url)
        while (answers := pipe.recv()) != "end":
            for model in models:
                server.wait_for(answers, model)
            pipe.send("open")
            server.settle()
            pipe.send(monotonic())
            assert all(request.disconnected for request in server.requests if request.model in models)
            server.reset()


if __name__ == "__main__":
    main()
