"""Streaming the chunks of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.messages.utils import message_chunk_to_message

from langchain_moa.data.answer import Answer, read_answer

if TYPE_CHECKING:
    from langgraph.types import StreamWriter


# Where providers and LangChain put tool calls, beside the chunk's own field.
_CALLS = {"tool_calls", "tool_call", "tool_call_chunk", "tool_use", "function_call", "input_json_delta"}


class AnswerStream:
    """Passes the chunks of an answer on, from the first chunk with content.

    Providers open a stream with chunks that say nothing. As long as nothing else has come, another attempt, or another model,
    can begin the answer anew, and the reader of the stream will not see that there were two.

    Attributes:
        begun: Whether anything of the answer was sent.
    """

    def __init__(self, writer: StreamWriter, *, may_call: bool = True) -> None:
        """Make it for one answer.

        Args:
            writer: Where the chunks go.
            may_call: Whether a call of a tool may be the answer; if not, one begins nothing.
        """
        self._may_call = may_call
        self.begun = False
        self._writer = writer
        self._chunks: list[AIMessageChunk] = []
        self._sent = 0

    def has_begun(self) -> bool:
        """Tell whether anything of the answer was sent."""
        return self.begun

    def restart(self) -> None:
        """Drop the chunks of an earlier attempt, none of which was sent."""
        self._chunks.clear()

    def send(self, item: Any) -> None:
        """Pass a piece of a Runnable's stream on: text, message or chunk."""
        chunk = as_chunk(item)
        self._chunks.append(chunk)
        self.begun = self.begun or _says_something(chunk, may_call=self._may_call)
        if self.begun:
            for each in self._chunks[self._sent :]:
                self._writer(each)
            self._sent = len(self._chunks)

    def answer(self) -> Answer:
        """Return the whole answer."""
        if not self._chunks:
            return read_answer("")
        return read_answer(message_chunk_to_message(add_ai_message_chunks(*self._chunks)))


def as_chunk(item: Any) -> AIMessageChunk:
    """Return a piece of a Runnable's stream, text or message or chunk, as a message chunk."""
    if isinstance(item, AIMessageChunk):
        return item
    message = read_answer(item)["message"]
    return AIMessageChunk(**message.model_dump(exclude={"type"}))


def _says_something(chunk: AIMessageChunk, *, may_call: bool) -> bool:
    if chunk.text or (may_call and chunk.tool_call_chunks):
        return True
    silent = set() if may_call else _CALLS
    if chunk.additional_kwargs.keys() - silent:
        return True
    return not isinstance(chunk.content, str) and any(
        not isinstance(block, dict) or block.get("type") not in {"text", *silent} for block in chunk.content
    )
