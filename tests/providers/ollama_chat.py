"""Ollama's chat."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.providers.conversation import Answer, Turn, count_words, split_words
from tests.providers.openai_chat import tools_of
from tests.providers.protocol import Json, Protocol, names, only_keys, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.providers.protocol import Recorded

_PARAMETERS = names("model messages tools stream format options keep_alive think logprobs top_logprobs")
_OPTIONS = names(
    "num_ctx num_predict temperature top_k top_p min_p seed stop repeat_last_n repeat_penalty tfs_z mirostat "
    "mirostat_eta mirostat_tau num_gpu num_thread num_keep typical_p presence_penalty frequency_penalty "
    "num_batch"
)
_MESSAGE = frozenset(["role", "content", "images", "tool_calls", "tool_name", "tool_call_id", "thinking"])
_FINISH = {"stop": "stop", "length": "length", "tools": "stop"}


class Ollama(Protocol):
    """Ollama's API: streams are lines of JSON."""

    vendor = "ollama"
    stream_type = "application/x-ndjson"

    def read(self, request: Recorded) -> Turn:
        """Check a request by Ollama's rules."""
        require(request.path.partition("?")[0] == "/api/chat", "path", request.path)
        body = request.body
        model, messages, options = str(body.get("model") or ""), body.get("messages") or [], body.get("options") or {}
        request.model, request.stream = model, bool(body.get("stream", True))
        require(model, "model-required", "model is required")
        only_keys(body, _PARAMETERS, "body")
        only_keys(options, _OPTIONS, "options")
        require(messages, "messages-required", "messages: at least one")
        for place, message in enumerate(messages):
            where = f"messages[{place}]"
            only_keys(message, _MESSAGE, where)
            require(message.get("role") in {"system", "user", "assistant", "tool"}, "role", f"{where}: invalid role")
            require(isinstance(message.get("content", ""), str), "content-string", "json: cannot unmarshal array into string")
            arguments = [call["function"]["arguments"] for call in message.get("tool_calls") or ()]
            require(all(isinstance(each, dict) for each in arguments), "arguments-object", f"{where}: arguments are an object")
        users = [place for place, message in enumerate(messages) if message["role"] == "user"]
        since = messages[users[-1] + 1 :] if users else messages
        stop = options.get("stop")
        predicted = options.get("num_predict")
        return Turn(
            vendor=self.vendor,
            model=model,
            question=messages[users[-1]].get("content", "") if users else "",
            results=[message.get("content", "") for message in since if message["role"] == "tool"],
            tools=tools_of(body),
            stream=request.stream,
            thinking=bool(body.get("think")),
            limit=predicted if predicted and predicted > 0 else None,
            stop=[stop] if isinstance(stop, str) else stop or (),
            prompt_tokens=count_words([message.get("content") or "" for message in messages]),
            number=request.number,
        )

    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""
        message: Json = {
            "role": "assistant",
            "content": answer.text,
            **({"thinking": answer.thoughts} if answer.thoughts else {}),
        }
        if answer.calls:
            message["tool_calls"] = _calls(answer)
        return self._frame(turn, message, answer)

    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as lines of JSON."""
        for piece in split_words(answer.thoughts or ""):
            yield _line(self._frame(turn, {"role": "assistant", "content": "", "thinking": piece}))
        for piece in split_words(answer.text):
            yield _line(self._frame(turn, {"role": "assistant", "content": piece}))
        if answer.calls:
            yield _line(self._frame(turn, {"role": "assistant", "content": "", "tool_calls": _calls(answer)}))
        yield _line(self._frame(turn, {"role": "assistant", "content": ""}, answer))

    def error(self, status: int, message: str) -> Json:
        """Return an error in Ollama's format."""
        return {"error": message}

    def _frame(self, turn: Turn, message: Json, last: Answer | None = None) -> Json:
        frame = {"model": turn.model, "created_at": "2026-11-01T00:00:00.000000Z", "message": message, "done": last is not None}
        if last is None:
            return frame
        counts: Any = {"prompt_eval_count": turn.prompt_tokens, "eval_count": last.completion_tokens}
        times = {"total_duration": 4, "load_duration": 1, "prompt_eval_duration": 1, "eval_duration": 2}
        return {**frame, "done_reason": _FINISH[last.reason], **times, **(counts if last.usage is None else dict(last.usage))}


def _calls(answer: Answer) -> list[Json]:
    return [{"function": {"name": call.name, "arguments": dict(call.args)}} for call in answer.calls]


def _line(value: Json) -> bytes:
    return json.dumps(value).encode() + b"\n"
