"""Streaming: passes on the chunks of an answer once the first one with content has arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.messages.utils import message_chunk_to_message

from langchain_moa.data.answer import Answer, read_answer

if TYPE_CHECKING:
    from langgraph.types import StreamWriter


# Types of content blocks, and keys of `additional_kwargs`, in which providers and LangChain also put tool calls.
_CALLS = {"tool_calls", "tool_call", "tool_call_chunk", "tool_use", "function_call", "input_json_delta"}


class AnswerStream:
    """Passes on the chunks of an answer, starting with the first one that has content.

    Providers open a stream with empty chunks. These are held back, so that after a failure another attempt or another model
    can start the answer again without the reader noticing.

    Attributes:
        begun: Whether a part of the answer has been sent.
    """

    def __init__(self, writer: StreamWriter, *, may_call: bool = True) -> None:
        """Make the stream of one answer.

        Args:
            writer: Receives the chunks.
            may_call: Whether a tool call counts as content.
        """
        self._may_call = may_call
        self.begun = False
        self._writer = writer
        self._chunks: list[AIMessageChunk] = []
        self._sent = 0

    def has_begun(self) -> bool:
        """Return whether a part of the answer has been sent."""
        return self.begun

    def restart(self) -> None:
        """Drop the chunks of an earlier attempt. Call this only before the first chunk has been sent."""
        self._chunks.clear()

    def send(self, item: Any) -> None:
        """Add an item of a Runnable's stream (a string, a message or a chunk), and pass on the chunks if there is content."""
        chunk = as_chunk(item)
        self._chunks.append(chunk)
        self.begun = self.begun or _says_something(chunk, may_call=self._may_call)
        if self.begun:
            for each in self._chunks[self._sent :]:
                self._writer(each)
            self._sent = len(self._chunks)

    def answer(self) -> Answer:
        """Return the answer made of all chunks."""
        if not self._chunks:
            return read_answer("")
        return read_answer(message_chunk_to_message(add_ai_message_chunks(*self._chunks)))


def as_chunk(item: Any) -> AIMessageChunk:
    """Convert an item of a Runnable's stream (a string, a message or a chunk) to a message chunk."""
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
