"""OpenAI's parameters of a chat completion: which go where, and which a mixture does not take."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from langchain_moa.serving.api_error import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EVERY_CALL = (
    *("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"),
    *("reasoning_effort", "verbosity"),
)
"""What reaches every call of a mixture under its own name."""

# What says something to OpenAI's own service, and nothing about the answer.
_IGNORED = {
    *("user", "safety_identifier", "metadata", "store", "service_tier"),
    *("prompt_cache_key", "prompt_cache_retention"),
}

# What would change the answer and cannot, each with what is taken for saying nothing, and what would do.
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "an answer of a mixture costs many calls; send the request once for each that you want"),
    "logprobs": ((False,), "an answer of a mixture has no probabilities"),
    "top_logprobs": ((0,), "an answer of a mixture has no probabilities"),
    "logit_bias": (({},), "its members count tokens differently"),
    "modalities": ((["text"],), "a mixture answers in text"),
    "audio": ((), "a mixture answers in text"),
    "prediction": ((), "a mixture cannot use one"),
    "web_search_options": ((), "give a tool of your own"),
    "functions": (([],), "they are obsolete; give `tools`"),
    "function_call": ((), "it is obsolete; give `tool_choice`"),
}


def accepted(body: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of a request that bear on the answer.

    Args:
        body: The request.
        known: The parameters that are read.

    Raises:
        ApiError: A parameter is none of OpenAI's, or one that a mixture cannot heed.
    """
    # Clients send null for what nobody has set.
    given = {name: value for name, value in body.items() if value is not None and name not in _IGNORED}
    for name, (nothing, why) in _REFUSED.items():
        if name in given and not any(given[name] == each and type(given[name]) is type(each) for each in nothing):
            msg = f"{name}: not supported here: {why}"
            raise ApiError(400, msg, code="unsupported_parameter", param=name)
        given.pop(name, None)
    names = sorted({*known, *_IGNORED, *_REFUSED})
    for name in given:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else "leave it out"
            msg = f"unknown parameter {_short(name)!r}; {remedy}"
            raise ApiError(400, msg, code="unknown_parameter", param=_short(name))
    return given


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"  # noqa: PLR2004  # longer than any that somebody means
