"""Parameters: the common ones of a call, in the spelling of each member's provider, or left out where it takes none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_moa._compat import ollama_options
from langchain_moa.members.dialects import dialect_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_moa.members.dialects import Dialect

COMMON = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "reasoning_effort",
    "verbosity",
)
"""The parameters that reach every member; every other keyword argument of a call is the aggregator's alone."""

_SAMPLING = {"temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty"}

# OpenAI's reasoning models, where no profile says so.
_REASONS = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)(?!.*chat)")

# OpenAI refuses `top_k`, which other servers of its protocol take.
_OPENAI = re.compile(r"https://(?:[^/]+\.)?(?:api\.openai\.com|openai\.azure\.\w+)(?::443)?/")


class Sent(NamedTuple):
    """The common parameters as a model is sent them.

    Attributes:
        kwargs: The keyword arguments of the call, in the spelling of the model's client.
        adjusted: What was left out or changed: `parameter`, `given`, `sent` (left out where it is `None`) and `reason`.
    """

    kwargs: dict[str, Any]
    adjusted: list[dict[str, Any]]


def spelled(model: BaseChatModel, given: Mapping[str, Any], *, bound: Mapping[str, Any] | None = None) -> Sent:
    """Return the common parameters of a call as a model's client takes them.

    Args:
        model: The model that is called.
        given: The parameters, by their common names.
        bound: The other keyword arguments of the call, which may hold a budget for thoughts.
    """
    dialect = dialect_of(model)
    kwargs: dict[str, Any] = {}
    adjusted: list[dict[str, Any]] = []
    budget, most = _thinking_budget(model, bound or {}), dialect.most_temperature
    for name, value in given.items():
        if value is None:
            continue
        sent, reason = value, _refused(model, name, value, thinks=budget is not None)
        if reason is None and name == "top_p" and dialect.one_of_temperature_and_top_p and given.get("temperature") is not None:
            reason = "this provider takes temperature or top_p, not both"
        if reason is None and name == "temperature" and _is_above(value, most):
            sent = most
            adjusted.append(_adjusted(name, value, sent, f"the highest that this provider takes is {sent:g}"))
        if reason is None and name == "max_tokens" and budget is not None and isinstance(value, int) and value <= budget:
            sent = budget + value
            adjusted.append(_adjusted(name, value, sent, f"thinking has a budget of {budget} tokens of its own"))
        if reason is not None:
            adjusted.append(_adjusted(name, value, None, reason))
        else:
            kwargs[dialect.spelling(name)] = sent
    return Sent(_in_place(model, kwargs, bound or {}), adjusted)


def _is_above(value: Any, most: float | None) -> bool:
    return most is not None and isinstance(value, (int, float)) and value > most  # the provider refuses what is no number


def _adjusted(name: str, given: Any, sent: Any, reason: str) -> dict[str, Any]:
    return {"parameter": name, "given": given, "sent": sent, "reason": reason}


def _refused(model: BaseChatModel, name: str, value: Any, *, thinks: bool) -> str | None:
    """Say why a model takes no such parameter; `None` if it takes it."""
    dialect, profile = dialect_of(model), model.profile or {}
    if _lacks(model, dialect, name):
        return "this provider has no such parameter"
    reasons = dialect.family == "openai" and _reasons(model)
    if name in _SAMPLING and (profile.get("temperature") is False or reasons):
        return "this model takes no sampling parameters"
    if name == "stop" and reasons:
        return "this model takes no stop sequences"
    if name in _SAMPLING and thinks:
        return "this model takes no sampling parameters while it thinks"
    if name == "reasoning_effort":
        levels = profile.get("reasoning_effort_levels")
        if profile.get("reasoning_output") is False or (levels and value not in levels):
            return f"this model takes {', '.join(levels)}" if levels else "this model does not reason"
    return None


def _reasons(model: BaseChatModel) -> bool:
    profile = model.profile or {}
    if "reasoning_output" in profile and "temperature" in profile:
        return bool(profile["reasoning_output"]) and profile["temperature"] is False
    return _REASONS.match(str(getattr(model, "model_name", ""))) is not None


def _lacks(model: BaseChatModel, dialect: Dialect, name: str) -> bool:
    if name in dialect.without or (name in dialect.without_responses and getattr(model, "use_responses_api", None)):
        return True
    address = str(getattr(getattr(model, "root_client", None), "base_url", ""))
    return name == "top_k" and _OPENAI.match(address) is not None


def _thinking_budget(model: BaseChatModel, bound: Mapping[str, Any]) -> int | None:
    """Return the tokens that a model may think before it answers; `None` if it does not, or its client sees to it."""
    if dialect_of(model).family not in {"anthropic", "bedrock"}:
        return None
    fields = bound.get("additionalModelRequestFields") or getattr(model, "additional_model_request_fields", None) or {}
    inner = fields.get("thinking") if isinstance(fields, Mapping) else None
    thinking = bound.get("thinking") or getattr(model, "thinking", None) or inner
    if not isinstance(thinking, Mapping) or thinking.get("type") not in ("enabled", "adaptive"):
        return None
    budget = thinking.get("budget_tokens")
    return budget if isinstance(budget, int) else 0


def _in_place(model: BaseChatModel, kwargs: dict[str, Any], bound: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments where the client expects them: Ollama's among its options, others in the body of the request."""
    dialect = dialect_of(model)
    if dialect.options:
        return {"options": {**ollama_options(model), **(bound.get("options") or {}), **kwargs}} if kwargs else {}
    extra = {name: kwargs.pop(name) for name in dialect.in_body if name in kwargs}
    if extra:
        kwargs["extra_body"] = {**(getattr(model, "extra_body", None) or {}), **(bound.get("extra_body") or {}), **extra}
    return kwargs
