"""Common parameters of calls, such as `temperature`: translated for each provider, or left out if it does not take them."""

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
"""The parameters that are sent to all members. Other keyword arguments of a call go to the aggregator only."""

_SAMPLING = {"temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty"}

# Names of OpenAI's reasoning models, for models without a profile.
_REASONS = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)(?!.*chat)")

# OpenAI rejects `top_k`, which other servers with its protocol accept.
_OPENAI = re.compile(r"https://(?:[^/]+\.)?(?:api\.openai\.com|openai\.azure\.\w+)(?::443)?/")


class Sent(NamedTuple):
    """The common parameters that a model is sent.

    Attributes:
        kwargs: The keyword arguments of the call, in the spelling of the model's client.
        adjusted: The parameters that were changed or left out: `parameter`, `given`, `sent` (`None` if left out) and `reason`.
    """

    kwargs: dict[str, Any]
    adjusted: list[dict[str, Any]]


def spelled(model: BaseChatModel, given: Mapping[str, Any], *, bound: Mapping[str, Any] | None = None) -> Sent:
    """Translate the common parameters of a call for a model's client.

    Args:
        model: The model to call.
        given: The parameters, by their common names.
        bound: The other keyword arguments of the call, which may have a thinking budget.
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
    return most is not None and isinstance(value, (int, float)) and value > most  # the provider rejects other types


def _adjusted(name: str, given: Any, sent: Any, reason: str) -> dict[str, Any]:
    return {"parameter": name, "given": given, "sent": sent, "reason": reason}


def _refused(model: BaseChatModel, name: str, value: Any, *, thinks: bool) -> str | None:
    """Return why a model does not take a parameter, or `None` if it does."""
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
    """Return the thinking budget that counts towards `max_tokens`: 0 if it is not fixed, `None` without thinking."""
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
    """Move arguments to where the client expects them: Ollama's to `options`, some of OpenAI's protocol to `extra_body`."""
    dialect = dialect_of(model)
    if dialect.options:
        return {"options": {**ollama_options(model), **(bound.get("options") or {}), **kwargs}} if kwargs else {}
    extra = {name: kwargs.pop(name) for name in dialect.in_body if name in kwargs}
    if extra:
        kwargs["extra_body"] = {**(getattr(model, "extra_body", None) or {}), **(bound.get("extra_body") or {}), **extra}
    return kwargs
