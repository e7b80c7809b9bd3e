"""Inspect's messages and tools in LangChain's words, and answers the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    ModelUsage,
    messages_to_openai,
)
from inspect_ai.tool import ToolCall, ToolFunction
from langchain_core.messages import convert_to_messages

from langchain_moa.data.answer import read_answer
from langchain_moa.data.usage import total_usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inspect_ai.model import ChatMessage, Content, GenerateConfig, StopReason
    from inspect_ai.tool import ToolChoice, ToolInfo
    from langchain_core.messages import AIMessage, BaseMessage

_STOP_REASONS: dict[str, StopReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


async def read_messages(messages: Sequence[ChatMessage]) -> list[BaseMessage]:
    """Return a conversation of Inspect's as LangChain's."""
    # Both sides read OpenAI's format, with images, documents and tool calls.
    return convert_to_messages([dict(message) for message in await messages_to_openai(list(messages))])


def tool_settings(tools: Sequence[ToolInfo], choice: ToolChoice, config: GenerateConfig) -> dict[str, Any]:
    """Return the arguments of `bind_tools`; none if no tool may be called.

    Args:
        tools: The tools that there are.
        choice: Which of them may or must be called.
        config: Inspect's settings.
    """
    if not tools or choice == "none":
        return {}
    settings: dict[str, Any] = {"tools": [_function(tool) for tool in tools]}
    if choice != "auto":
        settings["tool_choice"] = choice.name if isinstance(choice, ToolFunction) else choice
    if config.parallel_tool_calls is not None:
        settings["parallel_tool_calls"] = config.parallel_tool_calls
    return settings


def choice_of(message: AIMessage, *, model: str) -> ChatCompletionChoice:
    """Return an answer as Inspect's.

    Args:
        message: The answer.
        model: The model's name in the log.
    """
    metadata = message.response_metadata
    reason = str(metadata.get("finish_reason") or metadata.get("stop_reason") or "").lower()
    calls = [ToolCall(id=call["id"] or "", function=call["name"], arguments=call["args"]) for call in message.tool_calls]
    calls += [
        ToolCall(id=bad["id"] or "", function=bad["name"] or "", arguments={}, parse_error=bad["error"] or "not valid JSON")
        for bad in message.invalid_tool_calls
    ]
    assistant = ChatMessageAssistant(content=_content(message), tool_calls=calls or None, model=model, source="generate")
    known = "tool_calls" if calls else _STOP_REASONS.get(reason, "stop" if not reason else "unknown")
    failure = read_answer(message)["failure"]
    refused = failure is not None and failure["kind"] in ("refusal", "content_filter")
    return ChatCompletionChoice(message=assistant, stop_reason="content_filter" if refused else known)


def usage_of(moa: Mapping[str, Any]) -> ModelUsage | None:
    """Return the tokens and dollars of all calls of an answer.

    Args:
        moa: The answer's account.
    """
    total = total_usage(moa)
    if total is None:
        return None
    read = (total.get("input_token_details") or {}).get("cache_read")
    written = (total.get("input_token_details") or {}).get("cache_creation")
    return ModelUsage(
        # Inspect counts the tokens that were in a cache apart.
        input_tokens=max(0, total["input_tokens"] - (read or 0) - (written or 0)),
        output_tokens=total["output_tokens"],
        total_tokens=total["total_tokens"],
        input_tokens_cache_read=read,
        input_tokens_cache_write=written,
        reasoning_tokens=(total.get("output_token_details") or {}).get("reasoning"),
        total_cost=moa.get("cost_usd"),
    )


def _function(tool: ToolInfo) -> dict[str, Any]:
    parameters = tool.parameters.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}}


def _content(message: AIMessage) -> str | list[Content]:
    thoughts = [str(block.get("reasoning") or "") for block in message.content_blocks if block["type"] == "reasoning"]
    reasoning: list[Content] = [ContentReasoning(reasoning=thought) for thought in thoughts if thought]
    return [*reasoning, ContentText(text=str(message.text))] if reasoning else str(message.text)
