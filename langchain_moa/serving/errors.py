"""Errors in OpenAI's format, and the HTTP statuses of failures."""

from __future__ import annotations

import logging
import math
from traceback import format_tb
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelError,
    ModelInvalidRequestError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from starlette.responses import JSONResponse

from langchain_moa.data.errors import AggregatorFailedError, MoAError, ProposersFailedError, StrategyFailedError
from langchain_moa.data.redaction import redact
from langchain_moa.data.sanitizing import shown_line, whole_characters
from langchain_moa.limits.retry import is_retryable, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from langchain_moa.data.reference import Failure

logger = logging.getLogger(__name__)

_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SERVER_ERROR = 500

# Statuses of failed mixtures. Clients retry after a 502, but not after a 402 or 403.
_MAY_SUCCEED_LATER = 502
_NO_CREDIT = 402
_WILL_NOT_SUCCEED = 403

_QUOTA_CODES = {"insufficient_quota", "billing_not_active"}

# Kinds of failures in which a model returned no usable text; another attempt may return some.
_EMPTY = {"empty", "no_text", "tool_call_only"}

_ELSEWHERE = {
    "/v1/messages": "use a client of OpenAI's protocol with /v1/chat/completions or /v1/responses",
    "/v1/completions": "it is a legacy API; use /v1/chat/completions or /v1/responses",
    "/v1/embeddings": "mixtures have no embeddings; ask a provider directly",
}
_PATHS = "/v1/chat/completions, /v1/responses, /v1/models, /health, /ready and /metrics"


class ApiError(Exception):
    """An error that is sent to the client.

    Attributes:
        status: The HTTP status.
        message: The error and the remedy, without secrets.
        code: A short code for programs.
        param: The name of the invalid field, or `None`.
        headers: Additional headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool | None = None,
    ) -> None:
        """Create the error.

        Args:
            status: The HTTP status.
            message: The error and the remedy, without secrets.
            code: A short code for programs.
            param: The name of the invalid field, or `None`.
            headers: Additional headers of the response.
            retry: Whether a retry may succeed, sent as the header `x-should-retry`, which OpenAI's clients follow. Default: no
                header; clients decide by the status.
        """
        super().__init__(message)
        self.status = status
        self.message = whole_characters(message)
        self.code = code
        self.param = param
        said = {} if retry is None else {"x-should-retry": str(retry).lower()}
        self.headers = {**said, **(headers or {})}

    def body(self) -> dict[str, Any]:
        """Return the JSON body, for a response or an event of a stream."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < _SERVER_ERROR else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """Return the error as a response."""
        return JSONResponse(self.body(), self.status, headers=self.headers)


class ClientGoneError(Exception):
    """The client closed its connection."""


async def answer_api_error(_: Request, error: Exception) -> Response:
    """Return the response for an `ApiError`; an exception handler for Starlette."""
    assert isinstance(error, ApiError)  # noqa: S101  # Starlette finds handlers by the error's type
    return error.response()


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Return Starlette's errors, such as an unknown path, in OpenAI's format; an exception handler for Starlette."""
    status = getattr(error, "status_code", _SERVER_ERROR)
    headers = getattr(error, "headers", None)
    place = f"{request.method} {request.url.path}"
    if status == 405:  # noqa: PLR2004  # HTTP's "method not allowed"
        return ApiError(status, f"{place}: method not allowed", code="method_not_allowed", headers=headers).response()
    path = request.url.path.removesuffix("/").removeprefix(request.scope.get("root_path", ""))
    message = f"unknown URL: {place}; {_ELSEWHERE.get(path, f'available are {_PATHS}')}"
    return ApiError(status, message, code="unknown_url", headers=headers).response()


async def answer_unexpected(_: Request, __: Exception) -> Response:
    """Return the response for an unexpected error; an exception handler for Starlette, which raises the error again."""
    return unexpected().response()


def unexpected() -> ApiError:
    """Return the error for a bug in this server."""
    return ApiError(500, "unexpected error; see the server's log", code="internal_error", retry=False)


def out_of_time(seconds: float) -> ApiError:
    """Return the error for an answer that exceeded the server's time limit."""
    return ApiError(504, f"no answer within {seconds:g} s, this server's limit for a request", code="timeout", retry=False)


def shutting_down() -> ApiError:
    """Return the error for new and unfinished requests while the server shuts down."""
    headers = {"retry-after": "1", "connection": "close"}
    return ApiError(503, "this server is shutting down; try again", code="shutting_down", headers=headers, retry=True)


class _Cause(NamedTuple):
    """A cause of failures with its status. `words` are parts of the names of such errors at all providers."""

    status: int
    code: str
    error: type[ModelError]
    words: tuple[str, ...]
    in_short: str


_CAUSES = (
    _Cause(429, "rate_limit_exceeded", ModelRateLimitError, ("ratelimit", "resourceexhausted"), "a provider's rate limit"),
    _Cause(400, "context_length_exceeded", ContextOverflowError, ("contextoverflow",), "the conversation is too long"),
    _Cause(504, "timeout", ModelTimeoutError, ("timeout", "deadline", "quorum"), "a member took too long"),
    _Cause(400, "invalid_request", ModelInvalidRequestError, ("invalidrequest", "badrequest"), "a provider refused it"),
)


def failure(error: Exception, *, breakdown: bool) -> ApiError:
    """Return the error for the client after an error of a mixture.

    If a retry may succeed, the status is one after which clients retry (429, 502, 504). Otherwise, for example for an invalid
    key at a provider, it is one after which they do not (400, 402, 403).

    Args:
        error: The mixture's error.
        breakdown: Whether the message names the failed members and their errors.
    """
    if not isinstance(error, MoAError):
        # The message is not meant for clients.
        where = "".join(format_tb(error.__traceback__))
        logger.error("unexpected %s: %s, raised at\n%s", type(error).__name__, redact(str(error)), redact(where))
        return unexpected()
    logger.warning("no answer: %s", shown_line(redact(str(error))))
    retry = is_retryable(error)
    if isinstance(error, ProposersFailedError):
        code, short = "proposers_failed", "too few members of the mixture answered"
        cause = _shared([reference["error"] for reference in error.references if reference["error"]])
    else:
        code = "mixture_failed" if isinstance(error, StrategyFailedError) else "aggregator_failed"
        short = "the mixture gave no answer"
        cause = next((each for each in _CAUSES if isinstance(error, each.error)), None)
    if _lacks_credit(error):
        message = str(error) if breakdown else "the account at one of the mixture's providers has no credit left"
        return ApiError(_NO_CREDIT, message, code="insufficient_quota", retry=False)
    if cause is None:
        status = _MAY_SUCCEED_LATER if retry or _said_nothing(error) else _WILL_NOT_SUCCEED
        return ApiError(status, str(error) if breakdown else short, code=code, retry=retry)
    wait = retry_after(error)
    headers = {} if wait is None else {"retry-after": str(math.ceil(wait))}
    message = str(error) if breakdown else cause.in_short
    return ApiError(cause.status, message, code=cause.code, headers=headers, retry=retry)


def _said_nothing(error: MoAError) -> bool:
    failures = error.failures if isinstance(error, AggregatorFailedError) else ()
    return bool(failures) and all(each["kind"] in _EMPTY for each in failures)


def _lacks_credit(error: MoAError) -> bool:
    causes = error.causes if isinstance(error, AggregatorFailedError) else ()
    return any(getattr(cause, "code", None) in _QUOTA_CODES for cause in causes)


def _shared(failures: Sequence[Failure]) -> _Cause | None:
    """Return the common cause of all proposers' failures, or `None` if they differ."""
    causes = {next((cause for cause in _CAUSES if _has_name(failed, cause)), None) for failed in failures}
    return causes.pop() if len(causes) == 1 else None


def _has_name(failed: Failure, cause: _Cause) -> bool:
    name = failed["kind"].lower()
    return any(word in name for word in cause.words)
