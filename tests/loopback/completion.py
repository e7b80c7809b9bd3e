"""Convert a `Reply` to the format of OpenAI's chat completions API."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.loopback.recorded import text_of
from tests.loopback.reply import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loopback.recorded import Recorded
    from tests.loopback.reply import Body, Reply, ToolCall

_CREATED = 1_700_000_000
_MALFORMED = '{"id": "chatcmpl-0", "choices": [{"index": 0, "mess'
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ERROR_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def encode(value: Any) -> bytes:
    """Return JSON bytes as sent on the wire."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(data: bytes) -> bytes:
    """Return one server-sent event."""
    return b"data: " + data + b"\n\n"


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's format."""
    return {
        "error": {
            "message": message or f"scripted error {status}",
            "type": _ERROR_TYPES.get(status, "server_error"),
            "param": None,
            "code": code or _ERROR_CODES.get(status),
        }
    }


def count_tokens(text: str) -> int:
    """Count tokens as this server does: one per word."""
    return len(text.split())


def cut(text: str, body: Body) -> tuple[str, str]:
    """Cut a text at the request's stop strings and token limit.

    Returns:
        The remaining text, and the finish reason.
    """
    stops = body.get("stop") or ()
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    words = list(re.finditer(r"\S+", text))
    if limit and len(words) > limit:
        return text[: words[limit - 1].end()], "length"
    return text, "stop"


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one request, complete or as a stream.

    Attributes:
        request: The request.
        reply: The scripted reply.
    """

    request: Recorded
    reply: Reply

    def to_json(self) -> bytes:
        """Return the complete answer as the body of one response."""
        if self.reply.malformed:
            return _MALFORMED.encode()
        text, finish_reason = self._cut()
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": self.reply.refusal}
        if self.reply.tool_calls:
            message["content"] = text or None
            message["tool_calls"] = [
                {"id": id_, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for id_, call in self._calls()
            ]
        if self.reply.reasoning_content is not None:
            message["reasoning_content"] = self.reply.reasoning_content
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        answer = self._frame("chat.completion", [] if self.reply.no_choices else [choice])
        if (usage := self._usage(text)) is not None:
            answer["usage"] = usage
        return encode(answer)

    def to_events(self) -> list[bytes]:
        """Return the answer's server-sent events: the opening, the chunks, the closing.

        The first item opens the message, and the last one closes it and the stream. Those
        in between are the chunks that `Reply.after_chunks` counts.
        """
        if self.reply.malformed:
            return [event(_MALFORMED.encode()), event(b"[DONE]")]
        text, finish_reason = self._cut()
        opening = self._delta({"role": "assistant", "content": "", "refusal": None})
        pieces = [self._delta(delta) for delta in self._deltas(text)]
        closing = self._delta({}, finish_reason)
        if self.reply.no_choices:
            opening, pieces, closing = self._chunk([]), [], b""
        if (self.request.body.get("stream_options") or {}).get("include_usage"):
            usage = self._usage(text)
            closing += self._chunk([], usage) if usage is not None else b""
        return [opening, *pieces, closing + event(b"[DONE]")]

    def _deltas(self, text: str | None) -> Iterator[dict[str, Any]]:
        reply = self.reply
        if reply.reasoning_content is not None:
            for piece in re.findall(r"\s*\S+|\s+\Z", reply.reasoning_content):
                yield {"reasoning_content": piece}
        if reply.refusal is not None:
            yield {"refusal": reply.refusal}
        for piece in reply.pieces(text or ""):
            yield {"content": piece}
        for index, (id_, call) in enumerate(self._calls()):
            function = {"name": call.name, "arguments": ""}
            yield {"tool_calls": [{"index": index, "id": id_, "type": "function", "function": function}]}
            for piece in re.findall(r"(?s).{1,8}", call.arguments):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def _delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._chunk([choice])

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        frame = self._frame("chat.completion.chunk", choices)
        return event(encode({**frame, "usage": usage}))

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.request.number}",
            "object": kind,
            "created": _CREATED,
            "model": self.request.model,
            "system_fingerprint": "fp_loopback",
            "choices": choices,
        }

    def _calls(self) -> list[tuple[str, ToolCall]]:
        number = self.request.number
        return [(call.id or f"call_{number}_{i}", call) for i, call in enumerate(self.reply.tool_calls)]

    def _cut(self) -> tuple[str | None, str | None]:
        reply = self.reply
        text, finish_reason = reply.content, "stop"
        if text is not None:
            text, finish_reason = cut(text, self.request.body)
        if reply.tool_calls:
            finish_reason = "tool_calls"
        return text, finish_reason if reply.finish_reason is None else reply.finish_reason or None

    def _usage(self, text: str | None) -> dict[str, Any] | None:
        usage = self.reply.usage
        if usage == "counted":
            prompt = sum(count_tokens(text_of(m.get("content"))) for m in self.request.messages)
            reasoning = count_tokens(self.reply.reasoning_content or "")
            arguments = " ".join(call.arguments for call in self.reply.tool_calls)
            completion = count_tokens(text or "") + count_tokens(arguments) + reasoning
            usage = Usage(prompt=prompt, completion=completion, reasoning=reasoning)
        return usage.to_wire() if usage is not None else None
