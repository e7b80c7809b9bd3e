"""Async generators on a background loop: what they yield and raise arrives, and leaving them ends them."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest

from langchain_moa.limits.background import BackgroundLoop, Raised, is_on_background_loop, iterate_on

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

BACKGROUND = BackgroundLoop("test-background")
who: ContextVar[str] = ContextVar("who", default="nobody")


async def test_it_runs_there_in_the_callers_context() -> None:
    async def items() -> AsyncGenerator[object]:
        yield threading.current_thread().name
        await asyncio.sleep(0)
        yield who.get(), is_on_background_loop()

    who.set("the caller")
    assert [item async for item in iterate_on(BACKGROUND, items)] == ["test-background", ("the caller", True)]
    assert not is_on_background_loop()


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
async def test_errors_arrive_and_the_loop_goes_on(error: BaseException) -> None:
    loop = BACKGROUND.loop()

    async def items() -> AsyncGenerator[int]:
        yield 1
        raise error if isinstance(error, Exception) else Raised(error)

    run = iterate_on(BACKGROUND, items)
    assert await anext(run) == 1
    with pytest.raises(type(error)) as caught:
        await anext(run)
    assert caught.value is error
    assert BACKGROUND.loop() is loop


@pytest.mark.parametrize("cancelled", [False, True])
async def test_leaving_waits_for_the_end(cancelled: bool) -> None:
    ended = threading.Event()

    async def items() -> AsyncGenerator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    run, first = iterate_on(BACKGROUND, items), asyncio.Event()

    async def consume() -> None:
        async for _ in run:
            first.set()

    if cancelled:
        task = asyncio.create_task(consume())
        await first.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
    else:
        assert await anext(run) == 1
        await run.aclose()
    assert ended.is_set()


async def test_who_cancels_again_cancels_again() -> None:
    begun, heard, lost = asyncio.Event(), asyncio.Event(), threading.Event()
    here = asyncio.get_running_loop()

    async def items() -> AsyncGenerator[int]:
        try:
            here.call_soon_threadsafe(begun.set)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # Lost, as `asyncio.wait_for` may lose it before Python 3.12.
            here.call_soon_threadsafe(heard.set)
        try:
            await asyncio.Event().wait()
        finally:
            lost.set()
        yield 1

    task = asyncio.create_task(anext(iterate_on(BACKGROUND, items)))
    await begun.wait()
    task.cancel()
    await heard.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert lost.is_set()


async def test_a_cancellation_before_the_start_ends_it_too() -> None:
    made = False

    async def items() -> AsyncGenerator[int]:
        nonlocal made
        made = True
        yield 1

    busy = threading.Event()
    BACKGROUND.loop().call_soon_threadsafe(busy.wait)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        task = asyncio.create_task(anext(iterate_on(BACKGROUND, items)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        busy.set()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        del task
        for _ in range(5):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), BACKGROUND.loop()))
        gc.collect()
    assert not made
    assert [str(each.message) for each in warned if "never awaited" in str(each.message)] == []


async def test_a_generator_does_not_run_far_ahead() -> None:
    made = 0

    async def items() -> AsyncGenerator[int]:
        nonlocal made
        for number in range(1000):
            made += 1
            yield number

    run = iterate_on(BACKGROUND, items)
    assert await anext(run) == 0
    # Whatever has been made until another task there has run, it is bounded.
    for _ in range(5):
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), BACKGROUND.loop()))
    assert made <= 70
    assert [item async for item in run] == [*range(1, 1000)]


async def test_a_stopped_loop_starts_again() -> None:
    async def items() -> AsyncGenerator[int]:
        yield 1

    background = BackgroundLoop("test-again")
    for _ in range(2):
        assert [item async for item in iterate_on(background, items)] == [1]
        background.stop()
