"""What the tests of the portal share: calls that do not end, and places to run them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from langchain_moa.limits.portal import wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
