"""Which failures of a call are worth another try, and when."""

from __future__ import annotations

import math
import sys
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Request timeout, conflict, too early, too many requests; and every error of the server.
_WORTH_IT = {408, 409, 425, 429}
_ERROR = 400
_SERVER_ERROR = 500

# What OpenAI, Anthropic and compatible servers call the same in the middle of a stream, whose status was good.
_PASSING = {"server_error", "api_error", "overloaded_error", "rate_limit_error", "timeout_error"}

# A quota that is used up comes with the status of a rate limit, and does not come back within seconds.
_HOPELESS = {"insufficient_quota", "billing_not_active"}


def is_retryable(error: BaseException) -> bool:
    """Tell whether the same call may succeed if it is made again.

    Args:
        error: What the call raised; where it does not say of itself, its causes are asked.
    """
    for each in _chain(error):
        if getattr(each, "code", None) in _HOPELESS:
            return False
        if isinstance(said := getattr(each, "is_retryable", None), bool):
            # LangChain's model errors have it, and those of a mixture.
            return said
        if isinstance(status := _status(each), int) and status >= _ERROR:
            return status in _WORTH_IT or status >= _SERVER_ERROR
        if (kind := _kind(each)) is not None:
            return kind in _PASSING
        if isinstance(each, (ConnectionError, TimeoutError, *_transport_errors())):
            return True
    return False


def retry_after(error: BaseException | None) -> float | None:
    """Return the seconds that a server asked to wait, `None` where it did not say.

    Args:
        error: What a call raised, with the server's response or caused by something that has it.
    """
    for each in _chain(error):
        headers = getattr(getattr(each, "response", None), "headers", None)
        if headers is None:
            continue
        for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
            if (seconds := _seconds(headers.get(name), unit)) is not None:
                return seconds
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _status(error: BaseException) -> Any:
    status = getattr(error, "status_code", None)
    return status if status is not None else getattr(getattr(error, "response", None), "status_code", None)


def _kind(error: BaseException) -> str | None:
    """Return what a server calls its error, `None` where it does not say."""
    match getattr(error, "body", None):
        case {"error": {"type": str(kind)}} | {"type": str(kind)}:
            return kind
    return None


def _transport_errors() -> Iterator[type[BaseException]]:
    """The errors of the HTTP clients in use for what never became a response: no connection, no answer in time."""
    for name in ("httpx", "httpx2"):
        if (module := sys.modules.get(name)) is not None:
            yield module.TransportError
    if (module := sys.modules.get("aiohttp")) is not None:
        yield module.ClientConnectionError


def _seconds(value: str | None, unit: float) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value) * unit
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
