"""Prepares the conversation for a member: history, order and content for its provider, and tools described in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_moa.members.history import broken_steps, in_order, visible_history, without_empty
from langchain_moa.prompting.place import add_system_text

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from langchain_moa.members.member import Member

_TOOLS_INTRODUCTION = (
    "Whoever writes the final answer can call the tools below; you cannot. Where the request needs one, say which, with which "
    "arguments and why; where the results you need are in the conversation, answer from them."
)


def for_proposer(messages: Sequence[BaseMessage], member: Member, *, tools: Sequence[Any]) -> list[BaseMessage]:
    """Return the conversation for a proposer, which has no tools; the aggregator's tools are described in words.

    Args:
        messages: The conversation, which is not modified.
        member: The proposer.
        tools: The aggregator's tools, in any provider's format.
    """
    adapted = _for_member(messages, member, has_tools=False)
    words = tools_in_words(tools)
    return add_system_text(adapted, words) if words else adapted


def for_aggregator(messages: Sequence[BaseMessage], member: Member, *, has_tools: bool) -> list[BaseMessage]:
    """Return the conversation for the aggregator, or for a model that a strategy asks.

    Args:
        messages: The conversation, which is not modified.
        member: The member to call.
        has_tools: Whether the member has tools. Without tools, tool messages become text, because some providers reject them.
    """
    return _for_member(messages, member, has_tools=has_tools)


def _for_member(messages: Sequence[BaseMessage], member: Member, *, has_tools: bool) -> list[BaseMessage]:
    if member.is_mixture:
        # A mixture prepares the conversation for its own members.
        return list(messages) if has_tools else without_tool_messages(messages)
    dialect = member.dialect
    seen = visible_history(messages, member.author, dialect)
    if member.chat_model is not None:
        seen = without_empty(seen)
    if not has_tools:
        seen = without_tool_messages(seen)
    elif broken := broken_steps(seen, dialect):
        seen = without_tool_messages(seen, only=broken)
    if member.chat_model is None:
        return seen  # the order is up to the models inside the agent, chain or function
    return in_order(seen, dialect, member.profile)


def without_tool_messages(messages: Sequence[BaseMessage], *, only: Container[int] | None = None) -> list[BaseMessage]:
    """Return the conversation with tool calls and their results as text, for a model without tools.

    Args:
        messages: The conversation, which is not modified.
        only: The indexes of the messages to convert. Default: all.
    """
    flat: list[BaseMessage] = []
    for place, message in enumerate(messages):
        if only is not None and place not in only:
            flat.append(message)
        elif isinstance(message, ToolMessage):
            outcome = "failed with" if message.status == "error" else "returned"
            head = f"[The tool {message.name or message.tool_call_id} {outcome}:]\n"
            _append(flat, HumanMessage([{"type": "text", "text": head}, *_blocks(message)]))
        elif isinstance(message, AIMessage) and message.tool_calls:
            calls = [
                f"[Called the tool {call['name']} with {json.dumps(call['args'], ensure_ascii=False, default=str)}]"
                for call in message.tool_calls
            ]
            _append(flat, AIMessage("\n".join([*([text] if (text := str(message.text)) else []), *calls])))
        else:
            flat.append(message)
    return flat


def tools_in_words(tools: Sequence[Any]) -> str:
    """Return a description of tools for a model that cannot call them; empty without tools."""
    if not tools:
        return ""
    lines = [line for tool in _functions(tools) if (line := _tool_line(tool))]
    return "\n".join([_TOOLS_INTRODUCTION, *lines]) if lines else ""


def _append(messages: list[BaseMessage], message: BaseMessage) -> None:
    """Append a message. Consecutive tool results are joined, because some models reject two user messages in a row."""
    content = message.content
    if isinstance(content, list) and all(isinstance(block, dict) and block.get("type") == "text" for block in content):
        message = type(message)("".join(str(block.get("text") or "") for block in content if isinstance(block, dict)))
    last = messages[-1] if messages else None
    both_text = last is not None and isinstance(last.content, str) and isinstance(message.content, str)
    if last is not None and both_text and type(last) is type(message) and str(last.content).startswith("[The tool "):
        messages[-1] = type(message)(f"{last.content}\n{message.content}")
    else:
        messages.append(message)


def _blocks(message: BaseMessage) -> list[Any]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return [{"type": "text", "text": block} if isinstance(block, str) else block for block in message.content]


def _functions(tools: Sequence[Any]) -> Iterable[Mapping[str, Any]]:
    """Yield the name, description and parameters of each tool, from any provider's format."""
    from langchain_core.utils.function_calling import convert_to_openai_tool

    for tool in tools:
        declared = tool.get("function_declarations") if isinstance(tool, dict) else None
        if declared:
            yield from (each for each in declared if isinstance(each, dict))
            continue
        try:
            converted = convert_to_openai_tool(tool)
        except (ValueError, TypeError):
            # A provider's built-in tool in the provider's own format, of which only the name is used.
            converted = tool if isinstance(tool, dict) else {}
        yield converted.get("function", converted)


def _tool_line(function: Mapping[str, Any]) -> str:
    name = function.get("name") or function.get("type")
    if not name:
        return ""
    properties = (function.get("parameters") or {}).get("properties") or {}
    arguments = ", ".join(
        f"{key}: {value.get('type', 'any') if isinstance(value, dict) else 'any'}" for key, value in properties.items()
    )
    description = " ".join(str(function.get("description") or "").split())
    return f"- {name}({arguments}){': ' if description else ''}{description}"
