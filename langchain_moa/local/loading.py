"""Waiting for a model to load, without blocking and without having to."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def aloaded(load: Callable[[], T]) -> T:
    """Load in a daemon thread: who is cancelled leaves at once, and so does a program that ends.

    `asyncio.to_thread` would not do: a loop that ends waits for its threads, a second or more for a model that nobody wants.

    Args:
        load: What to do.
    """
    outcome: Future[T] = Future()
    # From now on it is under way, and not to be cancelled from outside.
    outcome.set_running_or_notify_cancel()

    def work() -> None:
        try:
            outcome.set_result(load())
        except BaseException as error:  # noqa: BLE001  # it is raised where the outcome is read
            outcome.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), name="moa-load", daemon=True).start()
    return await asyncio.wrap_future(outcome)
