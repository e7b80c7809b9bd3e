"""What became of a mixture that gave no answer, as a status that clients understand."""

from __future__ import annotations

import logging
import math
from traceback import format_tb
from typing import TYPE_CHECKING, NamedTuple

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelError,
    ModelInvalidRequestError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from langchain_moa.data.errors import MoAError, ProposersFailedError, StrategyFailedError
from langchain_moa.data.redaction import redact
from langchain_moa.limits.retry import is_retryable, retry_after
from langchain_moa.serving.api_error import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from langchain_moa.data.reference import Failure

logger = logging.getLogger(__name__)


class _Kind(NamedTuple):
    """What a status means here; `words` stand in the names of the errors, whichever provider's they are."""

    status: int
    code: str
    error: type[ModelError]
    words: tuple[str, ...]
    in_short: str


_KINDS = (
    _Kind(429, "rate_limit_exceeded", ModelRateLimitError, ("ratelimit", "resourceexhausted"), "a provider's rate limit"),
    _Kind(400, "context_length_exceeded", ContextOverflowError, ("contextoverflow",), "the conversation is too long"),
    _Kind(504, "timeout", ModelTimeoutError, ("timeout", "deadline", "quorum"), "a member took too long"),
    _Kind(400, "invalid_request", ModelInvalidRequestError, ("invalidrequest", "badrequest"), "a provider refused it"),
)
_MEMBERS_FAILED = 502


def failure(error: Exception, *, breakdown: bool) -> ApiError:
    """Return what a client is told of an error.

    Args:
        error: What the mixture raised.
        breakdown: Whether the client may know who the members are, and why they failed.
    """
    if not isinstance(error, MoAError):
        # Whatever it says was not written for a client.
        where = "".join(format_tb(error.__traceback__))
        logger.error("unexpected %s: %s, raised at\n%s", type(error).__name__, redact(str(error)), redact(where))
        return unexpected()
    logger.warning("no answer: %s", error)
    if isinstance(error, ProposersFailedError):
        kind = _shared([reference["error"] for reference in error.references if reference["error"]])
        code = "proposers_failed"
    else:
        kind = next((each for each in _KINDS if isinstance(error, each.error)), None)
        code = "mixture_failed" if isinstance(error, StrategyFailedError) else "aggregator_failed"
    retry = is_retryable(error)
    if kind is None:
        short = "too few members of the mixture answered" if code == "proposers_failed" else "the mixture gave no answer"
        return ApiError(_MEMBERS_FAILED, str(error) if breakdown else short, code=code, retry=retry)
    wait = retry_after(error)
    headers = {} if wait is None else {"retry-after": str(math.ceil(wait))}
    return ApiError(kind.status, str(error) if breakdown else kind.in_short, code=kind.code, headers=headers, retry=retry)


def unexpected() -> ApiError:
    """Return what a client is told of a fault of ours."""
    return ApiError(500, "unexpected error; the server's log says more", code="internal_error", retry=False)


async def answer_fault(_: Request, __: Exception) -> Response:
    """Answer with a fault of ours; a handler of Starlette's, which then hands the fault to the door."""
    return unexpected().response()


def out_of_time(seconds: float) -> ApiError:
    """Return what a client is told whose answer took longer than the server allows."""
    return ApiError(504, f"there was no answer within {seconds:g} s, which is this server's limit", code="timeout", retry=False)


def _shared(failures: list[Failure]) -> _Kind | None:
    """Return the kind that all proposers' failures are of, `None` if they differ."""
    kinds = {next((kind for kind in _KINDS if _is(failed, kind)), None) for failed in failures}
    return kinds.pop() if len(kinds) == 1 else None


def _is(failed: Failure, kind: _Kind) -> bool:
    name = failed["kind"].lower()
    return any(word in name for word in kind.words)
