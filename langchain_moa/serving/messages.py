"""The conversation of a request as LangChain's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from pydantic import BaseModel
from pydantic_core import from_json

from langchain_moa.serving.turns import AssistantTurn, SystemTurn, ToolTurn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.serving.turns import Turn


def to_messages(turns: Sequence[Turn]) -> list[BaseMessage]:
    """Return a conversation.

    Args:
        turns: The messages of a request. A `developer` message becomes a system message: it is OpenAI's other name for one,
            and most servers know only the first.
    """
    return [_message(turn) for turn in turns]


def _message(turn: Turn) -> BaseMessage:
    if isinstance(turn, SystemTurn):
        return SystemMessage(_content(turn.content), name=turn.name)
    if isinstance(turn, AssistantTurn):
        return _answer(turn)
    if isinstance(turn, ToolTurn):
        return ToolMessage(_content(turn.content), tool_call_id=turn.tool_call_id, name=turn.name)
    return HumanMessage(_content(turn.content), name=turn.name)


def _answer(turn: AssistantTurn) -> AIMessage:
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in turn.tool_calls or ():
        name, arguments = call.function.name, call.function.arguments
        try:
            args = from_json(arguments or "{}")
        except ValueError:
            args = None
        if isinstance(args, dict):
            calls.append(ToolCall(name=name, args=args, id=call.id, type="tool_call"))
        else:
            # A model's slip in an earlier answer; it is sent on as it was.
            invalid.append(InvalidToolCall(name=name, args=arguments, id=call.id, error=None, type="invalid_tool_call"))
    more = {} if turn.refusal is None else {"refusal": turn.refusal}
    return AIMessage(
        _content(turn.content), name=turn.name, tool_calls=calls, invalid_tool_calls=invalid, additional_kwargs=more
    )


def _content(content: Any) -> Any:
    if isinstance(content, list):
        return [part.model_dump(exclude_unset=True) if isinstance(part, BaseModel) else part for part in content]
    return content or ""
