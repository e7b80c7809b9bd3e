"""Run the application with uvicorn: listening, connection limits, shutdown."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import os
import signal
import socket
import sys
from contextlib import contextmanager
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    _missing = 'serving needs other packages: pip install "langchain-moa[serve]"'
    raise ImportError(_missing) from error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from langchain_moa.serving.app import Endpoint

logger = logging.getLogger(__name__)

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
"""Host names that only programs on this machine can use."""

MAX_CONNECTIONS = 1024
"""The maximum number of connections, unless the process's limit of open files is lower."""

_BACKLOG = 2048

_TURN_SECONDS = 0.0003

# For `gc.set_threshold`. By default, Python runs a full collection whenever the number of objects has grown by a quarter, which
# pauses the server every second during a burst of requests. With these values, it does so after five million new objects.
# Answers leave little garbage to collect.
_COLLECTION_THRESHOLDS = (10_000, 5, 100)

# The time limit for receiving the headers of a request, in seconds.
_HEADER_TIMEOUT = 15.0

# The time after which a rejected connection is closed if the client does not close it, in seconds.
_REFUSED_TIMEOUT = 1.0

# Files that the server needs besides its connections. Each connection may need another one to a provider.
_SPARE_FILES = 64
_FILES_PER_CONNECTION = 2

_NO_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_BUSY = {
    "error": {
        "message": "too many connections; try again",
        "type": "server_error",
        "param": None,
        "code": "too_many_connections",
    }
}


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen. Connections wait until the server runs.

    Args:
        host: The host name or address.
        port: The port; 0 chooses a free one.

    Raises:
        OSError: The address cannot be bound. The message has the address.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = infos[0]
        # Not `socket.create_server`: its sockets have no protocol number, so asyncio would not disable Nagle's algorithm, which
        # delays each event by up to 40 ms.
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot(host, port, error) from None
    try:
        if os.name == "posix":
            # On Windows, this would let another program bind to the same address.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot(host, port, error) from None
    return listener


def _cannot(host: str, port: int, error: OSError) -> OSError:
    # A single argument, so that the message does not include the error number.
    return OSError(f"cannot listen at {host}, port {port}: {error.strerror or error}; give another --host or --port")


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only programs on this machine can connect."""
    return ip_address(listener.getsockname()[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the `base_url` for clients."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


class HttpServer(uvicorn.Server):
    """A server that shuts down gracefully: it finishes the answers in progress and refuses new requests with a 503."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        grace: float = 30.0,
        max_connections: int = MAX_CONNECTIONS,
        header_timeout: float = _HEADER_TIMEOUT,
        write_timeout: float = 30.0,
    ) -> None:
        """Create the server.

        Args:
            endpoint: The application.
            grace: The time that answers in progress get to finish after a signal, in seconds.
            max_connections: The maximum number of connections.
            header_timeout: The time limit for receiving the headers of a request, in seconds.
            write_timeout: The time that a client may leave data unread before its connection is closed, in seconds.
        """
        most = min(max_connections, _most_connections())

        class Bounded(_BoundedProtocol):
            limits = _ConnectionLimits(most, header_timeout, write_timeout)

        config = uvicorn.Config(
            endpoint,
            http=Bounded,
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,  # its warnings are about single requests, such as garbage
            access_log=False,  # its lines have the query string, where some clients put keys
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=5,
        )
        super().__init__(config)
        self._endpoint = endpoint
        self._grace = grace
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down gracefully at the first signal, and immediately at the second."""
        if self._until is None:
            self._endpoint.drain()
            self._until = monotonic() + self._grace
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Exit when all answers are finished or the grace period is over. uvicorn calls this ten times a second."""
        if counter == 0:
            asyncio.get_running_loop().set_exception_handler(AcceptErrors())
        if self._until is not None:
            late = monotonic() >= self._until
            if late:
                self._endpoint.expire()
            self.should_exit = self.should_exit or late or self._endpoint.running == 0
        return await super().on_tick(counter)


def run(endpoint: Endpoint, listener: socket.socket, *, grace: float, **options: Any) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the answers in progress.

    Args:
        endpoint: The application.
        listener: The bound socket.
        grace: The time that answers in progress get to finish, in seconds.
        **options: The other arguments of `HttpServer`.
    """
    # After each system call, the connection thread waits until the threads that run mixtures release the GIL. With Python's
    # default switch interval of 5 ms, hundreds of connections or streams would take seconds.
    sys.setswitchinterval(_TURN_SECONDS)
    # Full garbage collections stop all threads. Exclude imported modules, which never become garbage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)
    server = HttpServer(endpoint, grace=grace, **options)
    with _signals_ignored():
        asyncio.run(server.serve([listener]))


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore the signals that uvicorn raises again after a graceful shutdown."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _most_connections() -> int:
    """Return the number of connections that the process's limit of open files allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, (files - min(_SPARE_FILES, files // 2)) // _FILES_PER_CONNECTION)


class _ConnectionLimits(NamedTuple):
    most: int
    header_timeout: float
    write_timeout: float


class _BoundedProtocol(H11Protocol):
    """uvicorn's protocol with limits on connections, incomplete headers and unread data."""

    limits: _ConnectionLimits

    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if len(self.connections) > self.limits.most:
            self._is_refused = True
            body = json.dumps(_BUSY).encode()
            head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
            transport.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            # If the connection were closed before the request is read, the client might not receive the answer.
            transport.write_eof()
            self._header_timer = self.loop.call_later(_REFUSED_TIMEOUT, transport.abort)
            return
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.limits.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _watch_headers(self) -> None:
        """Close the connection if the headers of the next request do not arrive in time."""
        if not self._is_idle:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self.limits.header_timeout, self._close_unless_busy)

    def _close_unless_busy(self) -> None:
        self._header_timer = None
        if self._is_idle:
            self.transport.abort()

    @property
    def _is_idle(self) -> bool:
        cycle: Any = self.cycle  # `None` before the first request
        return cycle is None or bool(cycle.response_complete)


class AcceptErrors:
    """An event loop's exception handler that logs failures to accept connections at most once a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error that asyncio reports."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _NO_FILES):
            loop.default_exception_handler(context)
            return
        if (now := monotonic()) >= self._next:
            self._next = now + 1
            logger.error(
                "cannot accept connections: %s; allow more open files (ulimit -n) or fewer connections", error.strerror
            )
