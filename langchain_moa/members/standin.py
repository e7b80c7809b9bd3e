"""What is bound to the aggregator, for a member of another provider that stands in for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_moa.members.member import Member


def kwargs_of_standin(member: Member, kwargs: Mapping[str, Any], *, of: Member) -> Mapping[str, Any]:
    """Return the keyword arguments of a call, formatted for whoever stands in.

    Tools and their choice were formatted by the aggregator's own `bind_tools`. A model of the same class takes them as they
    are; for any other they are bound again, which every provider does from the formats of the others.

    Args:
        member: Who is called.
        kwargs: What was bound to the aggregator.
        of: The aggregator.
    """
    model, other = member.chat_model, of.chat_model
    if not kwargs or member is of or model is None or other is None or type(model) is type(other):
        return kwargs
    rest = {key: value for key, value in kwargs.items() if key not in {"tools", "tool_choice"}}
    if not kwargs.get("tools"):
        return rest
    choice = _choice(kwargs.get("tool_choice"))
    try:
        bound: Any = model.bind_tools(list(kwargs["tools"]), **({} if choice is None else {"tool_choice": choice}))
    except Exception:  # noqa: BLE001  # a model that can have no tools says so when it is called, and has then failed
        return kwargs
    return {**rest, **bound.kwargs}


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
