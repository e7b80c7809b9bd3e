"""Ask a model in tests: in each of LangChain's four modes, and with a tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.tools import tool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable

MODES = ("invoke", "stream", "ainvoke", "astream")


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def ask(
    model: Runnable[LanguageModelInput, Any], messages: Sequence[BaseMessage], mode: str, **options: Any
) -> AIMessage:
    """Ask a model in one of `MODES`, and return its answer; chunks of a stream are joined."""
    whole: Any = None
    match mode:
        case "invoke":
            whole = model.invoke(list(messages), **options)
        case "ainvoke":
            whole = await model.ainvoke(list(messages), **options)
        case "stream":
            for chunk in model.stream(list(messages), **options):
                whole = chunk if whole is None else whole + chunk
        case "astream":
            async for chunk in model.astream(list(messages), **options):
                whole = chunk if whole is None else whole + chunk
    if isinstance(whole, AIMessageChunk):
        whole = message_chunk_to_message(whole)
    assert isinstance(whole, AIMessage)
    return whole


def run_tools(answer: AIMessage) -> list[BaseMessage]:
    """Run the tools that an answer calls, and return their results."""
    return [multiply.invoke(call) for call in answer.tool_calls]
