"""Work for a client is done as long as the client is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client has closed its connection: nobody waits for the answer any more."""


async def attended(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do some work, and stop it when the client goes.

    The work is a task of its own, so that it is cancelled once and can close what it has open: every call under way is
    closed at its provider before this returns.

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
    """Cancel tasks and wait until they have ended, whatever they ended with."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
