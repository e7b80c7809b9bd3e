"""Whoever works on what nobody waits for any more is told to stop, however deep inside."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from time import monotonic

import pytest

from langchain_moa.resilience.abandonment import Abandonment, abandoned_on_error, given_up, is_abandoned
from langchain_moa.resilience.deadline import Limit, OutOfTimeError, call_within
from langchain_moa.resilience.slots import Slots
from tests.waiting import PATIENCE


def test_whoever_leaves_ends_the_calls_under_way() -> None:
    abandoned, started, release = Abandonment(), threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        release.wait()

    def leave() -> None:
        started.wait()
        abandoned.set()

    thread = threading.Thread(target=leave)
    thread.start()
    with abandoned.entered(), given_up(None) as limit, pytest.raises(OutOfTimeError, match="nobody waits") as raised:
        call_within(limit, call)
    assert raised.value.kind == "abandoned"
    release.set()
    thread.join()


def test_a_call_for_one_who_has_left_is_not_begun() -> None:
    abandoned = Abandonment()
    abandoned.set()
    with abandoned.entered(), given_up(None) as limit, pytest.raises(OutOfTimeError, match=r"^nobody waits for it any more$"):
        call_within(limit, pytest.fail)


def test_a_call_that_is_over_is_not_ended_any_more() -> None:
    abandoned, limit = Abandonment(), Limit()
    with abandoned.entered(), given_up(limit):
        pass
    abandoned.set()
    limit.check()


def test_a_call_that_nothing_can_end_has_no_limit() -> None:
    with given_up(None) as limit:
        assert limit is None
    assert not is_abandoned()


@pytest.mark.parametrize("depth", [1, 3])
def test_what_is_left_behind_is_told(depth: int) -> None:
    """A call that outlasts its limit goes on in its thread, and asks nobody any more."""
    limit, left = Limit(), threading.Event()
    asked: SimpleQueue[bool] = SimpleQueue()

    def inside(levels: int) -> None:
        if levels:
            with given_up(None) as deeper:
                call_within(deeper, lambda: inside(levels - 1))
            return
        limit.bring_forward(0.0, "timeout", "too slow")
        left.wait()
        asked.put(is_abandoned())

    with pytest.raises(OutOfTimeError), given_up(limit) as ending:
        call_within(ending, lambda: inside(depth - 1))
    left.set()
    assert asked.get(timeout=PATIENCE)


def test_an_error_ends_what_is_inside_and_nothing_else() -> None:
    around = Abandonment()
    inside: list[Abandonment] = []

    def fail() -> None:
        with abandoned_on_error():
            inside.append(Abandonment())
            raise LookupError

    with around.entered():
        with pytest.raises(LookupError):
            fail()
        assert inside[0].is_set()
        assert not is_abandoned()
        assert not around.is_set()


class TestPlaces:
    """A place is waited for no longer than the call may take, and is free when the call is given up."""

    def test_the_wait_for_a_place_ends_with_the_limit(self) -> None:
        slots, limit = Slots(1), Limit()
        limit.bring_forward(0.0, "deadline", "over")
        with slots.taken(), pytest.raises(OutOfTimeError, match="over"), slots.taken(limit):
            pytest.fail("there was no place")
        with slots.taken(Limit()):
            pass

    def test_the_wait_ends_when_the_time_is_over(self) -> None:
        slots, limit = Slots(1), Limit(monotonic() + 0.05, "deadline", "over")
        with slots.taken(), pytest.raises(OutOfTimeError, match="over"), slots.taken(limit):
            pytest.fail("there was no place")

    def test_the_wait_ends_when_the_limit_is_brought_forward(self) -> None:
        slots, limit = Slots(1), Limit()
        timer = threading.Timer(0.05, lambda: limit.bring_forward(0.0, "quorum", "enough"))
        timer.start()
        with slots.taken(), pytest.raises(OutOfTimeError, match="enough"), slots.taken(limit):
            pytest.fail("there was no place")
        timer.join()

    def test_the_seconds_of_a_call_begin_with_its_place(self) -> None:
        limit = Limit(timeout=60)
        with Slots(1).taken(limit):
            assert limit.kind == "timeout"

    async def test_so_they_do_in_async_code(self) -> None:
        for slots in (Slots(None), Slots(1)):
            limit = Limit(timeout=60)
            async with slots.ataken(limit):
                assert limit.kind == "timeout"

    def test_a_call_that_is_given_up_leaves_its_place(self) -> None:
        slots, limit, release = Slots(1), Limit(), threading.Event()
        timer = threading.Timer(0.05, lambda: limit.bring_forward(0.0, "timeout", "too slow"))
        timer.start()
        with pytest.raises(OutOfTimeError), slots.taken(limit):
            call_within(limit, release.wait)
        with slots.taken(Limit()):
            release.set()
        timer.join()

    def test_no_more_calls_than_places(self) -> None:
        slots, most, now, lock = Slots(2), [0], [0], threading.Lock()
        pair = threading.Barrier(2)

        def call() -> None:
            with slots.taken():
                with lock:
                    now[0] += 1
                    most[0] = max(most[0], now[0])
                pair.wait(PATIENCE)
                with lock:
                    now[0] -= 1

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [2]
