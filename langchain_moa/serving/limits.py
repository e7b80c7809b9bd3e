"""The limits of a server: concurrent answers, sizes of requests, and time limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from langchain_moa.serving.errors import ApiError, ClientGoneError, shutting_down

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

MEBIBYTE = 1 << 20

MAX_TOOLS = 128
"""The maximum number of tools in a request, as at OpenAI."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server.

    Attributes:
        max_requests: The maximum number of concurrent answers. Further requests get a 429 with `retry-after`. Default: 64.
        max_requests_per_key: The maximum number of concurrent answers per API key. Default: only `max_requests` applies.
        max_body_bytes: The maximum size of a request in bytes, including images. Default: 16 MiB.
        max_messages: The maximum number of messages, or items, of a conversation, of all their parts, and of all their tool
            calls. Default: 2048, as at OpenAI.
        timeout: The time limit of a request, from its first byte to the last byte of the answer, in seconds. Default: 600, the
            default timeout of OpenAI's clients.
        read_timeout: The time limit for receiving a request's body, in seconds. Default: 60.
        write_timeout: The time limit for a client to read each part of an answer, in seconds. Default: 30.
        ping: The number of seconds without an event after which a stream sends a comment to keep the connection open. Default:
            15.

    Raises:
        ValueError: A limit is not positive.
    """

    max_requests: int = 64
    max_requests_per_key: int | None = None
    max_body_bytes: int = 16 * MEBIBYTE
    max_messages: int = 2048
    timeout: float = 600.0
    read_timeout: float = 60.0
    write_timeout: float = 30.0
    ping: float = 15.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                msg = f"{field.name}: {value} must be above 0"
                raise ValueError(msg)


class Places:
    """Counts the answers in progress, in total and per key, and rejects new ones during a shutdown."""

    def __init__(self, limits: Limits) -> None:
        """Create the counter.

        Args:
            limits: The server's limits.
        """
        self._limits = limits
        self._taken: Counter[str] = Counter()
        self._is_expired = False
        self._waiting: set[asyncio.Future[None]] = set()
        self.is_draining = False

    @property
    def taken(self) -> int:
        """The number of answers in progress."""
        return self._taken.total()

    def drain(self) -> None:
        """Reject new answers, because the server is shutting down."""
        self.is_draining = True

    def expire(self) -> None:
        """End the answers in progress. Can be called from any thread."""
        self._is_expired = True
        for future in tuple(self._waiting):
            future.get_loop().call_soon_threadsafe(_finish, future)

    async def expired(self) -> None:
        """Wait until answers in progress must end because the server is shutting down."""
        # A future of the running loop, because an application can run on several loops, one after another.
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            if not self._is_expired:
                await future
        finally:
            self._waiting.discard(future)

    @contextmanager
    def held(self, owner: str) -> Iterator[None]:
        """Count an answer as in progress while the context is open.

        Args:
            owner: The name of the client's key.

        Raises:
            ApiError: A limit is reached, or the server is shutting down.
        """
        limits = self._limits
        if self.is_draining:
            raise shutting_down()
        if self.taken >= limits.max_requests:
            raise _too_many(limits.max_requests, "this server")
        if limits.max_requests_per_key is not None and self._taken[owner] >= limits.max_requests_per_key:
            raise _too_many(limits.max_requests_per_key, "this API key")
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    Args:
        request: The request.
        limits: The server's limits.

    Raises:
        ApiError: The body is too long or too slow, or its content type is not JSON.
        ClientGoneError: The client closed the connection.
    """
    # Browsers let any page send requests to any server, but those with this content type only if CORS allows it.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        msg = "the content-type must be application/json"
        raise ApiError(415, msg, code="unsupported_media_type")
    try:
        if int(request.headers.get("content-length", "0")) > limits.max_body_bytes:
            raise _too_long(limits.max_body_bytes)
    except ValueError:
        msg = "content-length is not a number"
        raise ApiError(400, msg, code="invalid_request") from None
    body = bytearray()
    try:
        async with asyncio.timeout(limits.read_timeout):
            async for piece in request.stream():
                body += piece
                if len(body) > limits.max_body_bytes:
                    raise _too_long(limits.max_body_bytes)
    except ClientDisconnect:
        raise ClientGoneError from None
    except TimeoutError:
        msg = f"the body did not arrive within {limits.read_timeout:g} s, this server's limit"
        raise ApiError(408, msg, code="request_timeout", headers={"connection": "close"}) from None
    return bytes(body)


def check_counts(body: dict[str, Any], key: str, limits: Limits) -> None:
    """Check the number of messages, their parts and tool calls, and of tools of a request before they are processed.

    Args:
        body: The parsed JSON.
        key: The field with the conversation: `messages` or `input`.
        limits: The server's limits.

    Raises:
        ApiError: A number exceeds its limit.
    """
    items, tools, most = body.get(key), body.get("tools"), limits.max_messages
    if isinstance(items, list):
        parts, calls = _entries(items, "content", "output"), _entries(items, "tool_calls")
        if max(len(items), parts, calls) > most:
            what = "items" if key == "input" else "messages"
            msg = f"{key}: at most {most} {what}, with at most {most} content parts and {most} tool calls"
            raise ApiError(400, msg, code="array_above_max_length", param=key)
    if isinstance(tools, list) and len(tools) > MAX_TOOLS:
        raise ApiError(400, f"tools: at most {MAX_TOOLS}", code="array_above_max_length", param="tools")


def _entries(items: list[Any], *names: str) -> int:
    """Return the number of entries in the lists that messages have under some names."""
    lists = [item.get(name) for item in items if isinstance(item, dict) for name in names]
    return sum(len(each) for each in lists if isinstance(each, list))


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _too_many(most: int, whose: str) -> ApiError:
    many = "1 answer is" if most == 1 else f"{most} answers are"
    msg = f"{many} in progress, which is the limit of {whose}; try again"
    return ApiError(429, msg, code="too_many_requests", headers={"retry-after": "1"}, retry=True)


def _too_long(most: int) -> ApiError:
    msg = f"the body is longer than {most} bytes, this server's limit"
    return ApiError(413, msg, code="request_too_large", headers={"connection": "close"}, retry=False)
