"""Mistral's chat completions."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from tests.providers.conversation import Answer, Turn, asked_in, count_words, split_words
from tests.providers.openai_chat import text_of, tools_of
from tests.providers.protocol import Json, Protocol, check_answers, groups_of, names, only_keys, require, sse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.providers.protocol import Recorded

_PARAMETERS = names(
    "model messages temperature top_p max_tokens stream stop random_seed response_format tools tool_choice "
    "presence_penalty frequency_penalty n prediction parallel_tool_calls prompt_mode reasoning_effort "
    "safe_prompt metadata"
)
_KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
_PARTS = {
    "system": frozenset({"text", "thinking"}),
    "user": frozenset({"text", "image_url", "document_url", "input_audio", "reference", "file"}),
    "assistant": frozenset({"text", "thinking", "reference"}),
    "tool": frozenset({"text", "image_url", "document_url"}),
}
_FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls"}


class Mistral(Protocol):
    """Mistral's API, which is strict about the order of messages."""

    vendor = "mistral"

    def read(self, request: Recorded) -> Turn:
        """Check a request by Mistral's rules."""
        require(request.path.partition("?")[0] == "/v1/chat/completions", "path", request.path)
        body = request.body
        model, messages = str(body.get("model") or ""), body.get("messages") or []
        request.model, request.stream = model, bool(body.get("stream"))
        only_keys(body, _PARAMETERS, "body")
        require(messages, "messages-required", "messages: at least one")
        temperature = body.get("temperature")
        require(temperature is None or 0 <= temperature <= 1.5, "temperature-range", "temperature: from 0 to 1.5")
        for place, message in enumerate(messages):
            _check_message(model, message, f"messages[{place}]")
        _check_order(messages)
        stop = body.get("stop")
        return Turn(
            vendor=self.vendor,
            model=model,
            **asked_in(messages, text_of),
            tools=tools_of(body) if body.get("tool_choice") != "none" else {},
            stream=request.stream,
            thinking=_thinks(model),
            limit=body.get("max_tokens"),
            stop=[stop] if isinstance(stop, str) else stop or (),
            prompt_tokens=count_words([text_of(message.get("content")) for message in messages]),
            number=request.number,
        )

    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""
        content: Any = answer.text
        if answer.thoughts:
            content = [_thought(answer.thoughts), *([{"type": "text", "text": answer.text}] if answer.text else [])]
        message: Json = {"role": "assistant", "content": content, "tool_calls": _calls(turn, answer) or None}
        choice = {"index": 0, "message": message, "finish_reason": _FINISH[answer.reason]}
        return {**self._frame(turn, answer, "chat.completion", [choice]), "usage": self._usage(turn, answer)}

    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as server-sent events: an empty string, then lists for thoughts, then strings."""
        yield self._chunk(turn, answer, {"role": "assistant", "content": ""})
        for piece in split_words(answer.thoughts or ""):
            yield self._chunk(turn, answer, {"content": [_thought(piece)]})
        for piece in split_words(answer.text):
            yield self._chunk(turn, answer, {"content": [{"type": "text", "text": piece}] if answer.thoughts else piece})
        last: Json = {"content": ""}
        if answer.calls:  # complete, not in chunks
            last["tool_calls"] = [{**call, "index": index} for index, call in enumerate(_calls(turn, answer))]
        choice = {"index": 0, "delta": last, "finish_reason": _FINISH[answer.reason]}
        yield sse({**self._frame(turn, answer, "chat.completion.chunk", [choice]), "usage": self._usage(turn, answer)})
        yield sse("[DONE]")

    def error(self, status: int, message: str) -> Json:
        """Return an error in Mistral's format."""
        kind = "invalid_request_error" if status == 400 else "internal_server_error"
        return {"object": "error", "message": message, "type": kind, "param": None, "code": "3230"}

    def _usage(self, turn: Turn, answer: Answer) -> Any:
        if answer.usage is not None:
            return dict(answer.usage)
        total = turn.prompt_tokens + answer.completion_tokens
        return {"prompt_tokens": turn.prompt_tokens, "completion_tokens": answer.completion_tokens, "total_tokens": total}

    def _chunk(self, turn: Turn, answer: Answer, delta: Json) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return sse(self._frame(turn, answer, "chat.completion.chunk", [choice]))

    def _frame(self, turn: Turn, answer: Answer, kind: str, choices: list[Json]) -> Json:
        frame = {"id": answer.id or f"cmpl{turn.number:05}", "object": kind, "created": 1_700_000_000, "model": turn.model}
        return {**frame, "choices": choices}


def _check_message(model: str, message: Json, where: str) -> None:
    role, content = message.get("role"), message.get("content")
    require(role in _KEYS, "role", f"{where}: unknown role {role!r}")
    assert role is not None
    only_keys(message, _KEYS[role], where, "message-keys")
    if role == "assistant":
        require(
            content or message.get("tool_calls"), "empty-assistant", "Assistant message must have either content or tool_calls"
        )
        for call in message.get("tool_calls") or ():
            _check_id(call.get("id"))
            json.loads(call["function"]["arguments"])
    if role == "tool":
        _check_id(message.get("tool_call_id"))
    if isinstance(content, str) or content is None:
        return
    for index, part in enumerate(content):
        here = f"{where}.content[{index}]"
        require(isinstance(part, dict), "string-part", f"{here}: Input should be a valid dictionary")
        kind = part.get("type")
        require(kind in _PARTS[role], "part-type", f"{here}: {role} chunks: {sorted(_PARTS[role])}, not {kind!r}")
        if kind == "text":
            only_keys(part, {"type", "text"}, here, "text-keys")
        if kind == "thinking":
            require(_thinks(model), "thinking-chunk", f"{here}: thinking chunks need a reasoning model")
            require(isinstance(part.get("thinking"), list), "thinking-chunk", f"{here}.thinking: Input should be a valid list")
            only_keys(part, {"type", "thinking", "closed"}, here, "thinking-chunk")


def _check_id(id_: Any) -> None:
    fits = re.fullmatch(r"[a-zA-Z0-9]{9}", str(id_))
    require(fits, "tool-id", f"Tool call id was {id_} but must be a-z, A-Z, 0-9, with a length of 9.")


def _check_order(messages: Sequence[Json]) -> None:
    roles = [message["role"] for message in messages]
    last = roles[-1] in {"user", "tool"} or messages[-1].get("prefix")
    require(
        last, "last-role", f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {roles[-1]}"
    )
    require("system" not in roles[1:], "system-in-front", "system: only one, and only as the first message")
    for before, after in itertools.pairwise(roles):
        require((before, after) != ("tool", "user"), "user-after-tool", "Unexpected role 'user' after role 'tool'")
        require(
            (before, after) != ("assistant", "assistant"),
            "two-assistants",
            "Unexpected role 'assistant' after role 'assistant'",
        )
        require(
            (before, after) != ("system", "assistant"),
            "assistant-after-system",
            "Unexpected role 'assistant' after role 'system'",
        )
    for place, message in enumerate(messages):
        if message.get("tool_calls"):
            results = groups_of(messages, lambda each: str(each["role"]), "tool", place + 1)
            calls = [str(call["id"]) for call in message["tool_calls"]]
            check_answers(calls, [str(result["tool_call_id"]) for result in results])
        if message["role"] == "tool":
            before_all = next((each for each in reversed(messages[:place]) if each["role"] != "tool"), {})
            require(before_all.get("tool_calls"), "tool-without-call", "Unexpected role 'tool'")


def _thinks(model: str) -> bool:
    return model.startswith("magistral")


def _thought(text: str) -> Json:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def _calls(turn: Turn, answer: Answer) -> list[Json]:
    return [
        {
            "id": call.id or f"id{turn.number:04}{place:03}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for place, call in enumerate(answer.calls)
    ]
