"""A stream of server-sent events, whose status waits for the first of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from langchain_moa.serving.api_error import ApiError
from langchain_moa.serving.attendance import ClientGoneError, attended, ended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from starlette.types import Receive, Scope, Send

_DONE = b"data: [DONE]\n\n"
# A comment, which every client passes over; proxies see that the connection lives.
_PING = b": still at work\n\n"

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # nginx would collect the pieces.
    "x-accel-buffering": "no",
}


class EventStream:
    """An answer in events: an ASGI application of its own.

    No word of a mixture's answer comes before its last proposer is done. What fails until then should have a status of its own,
    so the response is not begun before the first event; but a proxy closes what is silent for long, so it is begun, with
    comments for events, when that takes longer than `ping`.
    """

    def __init__(self, pieces: AsyncGenerator[Mapping[str, Any]], *, ping: float, until: float, late: ApiError) -> None:
        """Make the response.

        Args:
            pieces: What each event holds. It is read no faster than the client reads, and an `ApiError` that it raises is
                the last event, or the response where there was none before.
            ping: Seconds of silence after which a comment is sent.
            until: When the last event must be out, by the loop's clock.
            late: What is said then.
        """
        self._pieces = pieces
        self._ping = ping
        self._until = until
        self._late = late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; raise `ClientGoneError` where the client goes before its end."""
        # A client that reads nothing cannot be told that it is late.
        limit = asyncio.timeout_at(self._until + self._ping)
        try:
            async with limit:
                await attended(receive, self._send(scope, receive, send))
        except TimeoutError:
            if limit.expired():
                raise ClientGoneError from None
            raise

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        # One place: the next piece is made while the last one is on its way.
        queue: asyncio.Queue[bytes | ApiError | None] = asyncio.Queue(1)
        making = asyncio.create_task(self._make(queue))
        begun, error = False, None
        try:
            while (event := await self._next(queue)) is not None:
                if isinstance(event, ApiError):
                    error = event
                    break
                if not begun:
                    begun = True
                    await self._begin(send)
                await send({"type": "http.response.body", "body": event, "more_body": True})
        finally:
            await ended(making)
        # The end is the last thing that happens: behind it the server says that the client has gone.
        if error is not None and not begun:
            await error.response()(scope, receive, send)
            return
        last = b"" if error is None else _event(error.body())
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _begin(self, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _next(self, queue: asyncio.Queue[bytes | ApiError | None]) -> bytes | ApiError | None:
        try:
            async with asyncio.timeout(self._ping):
                return await queue.get()
        except TimeoutError:
            return _PING

    async def _make(self, queue: asyncio.Queue[bytes | ApiError | None]) -> None:
        # One task for all pieces: a graph's stream keeps things in its task's context.
        try:
            async with asyncio.timeout_at(self._until), aclosing(self._pieces):
                async for piece in self._pieces:
                    await queue.put(_event(piece))
            await queue.put(_DONE)
            await queue.put(None)
        except ApiError as error:
            # No [DONE] behind it: what broke is not done.
            await queue.put(error)
        except TimeoutError:
            await queue.put(self._late)


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
