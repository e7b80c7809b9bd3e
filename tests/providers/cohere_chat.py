"""Cohere's chat, version 2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.providers.conversation import Answer, Turn, asked_in, count_words, split_words
from tests.providers.openai_chat import check_tool_order, tools_of
from tests.providers.protocol import Json, Protocol, names, only_keys, require, sse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.providers.protocol import Recorded

_PARAMETERS = names(
    "model messages tools strict_tools documents citation_options response_format safety_mode max_tokens "
    "stop_sequences temperature seed frequency_penalty presence_penalty k p logprobs tool_choice thinking "
    "priority stream"
)
_PARTS = {
    "system": frozenset({"text"}),
    "user": frozenset({"text", "image_url"}),
    "assistant": frozenset({"text", "thinking"}),
    "tool": frozenset({"text", "document"}),
}
_KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "tool_plan", "citations"},
    "tool": {"role", "content", "tool_call_id"},
}
_FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tools": "TOOL_CALL"}


class Cohere(Protocol):
    """Version 2 of Cohere's API, which `langchain-cohere` calls."""

    vendor = "cohere"

    def read(self, request: Recorded) -> Turn:
        """Check a request by Cohere's rules."""
        require(request.path.partition("?")[0] == "/v2/chat", "path", request.path)
        body = request.body
        model, messages = str(body.get("model") or ""), body.get("messages") or []
        request.model, request.stream = model, bool(body.get("stream"))
        require(model, "model-required", "model is required")
        only_keys(body, _PARAMETERS, "body")
        temperature = body.get("temperature")
        require(temperature is None or 0 <= temperature <= 1, "temperature-range", "temperature must be between 0 and 1")
        require(len(body.get("stop_sequences") or ()) <= 5, "stop-count", "stop_sequences: at most 5")
        require(messages, "messages-required", "messages: at least one")
        for place, message in enumerate(messages):
            _check_message(message, f"messages[{place}]")
        check_tool_order(messages)
        require(messages[-1]["role"] in {"user", "tool"}, "last-role", "the last message must be from the user or a tool")
        return Turn(
            vendor=self.vendor,
            model=model,
            **asked_in(messages, _text),
            tools=tools_of(body) if body.get("tool_choice") != "NONE" else {},
            stream=request.stream,
            thinking=_thinks(model, body),
            limit=body.get("max_tokens"),
            stop=body.get("stop_sequences") or (),
            prompt_tokens=count_words([_text(message.get("content") or "") for message in messages]),
            number=request.number,
        )

    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""
        content: list[Json] = [{"type": "thinking", "thinking": answer.thoughts}] if answer.thoughts else []
        if answer.text:
            content.append({"type": "text", "text": answer.text})
        message: Json = {"role": "assistant", "content": content}
        if answer.calls:
            message = {"role": "assistant", "tool_plan": "I will use a tool.", "tool_calls": _calls(turn, answer)}
        reason = _FINISH[answer.reason]
        return {"id": self._id(turn, answer), "finish_reason": reason, "message": message, "usage": self._usage(turn, answer)}

    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as server-sent events."""
        start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
        yield _event("message-start", id=self._id(turn, answer), delta=start)
        texts = [(kind, text) for kind, text in (("thinking", answer.thoughts), ("text", answer.text)) if text]
        for index, (kind, text) in enumerate([] if answer.calls else texts):
            yield _event("content-start", index=index, delta={"message": {"content": {"type": kind, kind: ""}}})
            for piece in split_words(text):
                yield _event("content-delta", index=index, delta={"message": {"content": {kind: piece}}})
            yield _event("content-end", index=index)
        if answer.calls:
            yield _event("tool-plan-delta", delta={"message": {"tool_plan": "I will use a tool."}})
        for index, call in enumerate(_calls(turn, answer)):
            function = {"name": call["function"]["name"], "arguments": ""}
            yield _event("tool-call-start", index=index, delta={"message": {"tool_calls": {**call, "function": function}}})
            for piece in re.findall(r"(?s).{1,8}", call["function"]["arguments"]):
                told = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
                yield _event("tool-call-delta", index=index, delta=told)
            yield _event("tool-call-end", index=index)
        end = {"finish_reason": _FINISH[answer.reason], "usage": self._usage(turn, answer)}
        yield _event("message-end", id=self._id(turn, answer), delta=end)
        yield sse("[DONE]")

    def error(self, status: int, message: str) -> Json:
        """Return an error in Cohere's format."""
        return {"id": "error", "message": message}

    def _id(self, turn: Turn, answer: Answer) -> str:
        return answer.id or f"cohere-{turn.number}"

    def _usage(self, turn: Turn, answer: Answer) -> Any:
        if answer.usage is not None:
            return dict(answer.usage)
        tokens = {"input_tokens": turn.prompt_tokens, "output_tokens": answer.completion_tokens}
        return {"billed_units": tokens, "tokens": tokens}


def _check_message(message: Json, where: str) -> None:
    role, content = message.get("role"), message.get("content")
    require(role in _PARTS, "role", f"{where}: unknown role {role!r}")
    assert role is not None
    only_keys(message, _KEYS[role], where)
    require(content or message.get("tool_calls"), "empty-message", f"{where}: content must not be empty")
    if isinstance(content, str) or content is None:
        return
    for index, part in enumerate(content):
        here = f"{where}.content[{index}]"
        require(isinstance(part, dict), "string-part", f"{here}: expected an object")
        kind = part.get("type")
        require(kind in _PARTS[role], "part-type", f"{here}: {role} parts: {sorted(_PARTS[role])}, not {kind!r}")
        if kind == "text":
            only_keys(part, {"type", "text"}, here, "text-keys")


def _thinks(model: str, body: Json) -> bool:
    default = "enabled" if "reasoning" in model else "disabled"
    return bool((body.get("thinking") or {}).get("type", default) == "enabled")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text") or str((part.get("document") or {}).get("data") or "") for part in content)


def _calls(turn: Turn, answer: Answer) -> list[Json]:
    return [
        {
            "id": call.id or f"call_{turn.number}_{place}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for place, call in enumerate(answer.calls)
    ]


def _event(kind: str, **data: Any) -> bytes:
    return sse({"type": kind, **data}, event=kind)
