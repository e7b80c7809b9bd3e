"""What the loopback server answers: one `Reply` per call."""

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
    """The tokens an answer reports, in the server's own words.

    Attributes:
        prompt: Tokens of the request.
        completion: Tokens of the answer.
        cached: Of `prompt`, those read from a cache.
        reasoning: Of `completion`, those spent on reasoning.
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
        name: The tool's name.
        args: Its arguments; a string goes out as it stands, valid JSON or not.
        id: The call's id. Default: one made from the request's number.
    """

    name: str
    args: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None

    @property
    def arguments(self) -> str:
        """The arguments as they stand on the wire."""
        if isinstance(self.args, str):
            return self.args
        return json.dumps(self.args, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer.

    Attributes:
        text: The answer, or the message of an error. `None` is a null content.
        chunks: How a stream splits the text: pieces of that many characters, or these
            very pieces (which then are the text). Default: one word each.
        delay: Seconds before the first byte.
        chunk_delay: Seconds between two pieces of a stream.
        together: Hold the answer until this many calls are open at once.
        after: Hold the answer until a call of this model has been answered.
        gate: Hold the answer until this gate (`server.gate()`) is opened.
        hang: Never answer; ends when the client or the server goes.
        drop: Close the connection in the middle of the answer.
        after_chunks: How many pieces of a stream go out before `gate`, `hang`, `drop` or
            `status` takes hold. Default: none, or half of them for `drop`. With
            `drop=True, after_chunks=0` the connection closes without a byte.
        status: The HTTP status; from 400 on an error in OpenAI's form.
        headers: More response headers, such as `{"retry-after": "0"}`.
        code: The error's `code`, such as `"context_length_exceeded"`.
        tool_calls: Tools to call.
        finish_reason: Default: what follows from the answer.
        refusal: A refusal, next to or in place of the text.
        reasoning_content: Reasoning, as DeepSeek and others send it.
        usage: What to report, `"counted"` by words, or `None` for no report.
        malformed: Send JSON that breaks off.
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
        """Whether the HTTP status says that the call failed."""
        return self.status >= 400

    @property
    def content(self) -> str | None:
        """The whole text, before any cut."""
        if self.chunks is not None and not isinstance(self.chunks, int):
            return "".join(self.chunks)
        return self.text

    def pieces(self, text: str) -> list[str]:
        """Split what is left of the text after a cut the way `chunks` says."""
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
"""What a model does: always this, these one after the other, or what a function says."""
