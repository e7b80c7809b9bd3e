"""Async code waits for sync code in daemon threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import CancelledError
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.limits.portal import in_worker, iterate, iterate_in_worker, wait_for
from tests.unit_tests.resilience.portals import PATIENCE, Forever, on_every_loop, who
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator


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
        assert until(lambda: gc.collect() >= 0 and kept() is None, "the result to be dropped")


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
