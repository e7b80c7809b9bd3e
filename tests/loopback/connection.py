"""One HTTP/1.1 connection of the loopback server."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from tests.loopback.completion import encode, error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.loopback.server import Loopback


@dataclass(frozen=True, slots=True)
class Head:
    """The request line and the headers, with lower-case names."""

    method: str
    path: str
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse the part of a request before its empty line.

        Raises:
            ValueError: The request is not HTTP, or is chunked.
        """
        first, *rest = raw.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in rest)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if "transfer-encoding" in headers:
            msg = "transfer-encoding: only requests with a content-length are taken"
            raise ValueError(msg)
        return cls(method, target.partition("?")[0], headers)

    @property
    def length(self) -> int:
        """The length of the body in bytes."""
        return int(self.headers.get("content-length", "0"))


class Connection(asyncio.Protocol):
    """Reads requests one after another, and writes the server's responses."""

    transport: asyncio.Transport

    def __init__(self, server: Loopback, number: int) -> None:
        """Create the protocol of a connection, numbered from 1."""
        self._server = server
        self.number = number
        self._buffer = bytearray()
        self._head: Head | None = None
        self._task: asyncio.Task[None] | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        assert isinstance(transport, asyncio.Transport)
        # asyncio does not set this for listeners that it did not create, which would delay the first chunk of streams by 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the answer in progress."""
        self.lost = True
        self._server.connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Buffer incoming data, which may be a part of a request, or several requests."""
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        if self._task is not None or self.transport.is_closing():
            return
        try:
            head = self._head = self._head or self._read_head()
            length = head.length if head is not None else 0
        except ValueError as problem:
            self.respond(HTTPStatus.BAD_REQUEST, error(400, str(problem)))
            self.transport.close()
            return
        if head is None or len(self._buffer) < length:
            return
        raw = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        self._task = asyncio.get_running_loop().create_task(self._serve(head, raw))
        self._task.add_done_callback(self._served)

    def _read_head(self) -> Head | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = Head.parse(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        return head

    def _served(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (problem := task.exception()) is not None:
            self._server.failed(problem)
            self.transport.abort()
        if not self.lost:
            self._advance()

    async def _serve(self, head: Head, raw: bytes) -> None:
        match head.method, head.path.removeprefix("/v1"):
            case "POST", "/chat/completions":
                try:
                    body = _body(raw)
                except ValueError as problem:
                    self.respond(HTTPStatus.BAD_REQUEST, error(400, str(problem)))
                else:
                    await self._server.answer(self, head.headers, body)
            case "GET", "/models":
                models = [{"id": name, "object": "model"} for name in self._server.scripted]
                self.respond(HTTPStatus.OK, {"object": "list", "data": models})
            case method, _:
                self.respond(HTTPStatus.NOT_FOUND, error(404, f"unknown: {method} {head.path}"))
        if head.headers.get("connection", "").lower() == "close":
            self.transport.close()

    def respond(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete response. `body` is encoded as JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else encode(body)
        self.transport.write(_head(status, {"content-length": str(len(data)), **(headers or {})}) + data)

    def start_stream(self, headers: Mapping[str, str]) -> None:
        """Send the head of a stream of server-sent events."""
        more = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        self.transport.write(_head(HTTPStatus.OK, {**more, **headers}))

    def send(self, data: bytes) -> None:
        """Send one chunk of a stream."""
        self.transport.write(_chunk(data))

    def end_stream(self, data: bytes) -> None:
        """Send the last chunk of a stream.

        The end of the stream is sent with it. Otherwise, a client that stops reading at the
        last event would not see the end, and could not reuse the connection.
        """
        self.transport.write(_chunk(data) + b"0\r\n\r\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _body(raw: bytes) -> dict[str, Any]:
    body = json.loads(raw)
    match body:
        case {"model": str(), "messages": [*_]}:
            return dict(body)
    msg = "a request needs a model and messages"
    raise ValueError(msg)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Scripted"
    lines = {"content-type": "application/json", **headers}
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {phrase}\r\n{fields}\r\n".encode("latin-1")
