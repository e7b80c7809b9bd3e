"""Binding: the keyword arguments for tools and schemas, in the format of the member that is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableBinding, RunnableSequence

from langchain_moa.members.models import single_model_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from langchain_moa.members.member import Member

# Arguments that have the same meaning for all clients.
_COMMON = {"response_format", "parallel_tool_calls"}


def kwargs_for_fallback(member: Member, kwargs: Mapping[str, Any], *, of: Member) -> Mapping[str, Any]:
    """Convert the keyword arguments of the aggregator's call for a fallback.

    Tools and the tool choice have the format of the aggregator's `bind_tools`. A model of the same class takes them unchanged.
    For other models, the tools are bound again, since every `bind_tools` accepts the formats of other providers.

    Args:
        member: The member to call.
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
    except Exception:  # noqa: BLE001  # the call fails with an error if the model takes no tools
        return kwargs
    return {**common, **bound.kwargs}


def _choice(value: Any) -> str | None:
    """Return a provider's `tool_choice` in the common form: a tool's name, `any`, or `None` for `auto`."""
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
    """Return the keyword arguments of a call whose reply must be JSON that matches a schema.

    These are the arguments that the model's `with_structured_output` binds, without its parser: the caller parses the text.

    Args:
        member: The member to call.
        schema: The schema.

    Returns:
        The arguments; empty if the model's profile does not have `structured_output`.
    """
    model = single_model_of(member.runnable)
    if model is None or not (model.profile or {}).get("structured_output"):
        return {}
    try:
        # A plain schema: given the class, some clients validate the text and raise errors, which would prevent a second try.
        bound: Any = model.with_structured_output(schema.model_json_schema(), method="json_schema")
    except Exception:  # noqa: BLE001  # the client may reject the schema or method; the prompt also describes the form
        return {}
    first = bound.first if isinstance(bound, RunnableSequence) else bound
    if not isinstance(first, RunnableBinding) or first.bound is not model or "tools" in first.kwargs:
        return {}  # implemented as a tool call, which has no text
    return dict(first.kwargs)
