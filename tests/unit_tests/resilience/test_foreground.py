"""Sync runs: each step is made when it is asked for, and whoever leaves waits for nothing."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.resilience.abandonment import Abandonment, given_up, is_abandoned
from langchain_moa.resilience.foreground import leavable
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

who: ContextVar[str] = ContextVar("who")


def here(test: Callable[[], None]) -> None:
    test()


def in_another_thread(test: Callable[[], None]) -> None:
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            test()
        except BaseException as error:  # noqa: BLE001  # it is raised in the test
            ended.put(error)
        else:
            ended.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if (error := ended.get(timeout=PATIENCE)) is not None:
        raise error
    thread.join()


everywhere = pytest.mark.parametrize("run", [here, in_another_thread])


@everywhere
def test_every_step_comes_when_it_is_asked_for(run: Any) -> None:
    begun: list[int] = []

    def steps() -> Iterator[int]:
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
def test_an_error_is_raised_where_the_steps_are_read(run: Any) -> None:
    error = LookupError("wrong")

    def steps() -> Iterator[int]:
        yield 1
        raise error

    def test() -> None:
        items = leavable(steps())
        assert next(items) == 1
        with pytest.raises(LookupError) as raised:
            next(items)
        assert raised.value is error

    run(test)


@everywhere
def test_whoever_leaves_ends_the_steps_and_tells_what_is_inside(run: Any) -> None:
    inside: list[Abandonment] = []
    told: list[bool] = []
    begun = [1]

    def steps() -> Iterator[int]:
        try:
            inside.append(Abandonment())
            yield 1
            begun.append(2)
        finally:
            told.append(inside[0].is_set())

    def test() -> None:
        items = leavable(steps())
        assert next(items) == 1
        assert not inside[0].is_set()
        items.close()
        assert told == [True]
        assert begun == [1], "nobody has asked for another step"

    run(test)


@everywhere
def test_what_is_read_to_its_end_is_not_abandoned(run: Any) -> None:
    inside: list[Abandonment] = []

    def steps() -> Iterator[int]:
        inside.append(Abandonment())
        yield 1

    def test() -> None:
        assert list(leavable(steps())) == [1]
        assert not inside[0].is_set()

    run(test)


@everywhere
def test_the_steps_see_the_context_and_the_reader_sees_nothing_of_theirs(run: Any) -> None:
    def steps() -> Iterator[tuple[str, bool]]:
        for _ in range(2):
            with given_up(None) as limit:
                ended_early = limit is not None
            yield who.get(), ended_early

    def test() -> None:
        who.set("me")
        for step in leavable(steps()):
            assert step == ("me", True)
            with given_up(None) as limit:
                assert limit is None, "nothing could end a call of the reader's"

    run(test)


def test_in_the_main_thread_the_steps_are_in_a_daemon() -> None:
    def steps() -> Iterator[threading.Thread]:
        yield threading.current_thread()
        yield threading.current_thread()

    first, second = leavable(steps())
    assert first is second is not threading.current_thread()
    assert first.daemon
    assert first.name == "moa-run", "whoever looks at a program's threads sees whose this is"
    first.join(PATIENCE)
    assert not first.is_alive()


def test_in_another_thread_they_stay_in_it() -> None:
    def test() -> None:
        assert [*leavable(threading.current_thread() for _ in range(2))] == [threading.current_thread()] * 2

    in_another_thread(test)


def test_ctrl_c_leaves_a_step_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, release, ended = threading.Event(), threading.Event(), threading.Event()
    begun = [1, 2]
    told: SimpleQueue[bool] = SimpleQueue()
    waits = iter([1, 2])

    class Interrupted(SimpleQueue[Any]):
        """What the main thread waits at when Ctrl-C comes."""

        def get(self, *args: Any, **kwargs: Any) -> Any:
            if next(waits) == 1:
                return super().get(*args, **kwargs)
            hangs.wait()
            raise KeyboardInterrupt

    def steps() -> Iterator[int]:
        try:
            yield 1
            hangs.set()
            release.wait()
            told.put(is_abandoned())
            yield 2
            begun.append(3)
        finally:
            ended.set()

    monkeypatch.setattr("langchain_moa.resilience.foreground.SimpleQueue", Interrupted)
    items = leavable(steps())
    assert next(items) == 1
    with pytest.raises(KeyboardInterrupt):
        next(items)
    release.set()
    assert told.get(timeout=PATIENCE)
    assert ended.wait(PATIENCE)
    assert begun == [1, 2], "nobody has asked for another step"
