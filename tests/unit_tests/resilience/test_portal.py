"""Sync code waits for async code on one event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.limits.portal import in_worker, is_on_portal, iterate, wait_for
from tests.unit_tests.resilience.portals import PATIENCE, Failure, Forever, in_a_thread, who
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class TestWaitFor:
    """`wait_for`: async code from sync code."""

    def test_returns_what_the_call_returns(self) -> None:
        assert wait_for(asyncio.sleep, 0, "done") == "done"

    def test_all_calls_run_on_one_loop_in_one_daemon_thread(self) -> None:
        async def place() -> tuple[Any, threading.Thread, bool]:
            return asyncio.get_running_loop(), threading.current_thread(), is_on_portal()

        loop, thread, on_portal = wait_for(place)
        assert on_portal
        assert not is_on_portal()
        assert thread is not threading.current_thread()
        assert (thread.name, thread.daemon) == ("moa-portal", True)
        assert in_a_thread(lambda: wait_for(place)).result(PATIENCE)[:2] == (loop, thread)

    @pytest.mark.parametrize("error", [ValueError("wrong"), TimeoutError("slow"), CancelledError()])
    def test_raises_what_the_call_raises(self, error: Exception) -> None:
        async def fail() -> None:
            raise error

        with pytest.raises(type(error)) as raised:
            wait_for(fail)
        assert raised.value is error

    @pytest.mark.parametrize("error", [Failure("no answer"), KeyboardInterrupt(), SystemExit(3)])
    @pytest.mark.parametrize("where", ["in the call", "in a worker", "in an iteration"])
    def test_what_no_handler_catches_ends_no_other_call(self, error: BaseException, where: str) -> None:
        def fail() -> None:
            raise error

        async def afail() -> None:
            raise error

        async def items() -> AsyncGenerator[int]:
            yield 1
            raise error

        other, release = threading.Event(), threading.Event()

        async def until_released() -> str:
            other.set()
            await in_worker(lambda: release.wait(PATIENCE))
            return "done"

        waiting = in_a_thread(lambda: wait_for(until_released))
        assert other.wait(PATIENCE)
        calls: dict[str, Callable[[], Any]] = {
            "in the call": lambda: wait_for(afail),
            "in a worker": lambda: wait_for(in_worker, fail),
            "in an iteration": lambda: list(iterate(items)),
        }
        try:
            with pytest.raises(type(error)) as raised:
                calls[where]()
            assert raised.value is error
            assert wait_for(asyncio.sleep, 0, "done") == "done"
        finally:
            release.set()
        assert waiting.result(PATIENCE) == "done"

    def test_a_stop_iteration_is_an_error_as_in_any_coroutine(self) -> None:
        async def stop() -> None:
            raise StopIteration

        with pytest.raises(RuntimeError, match="StopIteration"):
            wait_for(stop)

    def test_the_call_has_a_copy_of_the_context(self) -> None:
        async def see() -> str:
            seen = who.get()
            who.set("you")
            return seen

        who.set("me")
        assert wait_for(see) == "me"
        assert who.get() == "me"

    def test_the_portals_own_loop_does_not_wait_for_itself(self) -> None:
        async def wait() -> None:
            wait_for(asyncio.sleep, 0)

        async def read() -> None:
            async def items() -> AsyncGenerator[int]:
                yield 1

            list(iterate(items))

        for call in (wait, read):
            with pytest.raises(RuntimeError, match="cannot wait on the event loop that runs it; use the async method"):
                wait_for(call)

    async def test_another_loop_may_wait_for_it(self) -> None:
        assert wait_for(asyncio.sleep, 0, "done") == "done"

    def test_what_waits_keeps_nothing_of_a_call_that_is_over(self) -> None:
        class Result:
            """An object that can be weakly referenced."""

        async def make() -> Result:
            return Result()

        kept = weakref.ref(wait_for(make))
        # The other thread may still be about to drop it.
        assert until(lambda: gc.collect() >= 0 and kept() is None, "the result to be dropped")


class TestIterate:
    """`iterate`: an async generator from sync code."""

    def test_every_item_comes_in_order(self) -> None:
        async def items() -> AsyncGenerator[int]:
            for number in range(3):
                await asyncio.sleep(0)
                yield number

        assert list(iterate(items)) == [0, 1, 2]

    def test_items_come_as_they_are_made(self) -> None:
        asked = threading.Event()

        async def items() -> AsyncGenerator[int]:
            yield 1
            await in_worker(lambda: asked.wait(PATIENCE))
            yield 2

        found = iterate(items)
        assert next(found) == 1
        asked.set()
        assert list(found) == [2]

    @pytest.mark.parametrize("error", [ValueError("wrong"), TimeoutError("slow")])
    def test_an_error_comes_after_the_items(self, error: Exception) -> None:
        async def items() -> AsyncGenerator[int]:
            yield 1
            raise error

        found = iterate(items)
        assert next(found) == 1
        with pytest.raises(type(error)) as raised:
            next(found)
        assert raised.value is error

    def test_an_error_may_be_an_item(self) -> None:
        async def items() -> AsyncGenerator[Any]:
            yield ValueError("an item")
            yield None

        assert [type(item) for item in iterate(items)] == [ValueError, type(None)]

    @pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
    def test_a_stop_is_an_error_as_in_any_generator(self, error: type[Exception]) -> None:
        async def items() -> AsyncGenerator[int]:
            yield 1
            raise error

        with pytest.raises(RuntimeError, match=error.__name__):
            list(iterate(items))

    def test_leaving_it_cancels_it(self) -> None:
        forever, closed = Forever(), threading.Event()

        async def items() -> AsyncGenerator[int]:
            try:
                yield 1
                await forever()
            finally:
                closed.set()

        found = iterate(items)
        assert next(found) == 1
        assert forever.begun.wait(PATIENCE)
        found.close()
        assert forever.cancelled.wait(PATIENCE)
        assert closed.wait(PATIENCE)

    def test_what_is_not_read_to_its_end_is_cancelled_with_the_last_reference(self) -> None:
        forever = Forever()

        async def items() -> AsyncGenerator[int]:
            yield 1
            await forever()

        found = iterate(items)
        assert next(found) == 1
        del found
        gc.collect()
        assert forever.cancelled.wait(PATIENCE)

    def test_nothing_is_made_before_it_is_asked_for(self) -> None:
        made: list[str] = []

        async def items() -> AsyncGenerator[int]:
            yield 1

        def make() -> AsyncGenerator[int]:
            made.append("items")
            return items()

        iterate(make).close()
        assert made == []

    def test_it_has_a_copy_of_the_context(self) -> None:
        async def items() -> AsyncGenerator[str]:
            yield who.get()
            who.set("you")
            yield who.get()

        who.set("me")
        assert list(iterate(items)) == ["me", "you"]
        assert who.get() == "me"
