"""Running the application: where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names under which only programs on this machine reach a server."""


_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Take an address; who connects from now on is served as soon as the server runs.

    Args:
        host: A name or an address.
        port: The port; 0 takes a free one.

    Raises:
        OSError: It cannot be had; the text has the address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)[
            0
        ]
        # Not `socket.create_server`: its sockets do not say that they are TCP, and asyncio then leaves Nagle's algorithm on,
        # which holds every answer back for 40 ms.
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
    # Without its number, which would stand in front of the words.
    return OSError(f"cannot listen at {host}, port {port}: {error.strerror or error}; give another --host or --port")


def is_loopback(listener: socket.socket) -> bool:
    """Tell whether only programs on this machine can connect."""
    return ip_address(listener.getsockname()[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the address that a client takes as its `base_url`."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def run(app: ASGIApp, listener: socket.socket, *, grace: float) -> None:
    """Serve until SIGTERM or Ctrl-C, and then finish the answers under way.

    Args:
        app: What is served.
        listener: Where.
        grace: Seconds that the answers under way have then; what is not done is cancelled.

    Raises:
        ImportError: `uvicorn` is missing; the text has the pip command.
    """
    try:
        import uvicorn
    except ImportError as error:
        msg = 'serving needs two small packages: pip install "langchain-moa[serve]"'
        raise ImportError(msg) from error
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,  # its line has the query, where some clients put keys
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    server = uvicorn.Server(config)
    with _ending_quietly():
        asyncio.run(server.serve([listener]))


@contextmanager
def _ending_quietly() -> Iterator[None]:
    """Take the signals that uvicorn raises once more when all is done: that is how a server ends, and no failure."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
