"""Run one contestant on command: a line of JSON in, a line of JSON out.

    python worker.py MODULE FUNCTION URL [LIMIT]

The command is `{"ask": answers, "at_once": n, "stream": bool, "system": text}`. The reply has the seconds to the first text and
to the end of each answer, the total wall-clock and CPU seconds, the errors and the memory. Each contestant has its own process,
so that measurements are separate. It uses only the standard library, so that it runs in every environment, and needs Linux,
because it reads /proc.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

QUESTION = "What makes the sky blue, and why is it red in the evening?"


def main() -> None:
    # Discard what the contestants print.
    out = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    module, function, url, *limit = sys.argv[1:]
    mixture = getattr(import_module(module), function)(url, float(limit[0]) if limit else None)
    is_async = inspect.iscoroutinefunction(mixture.ask)
    print(json.dumps({"async": is_async, "streams": hasattr(mixture, "stream"), "megabytes": resident()}), file=out, flush=True)
    loop = asyncio.new_event_loop()
    for line in sys.stdin:
        command = json.loads(line)
        gc.collect()
        began, busy = perf_counter(), process_time()
        run = loop.run_until_complete(ask_async(mixture, **command)) if is_async else ask_sync(mixture, **command)
        seconds = {"wall": perf_counter() - began, "cpu": process_time() - busy}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**run, **seconds, "megabytes": resident(), "peak": peak}), file=out, flush=True)


async def ask_async(mixture: Any, ask: int, at_once: int, *, stream: bool = False, system: str = "") -> dict[str, Any]:
    places, taken = asyncio.Semaphore(at_once), Taken()

    async def one(number: int) -> None:
        async with places:
            began = perf_counter()
            try:
                if stream:
                    async for text in mixture.stream(f"{QUESTION} ({number})", system):
                        taken.text(text, began)
                else:
                    taken.text(await mixture.ask(f"{QUESTION} ({number})", system), began)
            except Exception as error:  # noqa: BLE001  # errors are part of the results
                taken.errors.append(f"{type(error).__name__}: {error}"[:200])
            taken.ended(began)

    await asyncio.gather(*(one(number) for number in range(ask)))
    return taken.figures()


def ask_sync(mixture: Any, ask: int, at_once: int, *, stream: bool = False, system: str = "") -> dict[str, Any]:
    taken = Taken()

    def one(number: int) -> None:
        began = perf_counter()
        try:
            if stream:
                for text in mixture.stream(f"{QUESTION} ({number})", system):
                    taken.text(text, began)
            else:
                taken.text(mixture.ask(f"{QUESTION} ({number})", system), began)
        except Exception as error:  # noqa: BLE001  # as above
            taken.errors.append(f"{type(error).__name__}: {error}"[:200])
        taken.ended(began)

    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(one, range(ask)))
    return taken.figures()


class Taken:
    """The measurements of the answers."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._first: dict[float, float] = {}
        self._seconds: list[float] = []
        self._texts: dict[float, str] = {}

    def text(self, text: str, began: float) -> None:
        if text:
            self._first.setdefault(began, perf_counter() - began)
        self._texts[began] = self._texts.get(began, "") + text

    def ended(self, began: float) -> None:
        self._seconds.append(perf_counter() - began)

    def figures(self) -> dict[str, Any]:
        text = next(iter(self._texts.values()), "")
        return {"first": list(self._first.values()), "seconds": self._seconds, "errors": self.errors, "text": text}


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
