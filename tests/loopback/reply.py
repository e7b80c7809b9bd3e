"""Scripted answers of the loopback server: one `Reply` per call."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tests.loopback.gate import Gate

Body = dict[str, Any]
"""A parsed request body, as the client sent it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """The token counts that an answer reports.

    Attributes:
        prompt: Tokens of the request.
        completion: Tokens of the answer.
        cached: The tokens of `prompt` that were read from a cache.
        reasoning: The tokens of `completion` that were used for reasoning.
    """

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0

    def to_wire(self) -> dict[str, Any]:
        """Return the `usage` object of the chat-completions format."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning, "audio_tokens": 0},
        }


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool.

    Attributes:
        name: The name of the tool.
        args: The arguments. A string is sent unchanged, even if it is not valid JSON.
        id: The id of the call. Default: derived from the number of the request.
    """

    name: str
    args: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None

    @property
    def arguments(self) -> str:
        """The arguments as sent on the wire."""
        if isinstance(self.args, str):
            return self.args
        return json.dumps(self.args, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer.

    Attributes:
        text: The answer, or the message of an error. `None` is a null content.
        chunks: How to split a stream: into chunks of that many characters, or these
            chunks (which are then the text). Default: one word each.
        delay: Seconds before the first byte.
        chunk_delay: Seconds between two chunks of a stream.
        together: Hold the answer until this many calls are open at once.
        after: Hold the answer until a call of this model has been answered.
        gate: Hold the answer until this gate (`server.gate()`) is opened.
        hang: Never answer. Ends when the client disconnects or the server stops.
        drop: Close the connection in the middle of the answer.
        after_chunks: The number of chunks that are sent before `gate`, `hang`, `drop` or
            `status` takes effect. Default: none, or half of them for `drop`. With
            `drop=True, after_chunks=0` the connection closes without sending a byte.
        status: The HTTP status; from 400 on, an error in OpenAI's format.
        headers: Additional response headers, such as `{"retry-after": "0"}`.
        code: The `code` of the error, such as `"context_length_exceeded"`.
        tool_calls: The tools to call.
        finish_reason: The finish reason. Default: derived from the answer.
        refusal: A refusal, in addition to the text or instead of it.
        reasoning_content: Reasoning in the format of DeepSeek and others.
        usage: The reported usage, `"counted"` by words, or `None` for none.
        malformed: Send truncated JSON.
        no_choices: Send an empty list of choices.
    """

    text: str | None = ""
    _: KW_ONLY
    chunks: int | Sequence[str] | None = None
    delay: float = 0.0
    chunk_delay: float = 0.0
    together: int = 0
    after: str | None = None
    gate: Gate | None = None
    hang: bool = False
    drop: bool = False
    after_chunks: int | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    usage: Usage | Literal["counted"] | None = "counted"
    malformed: bool = False
    no_choices: bool = False

    @property
    def is_error(self) -> bool:
        """Whether the HTTP status is that of a failed call."""
        return self.status >= 400

    @property
    def content(self) -> str | None:
        """The complete text, before it is cut."""
        if self.chunks is not None and not isinstance(self.chunks, int):
            return "".join(self.chunks)
        return self.text

    def pieces(self, text: str) -> list[str]:
        """Split the cut text as specified by `chunks`."""
        if self.chunks is None:
            return re.findall(r"\s*\S+|\s+\Z", text)
        if isinstance(self.chunks, int):
            return [text[i : i + self.chunks] for i in range(0, len(text), self.chunks)]
        pieces, start = [], 0
        for piece in self.chunks:
            pieces.append(text[start : start + len(piece)])
            start += len(piece)
        return [piece for piece in pieces if piece]


Answer = Reply | str
Behaviour = Answer | Sequence[Answer] | Callable[[Body], Answer | Awaitable[Answer]]
"""The behaviour of a model: one reply, a list of replies in order, or a function."""
