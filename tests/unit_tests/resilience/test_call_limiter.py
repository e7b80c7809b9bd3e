"""Slots: a call waits for a slot no longer than its time limit, and gives it back when it is cancelled."""

from __future__ import annotations

import asyncio
import gc
import weakref
from time import monotonic

import pytest

from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.limits.concurrency import CallLimiter
from langchain_moa.limits.deadline import Limit, call_within


async def hold(limiter: CallLimiter, limit: Limit | None = None) -> None:
    """Hold a slot until the task is cancelled."""
    async with limiter.taken(limit):
        await asyncio.sleep(3600)


async def take(limiter: CallLimiter, limit: Limit | None = None) -> str:
    async with limiter.taken(limit):
        return "taken"


async def test_the_wait_for_a_place_ends_when_the_time_is_over() -> None:
    limiter = CallLimiter(1)
    async with limiter.taken():
        limit = Limit(monotonic() + 0.01, "deadline", "over")
        with pytest.raises(OutOfTimeError, match="over"):
            await call_within(limit, lambda: take(limiter))
    assert await take(limiter) == "taken", "whoever gave up has no place"


async def test_the_wait_ends_when_the_limit_is_brought_forward() -> None:
    limiter, limit = CallLimiter(1), Limit()
    async with limiter.taken():
        waiting = asyncio.create_task(call_within(limit, lambda: take(limiter)))
        await asyncio.sleep(0)
        limit.bring_forward(0.0, "quorum", "enough")
        with pytest.raises(OutOfTimeError, match="enough"):
            await waiting
    assert await take(limiter) == "taken"


@pytest.mark.parametrize("most", [None, 1])
async def test_the_seconds_of_a_call_begin_with_its_place(most: int | None) -> None:
    limit = Limit(timeout=60)
    async with CallLimiter(most).taken(limit):
        assert limit.kind == "timeout"


async def test_they_do_not_begin_before() -> None:
    limiter, limit = CallLimiter(1), Limit(timeout=60)
    async with limiter.taken():
        waiting = asyncio.create_task(take(limiter, limit))
        await asyncio.sleep(0)
        assert limit.kind == ""
    assert await waiting == "taken"
    assert limit.kind == "timeout"


async def test_a_call_that_is_given_up_leaves_its_place() -> None:
    limiter = CallLimiter(1)
    limit = Limit(monotonic() + 0.01, "timeout", "too slow")
    with pytest.raises(OutOfTimeError):
        await call_within(limit, lambda: hold(limiter))
    assert await take(limiter) == "taken"


@pytest.mark.parametrize(("most", "at_once"), [(1, 1), (2, 2), (8, 8), (20, 8), (None, 8)])
async def test_no_more_calls_than_places(most: int | None, at_once: int) -> None:
    limiter, now, highest = CallLimiter(most), 0, 0

    async def call() -> None:
        nonlocal now, highest
        async with limiter.taken():
            now += 1
            highest = max(highest, now)
            for _ in range(20):
                await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(call() for _ in range(8)))
    assert highest == at_once


def test_each_event_loop_has_places_of_its_own() -> None:
    limiter = CallLimiter(1)

    async def contend() -> list[str]:
        return await asyncio.gather(*(take(limiter) for _ in range(3)))

    for _ in range(3):
        assert asyncio.run(contend()) == ["taken"] * 3


def test_the_places_of_a_loop_that_has_ended_are_forgotten() -> None:
    limiter = CallLimiter(1)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def contend() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        async with limiter.taken():
            waiting = asyncio.create_task(take(limiter))
            await asyncio.sleep(0)
        await waiting

    for _ in range(5):
        asyncio.run(contend())
    gc.collect()
    # The latest one may be kept until the next one arrives.
    assert [loop() for loop in loops[:-1]] == [None] * 4
