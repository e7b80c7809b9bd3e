"""Calls within a limit, sync and async."""

from __future__ import annotations

import asyncio
import math
import threading
from contextvars import ContextVar
from time import monotonic
from typing import Any

import pytest

from langchain_moa.resilience.deadline import Limit, OutOfTimeError, acall_within, call_within, sleep_within
from tests.waiting import PATIENCE

# Longer than any test takes: where it were waited for, the test would hang, and be killed.
LONG = 3600.0

who: ContextVar[str] = ContextVar("who")


def in_time(limit: Limit | None = None, **_: Any) -> Limit:
    return limit or Limit(monotonic() + LONG, "timeout", "too slow")


def test_returns_what_the_call_returns() -> None:
    assert call_within(in_time(), lambda: 42) == 42
    assert call_within(Limit(), lambda: 42) == 42


async def test_returns_what_the_async_call_returns() -> None:
    async def call() -> int:
        await asyncio.sleep(0)
        return 42

    assert await acall_within(in_time(), call) == 42
    assert await acall_within(Limit(), call) == 42


@pytest.mark.parametrize("error", [ValueError("wrong"), TimeoutError("the client's own"), KeyboardInterrupt()])
async def test_raises_what_the_call_raises(error: BaseException) -> None:
    def call() -> None:
        raise error

    async def acall() -> None:
        raise error

    with pytest.raises(type(error)) as sync_raised:
        call_within(in_time(), call)
    assert sync_raised.value is error
    if isinstance(error, Exception):  # a KeyboardInterrupt stops the loop itself
        with pytest.raises(type(error)) as async_raised:
            await acall_within(in_time(), acall)
        assert async_raised.value is error


def test_whoever_waits_is_woken_when_the_call_is_done() -> None:
    release = threading.Event()
    timer = threading.Timer(0.05, release.set)
    timer.start()
    assert call_within(in_time(), release.wait)
    timer.join()


def test_a_call_has_its_time_to_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock stands still a moment before the end.
    monkeypatch.setattr("langchain_moa.resilience.deadline.monotonic", lambda: 99.9)
    release = threading.Event()
    timer = threading.Timer(0.05, release.set)
    timer.start()
    assert call_within(Limit(100.0, "timeout", "too slow"), release.wait)
    timer.join()


def test_the_call_sees_the_context() -> None:
    who.set("me")
    assert call_within(in_time(), who.get) == "me"


def test_what_the_call_sets_stays_in_its_own_context() -> None:
    who.set("me")
    call_within(in_time(), lambda: who.set("you"))
    assert who.get() == "me"


def test_a_call_that_outlasts_its_limit_is_left_to_a_daemon() -> None:
    release, threads, limit = threading.Event(), [], Limit()

    def call() -> None:
        threads.append(threading.current_thread())
        limit.bring_forward(monotonic() + 0.01, "timeout", "too slow")
        release.wait()

    with pytest.raises(OutOfTimeError, match="too slow") as raised:
        call_within(limit, call)
    assert raised.value.kind == "timeout"
    assert threads[0].daemon
    assert threads[0].name == "moa-call", "whoever looks at a program's threads sees whose this is"
    release.set()
    threads[0].join(PATIENCE)
    assert not threads[0].is_alive()


async def test_an_async_call_that_outlasts_its_limit_is_cancelled() -> None:
    cancelled, limit = asyncio.Event(), Limit()

    async def call() -> None:
        limit.bring_forward(monotonic() + 0.01, "timeout", "too slow")
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(OutOfTimeError, match="too slow"):
        await acall_within(limit, call)
    assert cancelled.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_limit_may_be_brought_forward_while_the_call_is_under_way() -> None:
    started, limit = threading.Event(), in_time()

    def bring_forward() -> None:
        started.wait()
        limit.bring_forward(monotonic(), "quorum", "the others have answered")

    thread = threading.Thread(target=bring_forward)
    thread.start()
    release = threading.Event()

    def call() -> None:
        started.set()
        release.wait()

    with pytest.raises(OutOfTimeError, match="the others have answered") as raised:
        call_within(limit, call)
    assert raised.value.kind == "quorum"
    release.set()
    thread.join()


async def test_a_limit_of_an_async_call_may_be_brought_forward() -> None:
    limit = Limit()
    task = asyncio.create_task(acall_within(limit, lambda: asyncio.sleep(LONG)))
    await asyncio.sleep(0)
    limit.bring_forward(monotonic(), "quorum", "the others have answered")
    with pytest.raises(OutOfTimeError, match="the others have answered"):
        await task


async def test_a_limit_is_never_put_off() -> None:
    limit = in_time()
    limit.bring_forward(monotonic() + 2 * LONG, "quorum", "later")
    assert limit.kind == "timeout"
    assert limit.left() <= LONG
    limit.bring_forward(limit.at, "quorum", "at the same time")
    assert limit.kind == "timeout", "what came first is why"


async def test_nothing_is_called_when_the_time_is_over_already() -> None:
    over = Limit(monotonic(), "quorum", "the layer is closed")
    calls: list[str] = []
    with pytest.raises(OutOfTimeError):
        call_within(over, lambda: calls.append("sync"))

    async def acall() -> None:
        calls.append("async")

    with pytest.raises(OutOfTimeError):
        await acall_within(over, acall)
    assert calls == []


async def test_whoever_cancels_from_outside_is_not_taken_for_the_limit() -> None:
    task = asyncio.create_task(acall_within(in_time(), lambda: asyncio.sleep(LONG)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_callers_own_timeout_is_not_taken_for_the_limit() -> None:
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.01):
            await acall_within(in_time(), lambda: asyncio.sleep(LONG))
    assert not isinstance(raised.value, OutOfTimeError)


async def test_a_client_that_turns_its_being_cancelled_into_an_error_is_out_of_time() -> None:
    limit = Limit()

    async def call() -> None:
        limit.bring_forward(monotonic() + 0.01, "timeout", "too slow")
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            msg = "connection closed"
            raise ConnectionError(msg) from None

    with pytest.raises(OutOfTimeError, match="too slow"):
        await acall_within(limit, call)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_answer_that_comes_while_it_is_cancelled_counts() -> None:
    limit = Limit()

    async def call() -> str:
        limit.bring_forward(monotonic() + 0.01, "timeout", "too slow")
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            return "just in time"
        return "never"

    assert await acall_within(limit, call) == "just in time"


def test_a_call_without_a_limit_is_made_in_this_thread() -> None:
    assert call_within(None, threading.current_thread) is threading.current_thread()


def test_the_seconds_of_a_call_count_from_its_beginning() -> None:
    limit = Limit(timeout=60)
    assert limit.left() == math.inf
    before = monotonic()
    limit.begin()
    assert before + 60 <= limit.at <= monotonic() + 60
    ends = limit.at
    limit.begin()
    assert (limit.at, limit.kind) == (ends, "timeout")
    assert limit.why == "it had not answered within 60 s (proposer_timeout)"


def test_a_sleep_ends_when_the_limit_is_brought_forward() -> None:
    limit = Limit()
    thread = threading.Timer(0.05, lambda: limit.bring_forward(monotonic(), "quorum", "enough"))
    thread.start()
    with pytest.raises(OutOfTimeError, match="enough"):
        sleep_within(limit, LONG)
    thread.join()


def test_a_sleep_within_its_limit_is_slept() -> None:
    began = monotonic()
    sleep_within(in_time(), 0.01)
    assert monotonic() - began >= 0.01
