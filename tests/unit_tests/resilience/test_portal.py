"""Sync code waits for async code on one event loop, and what waits inside of a cancelled call is cancelled as well."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from time import sleep
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from langchain_moa.limits.portal import (
    Waits,
    in_worker,
    is_on_portal,
    iterate,
    iterate_in_worker,
    leavable,
    wait_for,
)
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator

T = TypeVar("T")

# Longer than any test takes: a test that waited this long would hang.
LONG = 3600.0

# Time to wait for something that happens at once if the machine is not busy.
PATIENCE = 60.0

who: ContextVar[str] = ContextVar("who")


class Failure(BaseException):
    """An exception that `except Exception` does not catch, like pytest's outcomes."""


class Forever:
    """A call that does not end by itself and records when it has started and when it was cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def in_a_thread(call: Callable[[], T]) -> Future[T]:
    """Call a function in a thread, in a copy of the context."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001  # it is raised where the outcome is read
            outcome.set_exception(error)

    threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
    return outcome


def in_a_loop(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    async def run() -> T:
        return await call(*args)

    return asyncio.run(run())


# On the caller's own loop, and on the portal's.
on_every_loop = pytest.mark.parametrize("run", [in_a_loop, wait_for])


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
        until(lambda: gc.collect() >= 0 and kept() is None, "the result to be dropped")


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


class TestInWorker:
    """`in_worker`: sync code from async code."""

    @on_every_loop
    def test_returns_what_the_call_returns(self, run: Any) -> None:
        assert run(in_worker, lambda: 42) == 42

    @on_every_loop
    @pytest.mark.parametrize("error", [ValueError("wrong"), TimeoutError("slow"), CancelledError()])
    def test_raises_what_the_call_raises(self, run: Any, error: Exception) -> None:
        def fail() -> None:
            raise error

        with pytest.raises(type(error)) as raised:
            run(in_worker, fail)
        assert raised.value is error

    @on_every_loop
    def test_a_stop_iteration_is_an_error_as_in_any_coroutine(self, run: Any) -> None:
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            run(in_worker, lambda: next(iter(())))

    @on_every_loop
    def test_each_call_has_a_daemon_thread_of_its_own(self, run: Any) -> None:
        async def together() -> list[threading.Thread]:
            all_there = threading.Barrier(3)

            def call() -> threading.Thread:
                all_there.wait(PATIENCE)
                return threading.current_thread()

            return await asyncio.gather(*(in_worker(call) for _ in range(3)))

        threads = run(together)
        assert len(set(threads)) == 3
        assert {(thread.name, thread.daemon) for thread in threads} == {("moa-call", True)}

    @on_every_loop
    def test_the_call_has_a_copy_of_the_context(self, run: Any) -> None:
        def see() -> str:
            seen = who.get()
            who.set("you")
            return seen

        async def both() -> tuple[str, str]:
            return await in_worker(see), who.get()

        who.set("me")
        assert run(both) == ("me", "me")

    @on_every_loop
    def test_calls_may_share_a_context(self, run: Any) -> None:
        async def both() -> str:
            context = copy_context()
            await in_worker(lambda: who.set("you"), context=context)
            return await in_worker(who.get, context=context)

        who.set("me")
        assert run(both) == "you"

    async def test_the_loop_goes_on_meanwhile(self) -> None:
        event = threading.Event()
        task = asyncio.create_task(in_worker(lambda: event.wait(PATIENCE)))
        await asyncio.sleep(0)
        event.set()
        assert await task

    @pytest.mark.parametrize("depth", [1, 2, 3])
    async def test_what_waits_inside_of_a_call_that_is_given_up_is_cancelled(self, depth: int) -> None:
        forever = Forever()
        ended: SimpleQueue[BaseException] = SimpleQueue()

        def inside(levels: int) -> None:
            try:
                if levels:
                    wait_for(in_worker, lambda: inside(levels - 1))
                else:
                    wait_for(forever)
            except BaseException as error:
                ended.put(error)
                raise

        task = asyncio.create_task(in_worker(lambda: inside(depth - 1)))
        assert await asyncio.to_thread(forever.begun.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(forever.cancelled.wait, PATIENCE)
        for _ in range(depth):
            error = await asyncio.to_thread(ended.get, timeout=PATIENCE)
            assert isinstance(error, CancelledError)

    async def test_what_iterates_inside_of_it_is_cancelled_too(self) -> None:
        forever = Forever()

        async def items() -> AsyncGenerator[int]:
            yield 1
            await forever()

        task = asyncio.create_task(in_worker(lambda: list(iterate(items))))
        assert await asyncio.to_thread(forever.begun.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(forever.cancelled.wait, PATIENCE)

    async def test_a_call_that_was_given_up_goes_on_in_its_thread_and_begins_nothing_more(self) -> None:
        begun, left = threading.Event(), threading.Event()
        threads: list[threading.Thread] = []
        ended: SimpleQueue[list[type[BaseException]]] = SimpleQueue()
        calls: list[str] = []

        async def call() -> None:
            calls.append("called")

        async def items() -> AsyncGenerator[int]:
            calls.append("iterated")
            yield 1

        def work() -> None:
            threads.append(threading.current_thread())
            begun.set()
            left.wait(PATIENCE)
            raised: list[type[BaseException]] = []
            waits: list[Callable[[], Any]] = [lambda: wait_for(call), lambda: list(iterate(items))]
            for wait in waits * 20:
                try:
                    wait()
                except BaseException as error:  # noqa: BLE001  # the outcome is what is looked at
                    raised.append(type(error))
            ended.put(raised)

        task = asyncio.create_task(in_worker(work))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert threads[0].is_alive()
        left.set()
        assert await asyncio.to_thread(ended.get, timeout=PATIENCE) == [CancelledError] * 40
        assert calls == []
        await asyncio.to_thread(threads[0].join, PATIENCE)
        assert not threads[0].is_alive()

    def test_a_loop_may_end_before_the_call_that_it_has_given_up(self) -> None:
        begun, left = threading.Event(), threading.Event()
        threads: list[threading.Thread] = []

        def work() -> None:
            threads.append(threading.current_thread())
            begun.set()
            left.wait(PATIENCE)

        async def give_up() -> None:
            task = asyncio.create_task(in_worker(work))
            await asyncio.to_thread(begun.wait, PATIENCE)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        # An error in the thread would be an error of this test.
        asyncio.run(give_up())
        left.set()
        threads[0].join(PATIENCE)
        assert not threads[0].is_alive()

    def test_a_call_that_ends_in_time_cancels_nothing(self) -> None:
        contexts: list[Any] = []

        def call() -> None:
            contexts.append(copy_context())

        wait_for(in_worker, call)
        assert contexts[0].run(wait_for, asyncio.sleep, 0, "done") == "done"

    def test_many_calls_wait_inside_of_many(self) -> None:
        """A pool as large as the machine has cores would deadlock."""

        async def innermost() -> int:
            return await in_worker(lambda: 1)

        async def inner() -> int:
            return await in_worker(lambda: wait_for(innermost))

        async def outer() -> int:
            return sum(await asyncio.gather(*(in_worker(lambda: wait_for(inner)) for _ in range(40))))

        assert wait_for(outer) == 40
        assert asyncio.run(outer()) == 40

    def test_many_handlers_wait_inside_of_many(self) -> None:
        """LangChain runs sync handlers in the loop's own executor, whose threads wait as well."""

        async def inner() -> int:
            return await asyncio.to_thread(lambda: wait_for(asyncio.to_thread, lambda: 1))

        async def outer() -> int:
            return sum(await asyncio.gather(*(asyncio.to_thread(lambda: wait_for(inner)) for _ in range(40))))

        assert wait_for(outer) == 40

    @on_every_loop
    def test_a_result_is_not_kept(self, run: Any) -> None:
        class Result:
            """An object that can be weakly referenced."""

        kept: Any = weakref.ref(run(in_worker, Result))
        # The other thread may still be about to drop it.
        until(lambda: gc.collect() >= 0 and kept() is None, "the result to be dropped")


class TestIterateInWorker:
    """`iterate_in_worker`: a sync iterator from async code."""

    @on_every_loop
    def test_every_item_comes_in_order(self, run: Any) -> None:
        async def read() -> list[int]:
            return [item async for item in iterate_in_worker(lambda: range(1000))]

        assert run(read) == [*range(1000)]

    @on_every_loop
    def test_an_error_comes_after_the_items(self, run: Any) -> None:
        error, found = ValueError("wrong"), []

        def items() -> Iterator[int]:
            yield from range(100)
            raise error

        async def read() -> None:
            async for item in iterate_in_worker(items):
                found.append(item)  # noqa: PERF401  # it ends in an error

        with pytest.raises(ValueError, match="wrong") as raised:
            run(read)
        assert raised.value is error
        assert found == [*range(100)]

    @on_every_loop
    def test_it_is_made_and_run_in_a_worker_thread(self, run: Any) -> None:
        def items() -> Iterator[str]:
            yield threading.current_thread().name
            yield who.get()

        async def read() -> list[str]:
            return [item async for item in iterate_in_worker(items)]

        who.set("me")
        assert run(read) == ["moa-call", "me"]

    @on_every_loop
    def test_leaving_it_closes_it_at_its_next_item(self, run: Any) -> None:
        left, closed = threading.Event(), threading.Event()
        begun = [0]

        def items() -> Iterator[int]:
            try:
                yield 1
                left.wait(PATIENCE)
                yield 2
                begun.append(3)
            finally:
                closed.set()

        async def read() -> int:
            found: Any = iterate_in_worker(items)
            first: int = await anext(found)
            await found.aclose()
            return first

        assert run(read) == 1
        left.set()
        assert closed.wait(PATIENCE)
        assert begun == [0]

    @on_every_loop
    def test_leaving_it_leaves_no_task_behind(self, run: Any) -> None:
        release, read_first = threading.Event(), threading.Event()

        def items() -> Iterator[int]:
            yield 1
            release.wait(PATIENCE)

        async def read() -> set[Any]:
            before = asyncio.all_tasks()
            reading = asyncio.create_task(drain())
            await asyncio.to_thread(read_first.wait, PATIENCE)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            # Cancelled work gets a chance to end.
            for _ in range(10):
                await asyncio.sleep(0)
            return asyncio.all_tasks() - before

        async def drain() -> None:
            async for _ in iterate_in_worker(items):
                read_first.set()

        try:
            assert run(read) == set()
        finally:
            release.set()

    async def test_what_waits_inside_is_cancelled_when_it_is_left(self) -> None:
        forever = Forever()

        def items() -> Iterator[int]:
            yield 1
            wait_for(forever)

        found: Any = iterate_in_worker(items)
        assert await anext(found) == 1
        assert await asyncio.to_thread(forever.begun.wait, PATIENCE)
        await found.aclose()
        assert await asyncio.to_thread(forever.cancelled.wait, PATIENCE)

    async def test_an_error_after_it_was_left_is_not_reported_as_lost(self) -> None:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        failed = threading.Event()

        def items() -> Iterator[int]:
            try:
                yield 1
                msg = "wrong"
                raise ValueError(msg)
            finally:
                failed.set()

        found: Any = iterate_in_worker(items)
        assert await anext(found) == 1
        assert await asyncio.to_thread(failed.wait, PATIENCE)
        # The thread passes on its error before it ends.
        for thread in threading.enumerate():
            if thread.name == "moa-call":
                await asyncio.to_thread(thread.join, PATIENCE)
        for _ in range(10):
            await asyncio.sleep(0)
        await found.aclose()
        del found
        gc.collect()
        await asyncio.sleep(0)
        assert reported == []


class TestWaits:
    """`Waits`: the waits of a run, cancelled together."""

    def test_present_and_future_waits_are_cancelled(self) -> None:
        waits, before, after, over = Waits(), Future[None](), Future[None](), Future[None]()
        with waits.holding(over):
            pass
        with waits.holding(before):
            waits.cancel()
            assert before.cancelled()
        with waits.holding(after):
            assert after.cancelled()
        assert not over.cancelled(), "it is over"

    def test_scopes_inside_are_cancelled_and_those_around_are_not(self) -> None:
        around, middle, inside = Waits(), Waits(), Waits()
        outer, inner = Future[None](), Future[None]()
        with around.holding(middle), around.holding(outer), middle.holding(inside), inside.holding(inner):
            middle.cancel()
            assert inner.cancelled()
            assert not outer.cancelled()
            around.cancel()
            assert outer.cancelled()

    def test_the_waits_of_a_thread_that_was_entered_are_cancelled(self) -> None:
        waits, forever = Waits(), Forever()
        with waits.entered():
            waiting = in_a_thread(lambda: wait_for(forever))
        assert forever.begun.wait(PATIENCE)
        waits.cancel()
        with pytest.raises(CancelledError):
            waiting.result(PATIENCE)
        assert forever.cancelled.wait(PATIENCE)
        assert wait_for(asyncio.sleep, 0, "done") == "done", "here it was left again"


def here(test: Callable[[], None]) -> None:
    test()


def in_another_thread(test: Callable[[], None]) -> None:
    in_a_thread(test).result(PATIENCE)


everywhere = pytest.mark.parametrize("run", [here, in_another_thread])


class TestLeavable:
    """`leavable`: the steps of a sync run."""

    @everywhere
    def test_every_step_comes_when_it_is_asked_for(self, run: Any) -> None:
        begun: list[int] = []

        def steps() -> Generator[int]:
            for number in range(3):
                begun.append(number)
                yield number

        def test() -> None:
            found: list[int] = []
            for step in leavable(steps()):
                found.append(step)
                assert begun == found
            assert found == [0, 1, 2]

        run(test)

    @everywhere
    @pytest.mark.parametrize("error", [LookupError("wrong"), Failure("no answer"), SystemExit(3)])
    def test_an_error_is_raised_where_the_steps_are_read(self, run: Any, error: BaseException) -> None:
        def steps() -> Generator[int]:
            yield 1
            raise error

        def test() -> None:
            items = leavable(steps())
            assert next(items) == 1
            with pytest.raises(type(error)) as raised:
                next(items)
            assert raised.value is error

        run(test)

    @everywhere
    def test_leaving_it_cancels_the_calls_first(self, run: Any) -> None:
        """The steps wait for their calls in any case, as LangGraph's loop does."""
        forever = Forever()
        ended: list[BaseException | None] = []
        begun = [1]

        def steps() -> Generator[int]:
            call = in_a_thread(lambda: wait_for(forever))
            assert forever.begun.wait(PATIENCE)
            try:
                yield 1
                begun.append(2)
            finally:
                ended.append(call.exception(PATIENCE))

        def test() -> None:
            items = leavable(steps())
            assert next(items) == 1
            assert not forever.cancelled.is_set()
            items.close()
            assert isinstance(ended[0], CancelledError)
            assert forever.cancelled.wait(PATIENCE)
            assert begun == [1], "no other step was asked for"

        run(test)

    @everywhere
    def test_an_error_of_one_step_cancels_the_calls_of_the_others(self, run: Any) -> None:
        forever = Forever()

        def steps() -> Generator[int]:
            in_a_thread(lambda: wait_for(forever))
            assert forever.begun.wait(PATIENCE)
            yield 1
            raise LookupError

        def test() -> None:
            with pytest.raises(LookupError):
                list(leavable(steps()))
            assert forever.cancelled.wait(PATIENCE)

        run(test)

    @everywhere
    def test_what_is_read_to_its_end_cancels_nothing(self, run: Any) -> None:
        contexts: list[Any] = []

        def steps() -> Generator[int]:
            contexts.append(copy_context())
            yield 1

        def test() -> None:
            assert list(leavable(steps())) == [1]
            assert contexts[0].run(wait_for, asyncio.sleep, 0, "done") == "done"

        run(test)

    @everywhere
    def test_the_steps_see_the_context_and_keep_what_they_set(self, run: Any) -> None:
        token: list[Any] = []

        def steps() -> Generator[str]:
            token.append(who.set(f"{who.get()} inside"))
            yield who.get()
            yield who.get()
            who.reset(token[0])
            yield who.get()

        def test() -> None:
            who.set("me")
            assert list(leavable(steps())) == ["me inside", "me inside", "me"]
            assert who.get() == "me"

        run(test)

    @everywhere
    def test_one_inside_of_another_is_cancelled_with_it(self, run: Any) -> None:
        forever = Forever()

        def inner() -> Generator[int]:
            in_a_thread(lambda: wait_for(forever))
            assert forever.begun.wait(PATIENCE)
            yield 1
            yield 2

        def outer() -> Generator[int]:
            yield from leavable(inner())

        def test() -> None:
            items = leavable(outer())
            assert next(items) == 1
            items.close()
            assert forever.cancelled.wait(PATIENCE)

        run(test)

    async def test_it_ends_with_the_worker_that_reads_it(self) -> None:
        forever = Forever()

        def steps() -> Generator[int]:
            wait_for(forever)
            yield 1

        task = asyncio.create_task(in_worker(lambda: list(leavable(steps()))))
        assert await asyncio.to_thread(forever.begun.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(forever.cancelled.wait, PATIENCE)

    def test_in_the_main_thread_all_steps_are_in_another_one(self) -> None:
        def steps() -> Generator[threading.Thread]:
            for _ in range(2):
                yield threading.current_thread()

        first, second = leavable(steps())
        assert first is second is not threading.current_thread()
        assert first.name.startswith("moa-run")
        first.join(PATIENCE)
        assert not first.is_alive()

    def test_in_another_thread_they_stay_in_it(self) -> None:
        def steps() -> Generator[threading.Thread]:
            for _ in range(2):
                yield threading.current_thread()

        def test() -> None:
            assert list(leavable(steps())) == [threading.current_thread()] * 2

        in_another_thread(test)


PRELUDE = """
import asyncio, os, sys, threading, time
from contextvars import ContextVar
from langchain_moa.limits.portal import Waits, in_worker, iterate, iterate_in_worker, leavable, wait_for

begun = threading.Event()

async def forever():
    try:
        begun.set()
        await asyncio.sleep(3600)
    finally:
        print("cancelled", flush=True)

async def forever_in_worker():
    try:
        await in_worker(hang)
    finally:
        print("cancelled", flush=True)

def hang():
    begun.set()
    threading.Event().wait()

async def items():
    yield 1
    await forever()

async def pid():
    return os.getpid()

def in_background(call):
    threading.Thread(target=call, daemon=True).start()
    assert begun.wait(60)
"""


def program(code: str) -> list[str]:
    return [sys.executable, "-c", PRELUDE + textwrap.dedent(code)]


def ended(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(  # noqa: S603  # a program of these tests
        program(code), capture_output=True, text=True, timeout=5 * PATIENCE, check=False
    )


class TestExit:
    """The portal does not keep a program from ending."""

    @pytest.mark.parametrize(
        ("code", "printed"),
        [
            ("wait_for(pid)", []),
            ("list(iterate_in_worker_of(3))", []),
            ("in_background(lambda: wait_for(forever))", ["cancelled"]),
            ("in_background(lambda: wait_for(forever_in_worker))", ["cancelled"]),
            ("in_background(lambda: list(iterate(items)))", ["cancelled"]),
        ],
        ids=["nothing under way", "workers done", "a call", "a call in a worker", "an iteration"],
    )
    def test_a_program_ends_with_calls_under_way(self, code: str, printed: list[str]) -> None:
        helper = """
        async def _read(n):
            return [x async for x in iterate_in_worker(lambda: range(n))]

        def iterate_in_worker_of(n):
            return wait_for(_read, n)

        """
        done = ended(textwrap.dedent(helper) + code + "\nprint('end', flush=True)\n")
        assert (done.returncode, done.stdout.split()) == (0, ["end", *printed]), done.stderr

    @pytest.mark.parametrize("start", ["found = iterate(items)", "found = leavable(iterate(items))"])
    def test_a_program_ends_with_a_stream_left_open(self, start: str) -> None:
        done = ended(f"{start}\nnext(found)\nprint('end', flush=True)\n")
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["end", "cancelled"], "")

    @pytest.mark.parametrize(
        "start",
        ["ThreadPoolExecutor(1).submit(wait_for, later)", "threading.Thread(target=wait_for, args=(later,)).start()"],
        ids=["pool", "thread"],
    )
    def test_what_python_waits_for_at_exit_is_not_cancelled(self, start: str) -> None:
        done = ended(
            f"""
            from concurrent.futures import ThreadPoolExecutor

            async def later():
                begun.set()
                await asyncio.sleep(0.5)
                print("done", flush=True)

            {start}
            assert begun.wait(60)
            print("end", flush=True)
            """
        )
        assert (done.returncode, sorted(done.stdout.split()), done.stderr) == (0, ["done", "end"], "")

    def test_a_program_ends_that_is_called_while_it_ends(self) -> None:
        done = ended(
            """
            import atexit
            # Exit handlers run in reverse order: this one before the portal is stopped.
            atexit.register(lambda: print(wait_for(pid) == os.getpid(), flush=True))
            wait_for(pid)
            """
        )
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["True"], "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestFork:
    """A forked child gets its own portal."""

    @pytest.mark.parametrize(
        "before",
        [
            "",
            "wait_for(pid)",
            "in_background(lambda: wait_for(forever))",
            "found = iterate(items)\nnext(found)\nassert begun.wait(60)",
        ],
        ids=["not used before", "used before", "a call under way", "a stream under way"],
    )
    def test_parent_and_children_each_have_their_own(self, before: str) -> None:
        """As under a server that loads the program and then forks its workers."""
        done = ended(
            before
            + """
found = None if "found" not in globals() else found
for number in range(2):
    child = os.fork()
    if not child:
        async def nested():
            return await in_worker(lambda: wait_for(pid))
        assert wait_for(pid) == wait_for(nested) == os.getpid()
        if found is not None:
            found.close()
        print("child", flush=True)
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert wait_for(pid) == os.getpid()
print("parent", flush=True)
if found is not None:
    found.close()
"""
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[:3] == ["child", "child", "parent"], done.stderr
        assert "Traceback" not in done.stderr.split("Exception in thread")[0]

    def test_a_child_of_multiprocessing_has_its_own(self) -> None:
        done = ended(
            """
            import multiprocessing

            def work(_):
                return wait_for(pid) == os.getpid()

            wait_for(pid)
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(pool.map(work, range(4)), flush=True)
            """
        )
        assert (done.returncode, done.stdout) == (0, "[True, True, True, True]\n"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
class TestInterrupt:
    """Ctrl-C cancels what the main thread waits for."""

    @pytest.mark.parametrize(
        "wait",
        [
            "wait_for(forever)",
            "wait_for(forever_in_worker)",
            "list(iterate(items))",
            "list(leavable(iterate(items)))",
            "list(leavable(x for x in [wait_for(forever)]))",
            "list(leavable(steps()))",
        ],
    )
    def test_it_ends_the_wait_and_the_task(self, wait: str) -> None:
        code = f"""
        def steps():
            # As LangGraph runs its nodes, for which it always waits.
            from concurrent.futures import ThreadPoolExecutor
            from contextvars import copy_context
            with ThreadPoolExecutor(1) as pool:
                yield pool.submit(copy_context().run, wait_for, forever).result()

        def tell():
            begun.wait(60)
            # Until the main thread waits for the outcome.
            while not any(name in str(sys._current_frames()[threading.main_thread().ident]) for name in ("wait", "iterate")):
                time.sleep(0.01)
            print("waiting", flush=True)

        threading.Thread(target=tell, daemon=True).start()
        try:
            {wait}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        # The portal serves the next call.
        assert wait_for(pid) == os.getpid()
        """
        process = subprocess.Popen(  # noqa: S603  # a program of these tests
            program(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            sleep(0.05)
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=5 * PATIENCE)
        finally:
            process.kill()
        # Two threads print, so their lines may run together.
        assert sorted(printed.replace("\n", "")) == sorted("cancelledinterrupted"), errors
        assert (process.returncode, errors) == (0, "")
