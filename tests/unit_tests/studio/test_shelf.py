"""A shelf makes an object once, keeps it while there is room, and never keeps a failure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from langchain_moa.studio.shelf import Shelf


def test_what_is_kept_is_not_made_again() -> None:
    shelf: Shelf[object] = Shelf()
    first = shelf.get("a", object)
    assert shelf.get("a", object) is first
    assert shelf.find("a") is first
    assert shelf.find("b") is None
    assert shelf.get("b", object) is not first


def test_what_nobody_has_asked_for_longest_goes_first() -> None:
    shelf: Shelf[object] = Shelf(size=2)
    first, second = shelf.get("a", object), shelf.get("b", object)
    shelf.find("a")
    shelf.get("c", object)
    assert len(shelf) == 2
    assert shelf.find("a") is first
    assert shelf.get("b", object) is not second


def test_those_who_ask_at_once_get_the_same_one() -> None:
    shelf: Shelf[object] = Shelf()
    together = Barrier(8)
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask() -> object:
        together.wait()
        return shelf.get("a", make)

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: ask(), range(8)))
    assert made == got[:1]
    assert set(map(id, got)) == {id(made[0])}


def test_one_that_is_being_made_is_not_found_and_holds_up_nobody_else() -> None:
    shelf: Shelf[str] = Shelf()
    begun, go_on = Event(), Event()

    def slow() -> str:
        begun.set()
        go_on.wait()
        return "slow"

    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(shelf.get, "a", slow)
        begun.wait()
        assert shelf.find("a") is None
        assert shelf.get("b", lambda: "quick") == "quick"
        go_on.set()
        assert making.result() == "slow"


def test_a_failure_is_not_kept() -> None:
    shelf: Shelf[str] = Shelf()

    def fail() -> str:
        msg = "not yet"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="not yet"):
        shelf.get("a", fail)
    assert shelf.find("a") is None
    assert shelf.get("a", lambda: "now") == "now"
