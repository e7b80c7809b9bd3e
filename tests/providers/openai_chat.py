"""OpenAI's chat completions, and the dialects of other providers with this protocol."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tests.providers.conversation import Answer, Turn, asked_in, count_words, split_words
from tests.providers.protocol import Json, Protocol, check_answers, groups_of, names, only_keys, require, sse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.providers.protocol import Recorded

_PARAMETERS = names(
    "model messages stream stream_options temperature top_p n stop max_tokens max_completion_tokens "
    "presence_penalty frequency_penalty logit_bias logprobs top_logprobs user seed tools tool_choice "
    "parallel_tool_calls response_format reasoning_effort verbosity service_tier store metadata modalities "
    "prediction prompt_cache_key safety_identifier"
)
_ASSISTANT = frozenset({"role", "content", "name", "refusal", "tool_calls", "audio"})
_TOOL = frozenset({"role", "content", "tool_call_id", "name"})
_PATHS = frozenset({"/v1/chat/completions", "/openai/v1/chat/completions"})
_SYSTEM_ROLES = frozenset({"system", "developer"})
_REASONING = re.compile(r"o\d|gpt-([5-9]|\d\d)")
_FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls"}


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a provider differs from OpenAI.

    Attributes:
        vendor: The provider.
        parts: The supported types of parts in user messages.
        strict_text: Whether text parts with further fields are rejected.
        strings_only: Whether all content must be a string.
        parameters: Parameters in addition to OpenAI's.
        lacks: Parameters of OpenAI that are not supported.
        thoughts: The place of thoughts: a field of the message, the text as `<think>`, or none.
        returned: Fields with thoughts that are accepted in assistant messages.
        separate_thoughts: Whether `completion_tokens` excludes thoughts.
        reasoning: A pattern of the ids of models that always think. Other models think on request.
    """

    vendor: str
    parts: frozenset[str] = frozenset({"text", "image_url"})
    strict_text: bool = True
    strings_only: bool = False
    parameters: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    thoughts: Literal["", "reasoning", "reasoning_content", "<think>"] = ""
    returned: frozenset[str] = frozenset()
    separate_thoughts: bool = False
    reasoning: re.Pattern[str] = re.compile(r"(?!)")


DIALECTS = (
    Dialect(
        vendor="openai",
        parts=frozenset({"text", "image_url", "input_audio", "file"}),
        strict_text=False,
        reasoning=_REASONING,
    ),
    Dialect(
        vendor="groq",
        parameters=frozenset({"reasoning_format", "include_reasoning"}),
        lacks=frozenset({"store", "logit_bias", "prediction", "modalities", "prompt_cache_key"}),
        thoughts="<think>",
        returned=frozenset({"reasoning"}),
    ),
    Dialect(
        vendor="xai",
        parameters=frozenset({"search_parameters", "deferred"}),
        lacks=frozenset({"logit_bias", "prediction", "modalities", "store", "verbosity"}),
        thoughts="reasoning_content",
        separate_thoughts=True,
        returned=frozenset({"reasoning_content"}),
    ),
    Dialect(
        vendor="fireworks",
        parameters=frozenset(
            [
                "top_k",
                "min_p",
                "top_a",
                "repetition_penalty",
                "context_length_exceeded_behavior",
                "prompt_cache_max_len",
                "reasoning_history",
                "thinking",
            ]
        ),
        lacks=frozenset({"store", "verbosity", "modalities"}),
        thoughts="reasoning_content",
        returned=frozenset({"reasoning_content"}),
    ),
    Dialect(
        vendor="deepseek",
        strings_only=True,
        parameters=frozenset({"thinking"}),
        lacks=frozenset({"store", "verbosity", "modalities", "logit_bias", "seed", "max_completion_tokens"}),
        thoughts="reasoning_content",
    ),
    Dialect(
        vendor="together",
        parameters=frozenset({"top_k", "min_p", "repetition_penalty", "safety_model", "reasoning", "chat_template_kwargs"}),
        lacks=frozenset({"store", "verbosity", "modalities", "max_completion_tokens"}),
        thoughts="<think>",
    ),
    Dialect(
        vendor="openrouter",
        parameters=names("reasoning include_reasoning provider models transforms plugins top_k min_p usage"),
        thoughts="reasoning",
        returned=frozenset({"reasoning", "reasoning_details"}),
    ),
)


class OpenAIChat(Protocol):
    """Chat completions in one provider's dialect."""

    def __init__(self, dialect: Dialect) -> None:
        """Create the protocol for a dialect."""
        self.vendor = dialect.vendor
        self._dialect = dialect

    def read(self, request: Recorded) -> Turn:
        """Check a request by the rules of the dialect."""
        require(request.path.partition("?")[0] in _PATHS, "path", request.path)
        body = request.body
        model, messages = body.get("model"), body.get("messages")
        require(isinstance(model, str) and model, "model-required", "model is required")
        require(isinstance(messages, list) and messages, "messages-required", "messages: at least one")
        assert isinstance(model, str)
        assert isinstance(messages, list)
        request.model, request.stream = model, bool(body.get("stream"))
        self._check_parameters(model, body)
        for place, message in enumerate(messages):
            self._check_message(message, f"messages[{place}]")
        check_tool_order(messages)
        effort = body.get("reasoning_effort")
        return Turn(
            vendor=self.vendor,
            model=model,
            **asked_in(messages, text_of),
            tools=tools_of(body) if body.get("tool_choice") != "none" else {},
            stream=request.stream,
            thinking=effort not in {None, "none"} or _wants_thoughts(body),
            form={"parsed": "reasoning", "hidden": ""}.get(str(body.get("reasoning_format")), self._dialect.thoughts),
            limit=body.get("max_completion_tokens") or body.get("max_tokens"),
            stop=_listed(body.get("stop")),
            prompt_tokens=count_words([message.get("content") or "" for message in messages]),
            number=request.number,
        )

    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""
        message: Json = {"role": "assistant", "content": _text(turn, answer), "refusal": None}
        if answer.calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = self._calls(turn, answer)
        if (field := _field(turn)) and answer.thoughts:
            message[field] = answer.thoughts
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[answer.reason]}
        frame = self._frame(turn, answer, "chat.completion", [choice])
        return {**frame, "usage": self._usage(turn, answer)}

    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as server-sent events."""
        yield self._chunk(turn, answer, {"role": "assistant", "content": ""})
        if (field := _field(turn)) and answer.thoughts:
            for piece in split_words(answer.thoughts):
                yield self._chunk(turn, answer, {field: piece})
        for piece in split_words(_text(turn, answer)):
            yield self._chunk(turn, answer, {"content": piece})
        for index, call in enumerate(self._calls(turn, answer)):
            function = call["function"]
            start = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
            yield self._chunk(turn, answer, {"tool_calls": [start]})
            for piece in re.findall(r"(?s).{1,8}", function["arguments"]):
                yield self._chunk(turn, answer, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        finish = [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": _FINISH[answer.reason]}]
        usage = self._usage(turn, answer)
        if self.vendor == "groq":  # Groq's own field for the usage of a stream
            frame = self._frame(turn, answer, "chat.completion.chunk", finish)
            yield sse({**frame, "usage": usage, "x_groq": {"id": f"req_{turn.number}", "usage": usage}})
        else:
            yield sse(self._frame(turn, answer, "chat.completion.chunk", finish))
            yield sse({**self._frame(turn, answer, "chat.completion.chunk", []), "usage": usage})
        yield sse("[DONE]")

    def error(self, status: int, message: str) -> Json:
        """Return an error in OpenAI's format."""
        kind = "invalid_request_error" if status == 400 else "server_error"
        return {"error": {"message": message or f"scripted error {status}", "type": kind, "param": None, "code": None}}

    def _check_parameters(self, model: str, body: Json) -> None:
        dialect = self._dialect
        only_keys(body, (_PARAMETERS | dialect.parameters) - dialect.lacks, "body")
        if dialect.reasoning.match(model):
            for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
                usual = 1 if name in {"temperature", "top_p"} else 0
                require(body.get(name) in {None, usual}, f"reasoning-{name}", f"Unsupported value: '{name}' with this model.")
            require(
                body.get("max_tokens") is None, "reasoning-max_tokens", "Unsupported parameter: use 'max_completion_tokens'."
            )
            require(not body.get("stop"), "reasoning-stop", "Unsupported parameter: 'stop' with this model.")
        require(
            body.get("max_tokens") is None or body.get("max_completion_tokens") is None,
            "two-limits",
            "max_tokens and max_completion_tokens exclude each other",
        )
        temperature = body.get("temperature")
        require(temperature is None or 0 <= temperature <= 2, "temperature-range", "temperature: from 0 to 2")
        require(body.get("tools") is None or body["tools"], "empty-tools", "tools: at least one, or leave it out")
        require(body.get("tool_choice") is None or body.get("tools"), "tool-choice-without-tools", "tool_choice needs tools")
        require(body.get("stream_options") is None or body.get("stream"), "stream-options", "stream_options need a stream")

    def _check_message(self, message: Json, where: str) -> None:
        role, content = message.get("role"), message.get("content")
        require(role in {*_SYSTEM_ROLES, "user", "assistant", "tool"}, "role", f"{where}: unknown role {role!r}")
        if role == "assistant":
            only_keys(message, _ASSISTANT | self._dialect.returned, where, "assistant-keys")
            require(content is not None or message.get("tool_calls"), "empty-assistant", f"{where}: content or tool_calls")
        else:
            require(content is not None, "content-required", f"{where}: content is required")
        if role == "tool":
            only_keys(message, _TOOL, where)
        if isinstance(content, str) or content is None:
            return
        require(isinstance(content, list), "content-type", f"{where}: content is a string or an array")
        assert isinstance(content, list)
        require(not self._dialect.strings_only, "strings-only", f"{where}: content: invalid type: sequence, expected a string")
        require(content, "empty-content", f"{where}: content: an empty array")
        for index, part in enumerate(content):
            self._check_part(role, part, f"{where}.content[{index}]")

    def _check_part(self, role: str | None, part: Any, where: str) -> None:
        require(isinstance(part, dict), "string-part", f"{where}: expected an object, but got a string instead")
        allowed = {"assistant": {"text", "refusal"}, "user": self._dialect.parts}.get(role or "", {"text"})
        require(part.get("type") in allowed, "part-type", f"{where}: {role} parts: {sorted(allowed)}, not {part.get('type')!r}")
        if part["type"] == "text":
            require(isinstance(part.get("text"), str), "text-required", f"{where}: text is required")
            if self._dialect.strict_text:
                only_keys(part, {"type", "text"}, where, "text-keys")

    def _calls(self, turn: Turn, answer: Answer) -> list[Json]:
        return [
            {
                "id": call.id or f"call_{turn.number}_{place}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for place, call in enumerate(answer.calls)
        ]

    def _usage(self, turn: Turn, answer: Answer) -> Any:
        if answer.usage is not None:
            return dict(answer.usage)
        completion = answer.completion_tokens - (answer.thought_tokens if self._dialect.separate_thoughts else 0)
        return {
            "prompt_tokens": turn.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": turn.prompt_tokens + answer.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": answer.thought_tokens},
        }

    def _chunk(self, turn: Turn, answer: Answer, delta: Json) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return sse(self._frame(turn, answer, "chat.completion.chunk", [choice]))

    def _frame(self, turn: Turn, answer: Answer, kind: str, choices: list[Json]) -> Json:
        return {
            "id": answer.id or f"chatcmpl-{turn.number}",
            "object": kind,
            "created": 1_700_000_000,
            "model": turn.model,
            "choices": choices,
        }


def check_tool_order(messages: list[Json]) -> None:
    """Reject tool messages without a call, and calls that are not all answered directly."""
    for place, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("tool_calls"):
            results = groups_of(messages, lambda each: str(each["role"]), "tool", place + 1)
            calls = [call["id"] for call in message["tool_calls"]]
            check_answers(calls, [str(result.get("tool_call_id")) for result in results])
            for call in message["tool_calls"]:
                arguments = call["function"]["arguments"]
                require(isinstance(arguments, str), "arguments", "arguments of a call are a string")
                json.loads(arguments)
        if message["role"] == "tool":
            before = next((each for each in reversed(messages[:place]) if each["role"] != "tool"), {})
            require(before.get("tool_calls"), "tool-without-call", "messages with role 'tool' must follow their tool_calls")


def tools_of(body: Json) -> dict[str, Json]:
    """Return the schema of each tool's arguments."""
    return {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in body.get("tools") or ()}


def text_of(content: Any) -> str:
    """Return the text of a content: a string, or the text parts of an array."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or () if part.get("type") == "text")


def _field(turn: Turn) -> str:
    return "" if turn.form == "<think>" else turn.form


def _text(turn: Turn, answer: Answer) -> str:
    if turn.form == "<think>" and answer.thoughts:
        return f"<think>\n{answer.thoughts}\n</think>\n\n{answer.text}"
    return answer.text


def _wants_thoughts(body: Json) -> bool:
    thinking, reasoning = body.get("thinking"), body.get("reasoning")
    enabled = isinstance(thinking, dict) and thinking.get("type") == "enabled"
    wanted = isinstance(reasoning, dict) and reasoning.get("enabled", True)
    template = body.get("chat_template_kwargs")
    asked = isinstance(template, dict) and template.get("thinking")
    return bool(enabled or wanted or asked or body.get("reasoning_format") or body.get("include_reasoning"))


def _listed(stop: Any) -> list[str]:
    return [stop] if isinstance(stop, str) else list(stop or ())
