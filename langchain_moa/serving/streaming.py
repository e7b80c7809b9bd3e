"""Cancellation when the client disconnects, and streams of server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from langchain_moa.data.sanitizing import whole_characters
from langchain_moa.serving.errors import ApiError, ClientGoneError, out_of_time, shutting_down

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterable

    from starlette.types import Receive, Send

    from langchain_moa.serving.limits import Limits, Places

T = TypeVar("T")

# A comment, which clients ignore and which makes proxies keep the connection open. It ends with one newline only, because some
# clients treat an empty line as the end of an event.
_PING = b": still at work\n"

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # Without this, nginx would buffer the events.
    "x-accel-buffering": "no",
}

# The maximum number of events that are created before the client has read the previous ones.
_AHEAD = 16

_SECONDS_BETWEEN = 0.5
_TIMES = 20


class EventWriter(Protocol):
    """Writes the events of one API. An event is a mapping."""

    def fail(self, error: ApiError) -> Iterable[Mapping[str, Any]]:
        """Return the events that end a stream with an error."""
        ...

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """Return an event as a server-sent event."""
        ...

    @property
    def last(self) -> bytes:
        """The bytes after the last event of a complete answer."""
        ...


def encode_json(data: Mapping[str, Any]) -> bytes:
    """Return data as JSON on one line."""
    return whole_characters(json.dumps(data, ensure_ascii=False, separators=(",", ":"))).encode()


async def attended(receive: Receive, work: Coroutine[Any, Any, T], *, places: Places, until: float, limits: Limits) -> T:
    """Run a coroutine for a client, and cancel it if the client disconnects, time runs out, or the server shuts down.

    The coroutine runs in a task. Cancelling it closes its calls to providers.

    Args:
        receive: The request's `receive`, after its body has been read.
        work: The coroutine.
        places: Signals the shutdown of the server.
        until: The deadline, on the event loop's clock.
        limits: The server's limits.

    Raises:
        ClientGoneError: The client disconnected.
        ApiError: The deadline has passed, or the server is shutting down.
    """
    task = asyncio.create_task(work)
    gone, expired = asyncio.create_task(_gone(receive)), asyncio.create_task(places.expired())
    try:
        left = until - asyncio.get_running_loop().time()
        await asyncio.wait({task, gone, expired}, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGoneError
        raise shutting_down() if expired.done() else out_of_time(limits.timeout)
    finally:
        await end_tasks(task, gone, expired)


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended.

    It cancels repeatedly, because before Python 3.12, `asyncio.wait_for`, which provider packages use, can swallow a
    cancellation that coincides with a result.

    Args:
        *tasks: The tasks; their results and errors are ignored.
    """
    waiting, interrupted = set(tasks), None
    for _ in range(_TIMES):
        for task in waiting:
            task.cancel()
        try:
            _, waiting = await asyncio.wait(waiting, timeout=_SECONDS_BETWEEN)
        except asyncio.CancelledError as error:
            # This task was cancelled, too. End the others first.
            interrupted = error
            waiting = {task for task in waiting if not task.done()}
        if not waiting:
            break
    for task in set(tasks) - waiting:
        if not task.cancelled():
            task.exception()  # avoids asyncio's warning about errors that were never retrieved
    if interrupted is not None:
        raise interrupted


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream:
    """Sends events to a client.

    The headers are sent immediately, so that clients and proxies see a response. Later errors are sent as events.
    """

    def __init__(self, events: AsyncGenerator[Mapping[str, Any]], writer: EventWriter, limits: Limits) -> None:
        """Create the stream of one answer.

        Args:
            events: The events, consumed at most 16 ahead of the client. An `ApiError` ends the stream.
            writer: Encodes the events.
            limits: The server's limits.
        """
        self._events = events
        self._writer = writer
        self._limits = limits

    async def send(
        self, receive: Receive, send: Send, *, places: Places, until: float, headers: Mapping[str, str]
    ) -> ApiError | None:
        """Send all events.

        Args:
            receive: The request's `receive`.
            send: The request's `send`.
            places: Signals the shutdown of the server.
            until: The deadline for the last event, on the event loop's clock.
            headers: Additional headers.

        Returns:
            The error that ended the stream, or `None` if it is complete.

        Raises:
            ClientGoneError: The client disconnected, or does not read.
        """
        every = [(name.encode(), value.encode("latin-1")) for name, value in {**_HEADERS, **headers}.items()]
        await self._within(send({"type": "http.response.start", "status": 200, "headers": every}))
        error = None
        try:
            await attended(receive, self._send_events(send), places=places, until=until, limits=self._limits)
            last = self._writer.last
        except ApiError as raised:
            error = raised
            last = b"".join(self._writer.encode(event) for event in self._writer.fail(raised))
        await self._within(send({"type": "http.response.body", "body": last, "more_body": False}))
        return error

    async def _send_events(self, send: Send) -> None:
        queue: asyncio.Queue[Mapping[str, Any] | ApiError | None] = asyncio.Queue(_AHEAD)
        making = asyncio.create_task(self._make(queue))
        try:
            while True:
                try:
                    async with asyncio.timeout(self._limits.ping):
                        event = await queue.get()
                except TimeoutError:
                    await self._within(send({"type": "http.response.body", "body": _PING, "more_body": True}))
                    continue
                # Send all available events in one write, because every write may wait for the GIL.
                body = []
                while isinstance(event, Mapping):
                    body.append(self._writer.encode(event))
                    if queue.empty():
                        break
                    event = queue.get_nowait()
                if body:
                    await self._within(send({"type": "http.response.body", "body": b"".join(body), "more_body": True}))
                if event is None:
                    return
                if isinstance(event, ApiError):
                    raise event
        finally:
            await end_tasks(making)

    async def _make(self, queue: asyncio.Queue[Mapping[str, Any] | ApiError | None]) -> None:
        # Iterate in a single task, because a graph's stream stores values in the context of its task.
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    await queue.put(event)
            await queue.put(None)
        except ApiError as error:
            await queue.put(error)

    async def _within(self, sending: Any) -> None:
        try:
            async with asyncio.timeout(self._limits.write_timeout):
                await sending
        except TimeoutError:
            raise ClientGoneError from None
