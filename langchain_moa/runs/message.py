"""Messages of a recorded run, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, JsonValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.runs.plain import Plain

# What a picture or a sound is made of says nothing to a reader, and is a thousand times as long as what does.
_LONGEST_VALUE = 2_000


class Message(BaseModel):
    """One message of a conversation, a prompt or an answer.

    Attributes:
        type: LangChain's name for who speaks: `human`, `ai`, `system`, `tool`, ...
        content: The text, or a list of content blocks. Pictures and other data of more than 2,000 characters are left out,
            with a note in their place.
        name: The speaker's name, or the tool's.
        tool_calls: The tools that the message calls.
        tool_call_id: The call that a tool's message answers.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    type: str
    content: str | list[JsonValue]
    name: str | None = None
    tool_calls: list[JsonValue] = []
    tool_call_id: str | None = None

    @classmethod
    def of(cls, message: Any, plain: Plain) -> Message:
        """Make one of what a model was sent or what it answered.

        Args:
            message: A LangChain message, or a text.
            plain: Makes plain data of it, without secrets.
        """
        content = getattr(message, "content", message)
        blocks = content if isinstance(content, list) else None
        name, call_id = getattr(message, "name", None), getattr(message, "tool_call_id", None)
        return cls(
            type=str(getattr(message, "type", "human")),
            content=plain.text(content) if blocks is None else [_short(plain.data(block)) for block in blocks],
            name=None if name is None else plain.text(name),
            tool_calls=[plain.data(call) for call in getattr(message, "tool_calls", None) or ()],
            tool_call_id=None if call_id is None else plain.text(call_id),
        )

    @property
    def text(self) -> str:
        """All that can be read: the text, with every other kind of block named in brackets."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(_readable(block) for block in self.content)


def messages_of(messages: Sequence[Any], plain: Plain) -> list[Message]:
    """Return messages as plain data."""
    return [Message.of(message, plain) for message in messages]


def _readable(block: JsonValue) -> str:
    if isinstance(block, dict):
        text = block.get("text")
        return text if isinstance(text, str) else f"[{block.get('type', 'block')}]"
    return str(block)


def _short(value: JsonValue, key: str = "") -> JsonValue:
    if isinstance(value, dict):
        return {name: _short(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    if isinstance(value, str) and key != "text" and len(value) > _LONGEST_VALUE:
        return f"[{len(value):,} characters left out]"
    return value
