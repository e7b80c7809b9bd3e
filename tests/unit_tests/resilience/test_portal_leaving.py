"""Waits of a run that is left are cancelled together, and so are the steps of a sync run."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.limits.portal import Waits, in_worker, leavable, wait_for
from tests.unit_tests.resilience.portals import PATIENCE, Failure, Forever, in_a_thread, who

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


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
