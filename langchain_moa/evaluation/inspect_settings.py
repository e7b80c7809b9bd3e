"""Inspect's settings: each is passed to the models, handled by Inspect itself, or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from inspect_ai.model import GenerateConfig
    from langchain_core.language_models import BaseChatModel

    from langchain_moa.members.member import Member

Treatment: TypeAlias = Literal["sent", "sent where known", "sent with tools", "left to Inspect", "of no account", "refused"]
"""How a setting is treated.

`sent`: it is passed to every chat model, all of which support it. `sent where known`: it is passed if all members have such a
parameter, and is an error otherwise. `of no account`: it is ignored, because it does not affect answers.
"""

TREATMENTS: Mapping[str, Treatment] = {
    "temperature": "sent",
    "max_tokens": "sent",
    "stop_seqs": "sent",
    "top_p": "sent where known",
    "top_k": "sent where known",
    "seed": "sent where known",
    "frequency_penalty": "sent where known",
    "presence_penalty": "sent where known",
    "logit_bias": "sent where known",
    "reasoning_effort": "sent where known",
    "verbosity": "sent where known",
    "extra_body": "sent where known",
    "parallel_tool_calls": "sent with tools",
    "system_message": "left to Inspect",
    "reasoning_history": "left to Inspect",
    "max_tool_output": "left to Inspect",
    "fail_on_refusal": "left to Inspect",
    "cache": "left to Inspect",
    "max_retries": "left to Inspect",
    "timeout": "left to Inspect",
    "attempt_timeout": "left to Inspect",
    "stream_idle_timeout": "left to Inspect",
    "max_connections": "left to Inspect",
    "adaptive_connections": "left to Inspect",
    # Prompt caching, and the use of a provider's own tools instead of Inspect's.
    "cache_prompt": "of no account",
    "internal_tools": "of no account",
    "effort": "refused",
    "reasoning_mode": "refused",
    "reasoning_tokens": "refused",
    "reasoning_summary": "refused",
    "extra_headers": "refused",
    "fallback_models": "refused",
    "batch": "refused",
    "best_of": "refused",
    "num_choices": "refused",
    "logprobs": "refused",
    "top_logprobs": "refused",
    "prompt_logprobs": "refused",
    "response_schema": "refused",
    "modalities": "refused",
}
"""The treatment of each setting of Inspect. Unknown settings are an error."""

_NAMES = {"stop_seqs": "stop"}

# Settings for which 1 is the default behaviour.
_COUNTS = ("best_of", "num_choices")


def call_settings(config: GenerateConfig, members: Iterable[Member]) -> dict[str, Any]:
    """Return the keyword arguments of every call.

    Args:
        config: Inspect's settings.
        members: All members that may be called. Members that are not chat models are ignored.

    Raises:
        ValueError: A setting cannot be applied.
    """
    settings = {}
    asked = list(members)
    for name in type(config).model_fields:
        value = getattr(config, name)
        treatment = TREATMENTS.get(name, "refused")
        if value is None or treatment in ("left to Inspect", "of no account", "sent with tools"):
            continue
        if treatment == "refused":
            _refuse(name, value)
            continue
        if treatment == "sent where known":
            _require(name, asked)
        settings[_NAMES.get(name, name)] = value
    return settings


def _refuse(name: str, value: Any) -> None:
    # `True` equals 1, but is not a number.
    is_one = name in _COUNTS and value is not True and value == 1
    if not (value is False or is_one or value in ([], {})):
        msg = f"{name}: this cannot be set for a whole mixture; leave it out, or give it to members in their `settings`"
        raise ValueError(msg)


def _require(name: str, members: Iterable[Member]) -> None:
    for member in members:
        for who, model in _models(member):
            if name not in _parameters(model):
                msg = (
                    f"{name}: {who} has no such parameter ({type(model).__name__}); leave it out, or give it in the `settings` "
                    "of the members that have it"
                )
                raise ValueError(msg)


def _models(member: Member) -> Iterator[tuple[str, BaseChatModel]]:
    """Yield the name and chat model of a member, or those of its members if it is a mixture."""
    from langchain_moa.batch.limits import callable_members
    from langchain_moa.chat_model.chat_model import ChatMoA

    model = member.chat_model
    if isinstance(model, ChatMoA):
        for each in callable_members(model):
            yield from _models(each)
    elif model is not None:
        yield member.name, model


def _parameters(model: BaseChatModel) -> set[str]:
    fields = type(model).model_fields
    return {*fields, *(field.alias for field in fields.values() if field.alias is not None)}
