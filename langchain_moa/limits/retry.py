"""Retries: which errors are retried, how often, and how long to wait between attempts."""

from __future__ import annotations

import logging
import math
import random
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from langchain_moa.limits.deadline import Limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

# Request timeout, conflict, too early, too many requests. All server errors (5xx) are retried, too.
_WORTH_IT = {408, 409, 425, 429}
_TOO_MANY = 429
_ERROR = 400
_SERVER_ERROR = 500

# Types of temporary errors that OpenAI, Anthropic and compatible servers send in a stream, after a good status.
_PASSING = {"server_error", "api_error", "overloaded_error", "rate_limit_error", "timeout_error"}

# A used-up quota has the status of a rate limit, but waiting a few seconds does not help.
_HOPELESS = {"insufficient_quota", "billing_not_active"}


def is_retryable(error: BaseException) -> bool:
    """Return whether a retry of the failed call may succeed.

    Args:
        error: The error of the call. If it is inconclusive, its causes are examined.
    """
    for each in _chain(error):
        if getattr(each, "code", None) in _HOPELESS:
            return False
        if isinstance(said := getattr(each, "is_retryable", None), bool):
            # An attribute of LangChain's model errors and of those of a mixture.
            return said
        if isinstance(status := _status(each), int) and status >= _ERROR:
            return status in _WORTH_IT or status >= _SERVER_ERROR
        if (kind := _kind(each)) is not None:
            return kind in _PASSING
        if isinstance(each, (ConnectionError, TimeoutError, *_transport_errors())):
            return True
    return False


def retry_after(error: BaseException | None) -> float | None:
    """Return the seconds that a server asked to wait in its response, or `None`.

    Args:
        error: The error of a call. It, or one of its causes, may have the server's response.
    """
    for each in _chain(error):
        headers = getattr(getattr(each, "response", None), "headers", None)
        if headers is None:
            continue
        for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
            if (seconds := _seconds(headers.get(name), unit)) is not None:
                return seconds
    return None


def is_rate_limit(error: BaseException) -> bool:
    """Return whether an error is a rate limit: a retryable error with status 429 or with a time to wait.

    Args:
        error: The error of a call.
    """
    if not is_retryable(error):
        return False
    return retry_after(error) is not None or any(_status(each) == _TOO_MANY for each in _chain(error))


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
    """Return the type of the error in the server's response body, or `None`."""
    match getattr(error, "body", None):
        case {"error": {"type": str(kind)}} | {"type": str(kind)}:
            return kind
    return None


def _transport_errors() -> Iterator[type[BaseException]]:
    """Yield the errors of the imported HTTP clients for requests without a response: connection errors and timeouts."""
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


T = TypeVar("T")

_logger = logging.getLogger("langchain_moa")


@dataclass(frozen=True)
class Retry:
    """How a failed call is retried.

    Only errors that may be temporary are retried: rate limits, server errors, timeouts and lost connections; never an
    invalid request or a wrong key. If the server says how long to wait (`retry-after`), the wait is that long. If a wait
    would exceed the call's time limit or `maximum`, the call fails without waiting.

    The clients of most providers retry by themselves, and two nested loops would multiply. Therefore:

    - A model given as a string is made without its client's retries.
    - A model object that retries keeps its own retries, and this policy is not added. To use this policy, make the model
      with `max_retries=0`. The same is true for a model inside a binding, a fallback or a `with_retry()`. A model with
      fallbacks is retried together with them.
    - For a member that is not a chat model, such as an agent, only the policy of its own `Proposer(retry=...)` is used. It is
      rejected if a model that the member declares retries by itself. The models inside a compiled graph or an agent are
      not declared: make them with `max_retries=0`.
    - A nested mixture uses its own policies.

    Args:
        attempts: Maximum number of attempts, including the first. Default: 3.
        initial: Seconds before the second attempt; each further wait is twice as long. Default: 0.5.
        maximum: Longest wait in seconds. Default: 30.
        jitter: Random share of each wait, from 0 to 1, so that calls that failed together are not retried together.
            Default: 0.5.

    Raises:
        ValueError: A number is out of its range.

    Example:
        ```python
        from langchain_moa import ChatMoA, Retry

        moa = ChatMoA(
            proposers=["local:smollm2-135m", "local:gemma3-270m"],
            aggregator="local:smollm2-135m",
            retry=Retry(attempts=5, maximum=60),
        )
        ```
    """

    _: KW_ONLY
    attempts: int = 3
    initial: float = 0.5
    maximum: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Check that the numbers are in their ranges."""
        # Values from a YAML file can be of any type.
        attempts: Any = self.attempts
        if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
            msg = f"retry.attempts is {_shown(attempts)}; give a whole number from 1, the first attempt included"
            raise ValueError(msg)
        for name, top in (("initial", math.inf), ("maximum", math.inf), ("jitter", 1.0)):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= top:
                unit = "a share from 0 to 1" if name == "jitter" else "seconds, 0 or more"
                msg = f"retry.{name} is {_shown(value)}; give {unit}"
                raise ValueError(msg)

    @classmethod
    def coerce(cls, value: Any) -> Retry | None:
        """Convert a value of a `retry` field to a policy.

        Args:
            value: A policy, a mapping of its arguments, or `None`.

        Raises:
            ValueError: The value has another type or an unknown key.
        """
        if value is None or isinstance(value, cls):
            return value
        known = [each.name for each in fields(cls)]
        if not isinstance(value, Mapping) or (unknown := sorted(set(value) - set(known), key=str)):
            what = (
                f"unknown key {unknown[0]!r}" if isinstance(value, Mapping) else f"{type(value).__name__} is not a retry policy"
            )
            msg = f"{what}; give Retry(...), or a mapping with {', '.join(known)}"
            raise ValueError(msg)
        return cls(**value)

    def wait(self, attempt: int, error: BaseException | None) -> float:
        """Return the seconds to wait after an attempt.

        Args:
            attempt: The number of the attempt that failed, from 1.
            error: The error of that attempt.
        """
        chance = self.jitter * random.random()  # noqa: S311  # jitter, not a secret
        if (told := retry_after(error)) is not None:
            return min(told + chance * self.initial, max(told, self.maximum))
        # The exponent is bounded, because 2.0 ** 1100 raises an OverflowError.
        backoff = min(self.maximum, self.initial * 2.0 ** min(attempt - 1, 60))
        return backoff * (1 - chance)


async def retrying(
    policy: Retry | None,
    call: Callable[[], Awaitable[T]],
    *,
    limit: Limit | None = None,
    begun: Callable[[], bool] | None = None,
) -> T:
    """Make a call, and retry it according to a policy.

    Args:
        policy: The retry policy; `None` for a single attempt.
        call: Makes the call.
        limit: Time limit of all attempts together, or `None`.
        begun: Returns whether a part of the answer has been streamed, so that the call must not be retried.

    Raises:
        Exception: The error of the last attempt.
    """
    if policy is None:
        return await call()

    async def attempt() -> T:
        return await call()

    return await AsyncRetrying(**_rules(policy, limit or Limit(), begun))(attempt)


def _shown(value: Any) -> str:
    # Other values are not shown, as they may be secret, such as an API key in the wrong place.
    return repr(value) if isinstance(value, (int, float)) else f"a {type(value).__name__}"


def _rules(policy: Retry, limit: Limit, begun: Callable[[], bool] | None) -> dict[str, Any]:
    def worth_it(error: BaseException) -> bool:
        return is_retryable(error) and not (begun is not None and begun())

    def wait(state: RetryCallState) -> float:
        return policy.wait(state.attempt_number, state.outcome.exception() if state.outcome else None)

    def stop(state: RetryCallState) -> bool:
        in_vain = state.upcoming_sleep >= limit.left() or state.upcoming_sleep > policy.maximum
        return state.attempt_number >= policy.attempts or in_vain

    def tell(state: RetryCallState) -> None:
        # The text of the error is not logged, as it may contain secrets.
        kind = type(state.outcome.exception()).__name__ if state.outcome else ""
        _logger.info("attempt %d failed with %s; the next in %.2f s", state.attempt_number, kind, state.upcoming_sleep)

    return {"retry": retry_if_exception(worth_it), "wait": wait, "stop": stop, "before_sleep": tell, "reraise": True}
