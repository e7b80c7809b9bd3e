"""Work for a client is done as long as the client is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive

T = TypeVar("T")

_SECONDS_BETWEEN = 0.5
_TIMES = 20


class ClientGoneError(Exception):
    """The client has closed its connection: nobody waits for the answer any more."""


async def attended(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do some work, and stop it when the client goes.

    The work is a task of its own, which closes what it has open when it is cancelled: every call under way is closed at its
    provider before this returns.

    Args:
        receive: The request's, whose body has been read.
        work: What to do.

    Raises:
        ClientGoneError: The client has gone.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        await ended(task, gone)


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever they ended with.

    They are cancelled until they hear it: before Python 3.12 `asyncio.wait_for`, in which clients wait for the pieces of an
    answer, loses a cancellation that comes together with a piece.
    """
    waiting, interrupted = set(tasks), None
    for _ in range(_TIMES):
        for task in waiting:
            task.cancel()
        try:
            _, waiting = await asyncio.wait(waiting, timeout=_SECONDS_BETWEEN)
        except asyncio.CancelledError as error:
            # Whoever waits for us may be as insistent; the tasks are ended all the same.
            interrupted = error
            waiting = {task for task in waiting if not task.done()}
        if not waiting:
            break
    for task in set(tasks) - waiting:
        if not task.cancelled():
            task.exception()  # else asyncio complains that nobody has looked at it
    if interrupted is not None:
        raise interrupted


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
