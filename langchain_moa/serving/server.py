"""Running the application with uvicorn: listening, limits on connections, shutdown."""

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
"""The most connections at once, unless the process's limit of open files is lower."""

_BACKLOG = 2048

_TURN_SECONDS = 0.0003

# For `gc.set_threshold`. By default, Python traverses all objects each time their number has grown by a quarter, which in a
# burst of requests pauses the server every second. These do it after five million objects more. The answers
# themselves leave little to collect.
_COLLECTION_THRESHOLDS = (10_000, 5, 100)

# Seconds in which the headers of a request must arrive.
_HEADER_TIMEOUT = 15.0

# Seconds after which a refused connection is closed, if the client does not close it.
_REFUSED_TIMEOUT = 1.0

# Files that the server needs besides its connections. For each connection, there can be one to a provider.
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
    """Bind to an address; connections wait until the server runs.

    Args:
        host: A name or an address.
        port: The port; 0 takes a free one.

    Raises:
        OSError: The address cannot be bound; the message has it.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = infos[0]
        # Not `socket.create_server`: its sockets do not say that they are TCP. asyncio then leaves Nagle's algorithm on, which
        # delays each event by up to 40 ms.
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot(host, port, error) from None
    try:
        if os.name == "posix":
            # On Windows it would let another program take the same address.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot(host, port, error) from None
    return listener


def _cannot(host: str, port: int, error: OSError) -> OSError:
    # One argument, so that the number of the error is not part of the text.
    return OSError(f"cannot listen at {host}, port {port}: {error.strerror or error}; give another --host or --port")


def is_loopback(listener: socket.socket) -> bool:
    """Tell whether only programs on this machine can connect."""
    return ip_address(listener.getsockname()[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the address that a client takes as its `base_url`."""
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
        """Make it.

        Args:
            endpoint: The application.
            grace: Seconds that answers in progress get to finish after a signal.
            max_connections: The most connections at once.
            header_timeout: Seconds in which the headers of a request must arrive.
            write_timeout: Seconds that a client may leave data unread before its connection is closed.
        """
        most = min(max_connections, _most_connections())

        class Bounded(_BoundedProtocol):
            limits = _ConnectionLimits(most, header_timeout, write_timeout)

        config = uvicorn.Config(
            endpoint,
            http=Bounded,
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,  # its line has the query, where some clients put keys
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
        """Shut down gracefully at the first signal, and at once at the second."""
        if self._until is None:
            self._endpoint.drain()
            self._until = monotonic() + self._grace
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Check ten times a second whether all answers are finished or the grace period has passed."""
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
        grace: Seconds that answers in progress get to finish.
        **options: The other arguments of `HttpServer`.
    """
    # After each system call, the thread that handles connections waits until the threads that run mixtures release the
    # interpreter. With Python's default interval of 5 ms, hundreds of connections or streams would take seconds.
    sys.setswitchinterval(_TURN_SECONDS)
    # Full garbage collections stop all threads. Imported modules never become garbage, so leave them out.
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
    """uvicorn's protocol with limits on connections, half-sent headers and unread data."""

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
            # If the connection were closed before its request is read, the client might never see the answer.
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
        """Log what asyncio reports."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _NO_FILES):
            loop.default_exception_handler(context)
            return
        if (now := monotonic()) >= self._next:
            self._next = now + 1
            logger.error(
                "cannot accept connections: %s; allow more open files (ulimit -n) or fewer connections", error.strerror
            )
