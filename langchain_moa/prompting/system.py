"""The system message: what a mixture adds to it, and what of the user's it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, SystemMessage

if TYPE_CHECKING:
    from collections.abc import Sequence


def add_system_text(messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """Put a text into the system message, after the user's own and a blank line.

    Args:
        messages: A conversation, with or without a system message in front; it is not changed.
        text: What to add.

    Returns:
        A new list that shares every message but the first.
    """
    if not messages or not isinstance(messages[0], SystemMessage):
        return [SystemMessage(text), *messages]
    system = messages[0]
    if isinstance(system.content, str):
        content: str | list[Any] = f"{system.content}\n\n{text}"
    else:
        content = [*system.content, {"type": "text", "text": f"\n\n{text}"}]
    return [system.model_copy(update={"content": content}), *messages[1:]]
