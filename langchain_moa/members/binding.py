"""Binding: tools and schemas as keyword arguments of a call, in the form of the member that is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableBinding, RunnableSequence

from langchain_moa.members.models import single_model_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from langchain_moa.members.member import Member

# Arguments that have the same meaning for every client. Others may mean something else, or nothing, to another client.
_COMMON = {"response_format", "parallel_tool_calls"}


def kwargs_for_fallback(member: Member, kwargs: Mapping[str, Any], *, of: Member) -> Mapping[str, Any]:
    """Return the keyword arguments of the aggregator's call for a fallback.

    Tools and their choice were formatted by the aggregator's own `bind_tools`. A model of the same class takes them as they
    are; for any other they are bound again, which every provider does from the formats of the others.

    Args:
        member: The member that is called.
        kwargs: The arguments that were bound to the aggregator.
        of: The aggregator.
    """
    model, other = member.chat_model, of.chat_model
    if not kwargs or member is of or model is None or other is None or type(model) is type(other):
        return kwargs
    common = {key: value for key, value in kwargs.items() if key in _COMMON}
    if not kwargs.get("tools"):
        return common
    choice = _choice(kwargs.get("tool_choice"))
    try:
        bound: Any = model.bind_tools(list(kwargs["tools"]), **({} if choice is None else {"tool_choice": choice}))
    except Exception:  # noqa: BLE001  # the call of a model that takes no tools fails, and its error says so
        return kwargs
    return {**common, **bound.kwargs}


def _choice(value: Any) -> str | None:
    """Return a provider's `tool_choice` in the words that every `bind_tools` takes: a tool's name, `any` or `auto`."""
    match value:
        case None | "auto" | {"type": "auto"}:
            return None
        case "required" | "any" | {"type": "any" | "required"}:
            return "any"
        case {"function": {"name": str(name)}} | {"type": "tool", "name": str(name)}:
            return name
        case str(name):
            return name
    return None


def json_kwargs(member: Member, schema: type[BaseModel]) -> dict[str, Any]:
    """Return the keyword arguments of a call whose text is to be JSON of a schema.

    They are those that the model's own `with_structured_output` binds. The parser that comes with it is left out: the text
    is read as strictly as one by a model that was asked in words alone.

    Args:
        member: The member that is called.
        schema: The schema.

    Returns:
        The arguments; empty where the model's profile does not say that it has structured output.
    """
    model = single_model_of(member.runnable)
    if model is None or not (model.profile or {}).get("structured_output"):
        return {}
    try:
        # As a plain schema: with the class, some clients validate the text themselves, and raise what could be put right.
        bound: Any = model.with_structured_output(schema.model_json_schema(), method="json_schema")
    except Exception:  # noqa: BLE001  # a provider may refuse the schema or the method; the prompt describes the schema, too
        return {}
    first = bound.first if isinstance(bound, RunnableSequence) else bound
    if not isinstance(first, RunnableBinding) or first.bound is not model or "tools" in first.kwargs:
        return {}  # a call of a tool has no text
    return dict(first.kwargs)
