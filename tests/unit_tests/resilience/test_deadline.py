"""Calls with a time limit."""

from __future__ import annotations

import asyncio
import math
from time import monotonic

import pytest

from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.limits.deadline import Limit, call_within

# Longer than any test takes: a test that waited this long would hang.
LONG = 3600.0


def in_time() -> Limit:
    return Limit(monotonic() + LONG, "timeout", "too slow")


def soon_over() -> Limit:
    return Limit(monotonic() + 0.01, "timeout", "too slow")


def cancellations() -> int:
    """Return the number of pending cancellations of the running task."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def forever() -> None:
    await asyncio.sleep(LONG)


@pytest.mark.parametrize("limit", [None, Limit(), in_time()])
async def test_returns_what_the_call_returns(limit: Limit | None) -> None:
    async def call() -> int:
        await asyncio.sleep(0)
        return 42

    assert await call_within(limit, call) == 42


@pytest.mark.parametrize("limit", [None, Limit(), in_time()])
@pytest.mark.parametrize("error", [ValueError("wrong"), TimeoutError("the client's own"), OutOfTimeError("quorum", "inside")])
async def test_raises_what_the_call_raises(limit: Limit | None, error: Exception) -> None:
    async def call() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await call_within(limit, call)
    assert raised.value is error


async def test_only_the_calls_own_seconds_can_be_paused() -> None:
    limit = Limit(timeout=0.05)
    limit.begin()

    async def waits() -> str:
        with limit.paused():
            assert limit.left() == math.inf
            await asyncio.sleep(0.1)
        return "answered"

    assert await call_within(limit, waits) == "answered"
    with pytest.raises(OutOfTimeError, match="proposer_timeout"):
        await call_within(limit, forever)


async def test_what_else_limits_a_call_goes_on_while_it_is_paused() -> None:
    for later in (LONG, 2 * LONG):
        limit = Limit(timeout=1.5 * LONG)
        limit.begin()
        limit.bring_forward(monotonic() + later, "quorum", "enough")
        with limit.paused():
            assert limit.kind == "quorum"
            assert limit.at == pytest.approx(monotonic() + later, abs=60)
            limit.bring_forward(monotonic() + 0.01, "deadline", "over")
        with limit.paused(), pytest.raises(OutOfTimeError) as raised:
            await call_within(limit, forever)
        assert raised.value.kind == "deadline"


@pytest.mark.parametrize("limit", [None, Limit(), in_time()])
async def test_the_call_is_made_in_the_callers_task(limit: Limit | None) -> None:
    async def call() -> object:
        return asyncio.current_task()

    assert await call_within(limit, call) is asyncio.current_task()


async def test_a_call_that_outlasts_its_limit_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def call() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(OutOfTimeError, match="too slow") as raised:
        await call_within(soon_over(), call)
    assert raised.value.kind == "timeout"
    assert cancelled.is_set()
    assert cancellations() == 0


async def test_a_limit_may_be_brought_forward_while_the_call_is_under_way() -> None:
    for limit in (Limit(), in_time()):
        task = asyncio.create_task(call_within(limit, forever))
        await asyncio.sleep(0)
        limit.bring_forward(monotonic(), "quorum", "the others have answered")
        with pytest.raises(OutOfTimeError, match="the others have answered") as raised:
            await task
        assert raised.value.kind == "quorum"


async def test_a_limit_may_be_brought_forward_while_the_call_is_being_cancelled() -> None:
    limit = soon_over()

    async def call() -> None:
        try:
            await forever()
        finally:
            limit.bring_forward(limit.at - 1, "quorum", "the others have answered")
            await asyncio.sleep(0)

    with pytest.raises(OutOfTimeError):
        await call_within(limit, call)
    assert cancellations() == 0


async def test_a_call_that_is_over_is_not_ended_any_more() -> None:
    limit, changes = Limit(), []
    await call_within(limit, lambda: asyncio.sleep(0))
    with limit.telling(lambda: changes.append("inside")):
        pass
    limit.bring_forward(0.0, "quorum", "the others have answered")
    await asyncio.sleep(0)
    assert changes == []
    assert cancellations() == 0


def test_a_limit_is_never_put_off() -> None:
    limit = in_time()
    limit.bring_forward(monotonic() + 2 * LONG, "quorum", "later")
    assert limit.kind == "timeout"
    assert limit.left() <= LONG
    limit.bring_forward(limit.at, "quorum", "at the same time")
    assert limit.kind == "timeout", "what came first is why"


async def test_nothing_is_called_when_the_time_is_over_already() -> None:
    over = Limit(monotonic(), "quorum", "the layer is closed")
    calls: list[str] = []

    async def call() -> None:
        calls.append("called")

    with pytest.raises(OutOfTimeError, match="the layer is closed"):
        await call_within(over, call)
    with pytest.raises(OutOfTimeError, match="the layer is closed"):
        over.check()
    assert calls == []
    in_time().check()


async def test_a_cancellation_from_outside_is_not_taken_for_the_limit() -> None:
    task = asyncio.create_task(call_within(in_time(), forever))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_callers_own_timeout_is_not_taken_for_the_limit() -> None:
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.01):
            await call_within(in_time(), forever)
    assert not isinstance(raised.value, OutOfTimeError)


async def test_a_client_that_turns_its_being_cancelled_into_an_error_is_out_of_time() -> None:
    async def call() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            msg = "connection closed"
            raise ConnectionError(msg) from None

    with pytest.raises(OutOfTimeError, match="too slow") as raised:
        await call_within(soon_over(), call)
    assert isinstance(raised.value.__cause__, ConnectionError)
    assert cancellations() == 0


async def test_an_answer_that_comes_while_it_is_cancelled_counts() -> None:
    async def call() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "just in time"
        return "never"

    assert await call_within(soon_over(), call) == "just in time"
    assert cancellations() == 0


def test_the_seconds_of_a_call_count_from_its_beginning() -> None:
    limit = Limit(timeout=60)
    assert limit.left() == math.inf
    limit.begin()
    assert 0 < limit.at - monotonic() <= 60
    ends = limit.at
    limit.begin()
    assert (limit.at, limit.kind) == (ends, "timeout")
    assert limit.why == "no answer within 60 s (proposer_timeout)"


async def test_the_seconds_of_a_call_end_it() -> None:
    limit = Limit(timeout=0.01)

    async def call() -> None:
        limit.begin()
        await forever()

    with pytest.raises(OutOfTimeError, match="proposer_timeout"):
        await call_within(limit, call)
