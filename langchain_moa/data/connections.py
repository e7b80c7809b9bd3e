"""Connection errors: the host, the port, the cause, and what to check."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_PORTS = {"http": 80, "https": 443}

_OF_NUMBERS = {
    errno.ECONNREFUSED: "it refused the connection; check that the server runs and that the port is right",
    errno.EMFILE: "this process has too many open files; raise `ulimit -n`, or make fewer calls at the same time",
    errno.ENFILE: "this system has too many open files; close some programs",
    errno.ENETUNREACH: "its network is unreachable; check the network and the proxy",
    errno.EHOSTUNREACH: "it is unreachable; check the network and the address",
    errno.ETIMEDOUT: "it did not answer; check the address, the firewall and the proxy",
    errno.ECONNRESET: "it closed the connection; check that a model server listens there, and whether it expects https",
}


def too_many_files(error: BaseException) -> str | None:
    """Return the explanation of an error about too many open files, or `None` for other errors."""
    if not isinstance(error, OSError) or error.errno not in {errno.EMFILE, errno.ENFILE}:
        return None
    return _OF_NUMBERS[error.errno]


def cause_of(error: BaseException, chain: Iterator[BaseException]) -> str | None:
    """Return where a connection failed and what to check, or `None` for other errors.

    Args:
        error: The error that a client raised.
        chain: The error and its causes.
    """
    every = list(chain)
    if not any("connect" in type(each).__name__.lower() for each in every) and not isinstance(error, OSError):
        return None
    why = next((found for each in every if (found := _why(each)) is not None), None)
    where = next((found for each in every if (found := _where(each)) is not None), None)
    if where is None or why is None:
        return where and f"at {where}" if why is None else why
    return f"at {where}: {why}"


def _why(error: BaseException) -> str | None:
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved; check the address, the network and DNS"
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or "no reason given"
        return f"TLS failed ({reason}); check the certificate, the clock, and that the server expects https"
    return _OF_NUMBERS.get(error.errno) if isinstance(error, OSError) and error.errno is not None else None


def _where(error: BaseException) -> str | None:
    try:
        request: Any = getattr(error, "request", None)
    except RuntimeError:
        return None  # raised by httpx's errors that have no request
    parts = urlsplit(str(getattr(request, "url", "")))
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return f"{parts.hostname}:{port}" if parts.hostname and port else None
