"""Anthropic's Messages."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.providers.conversation import Answer, Turn, count_words, sign, split_words
from tests.providers.protocol import Json, Protocol, check_answers, names, only_keys, require, sse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.providers.protocol import Recorded

_PARAMETERS = names(
    "model messages system max_tokens metadata stop_sequences stream temperature top_k top_p tools tool_choice "
    "thinking service_tier container context_management mcp_servers output_config cache_control inference_geo"
)
_PARTS = {
    "user": frozenset({"text", "image", "document", "tool_result", "search_result"}),
    "assistant": frozenset(
        [
            "text",
            "tool_use",
            "thinking",
            "redacted_thinking",
            "server_tool_use",
            "web_search_tool_result",
            "code_execution_tool_result",
        ]
    ),
}
_TEXT_KEYS = frozenset({"type", "text", "cache_control", "citations"})
_NEW = re.compile(r"claude-[a-z]+-(?:[5-9]|\d\d)(?:\D|$)")
_FINISH = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}


def is_new(model: str) -> bool:
    """Return whether a model supports neither temperature nor prefill."""
    return _NEW.match(model) is not None


class AnthropicMessages(Protocol):
    """The Messages API."""

    vendor = "anthropic"

    def read(self, request: Recorded) -> Turn:
        """Check a request by Anthropic's rules."""
        require(request.path.partition("?")[0] == "/v1/messages", "path", request.path)
        body = request.body
        model, messages = str(body.get("model") or ""), body.get("messages")
        request.model, request.stream = model, bool(body.get("stream"))
        key = request.headers.get("x-api-key") or request.headers.get("authorization")
        require(key, "api-key", "x-api-key header is required")
        require(model, "model-required", "model: Field required")
        require(isinstance(messages, list) and messages, "messages-required", "messages: at least one message is required")
        assert isinstance(messages, list)
        _check_parameters(model, body)
        _check_system(body.get("system"))
        for place, message in enumerate(messages):
            _check_message(model, message, place, last=place == len(messages) - 1)
        _check_tools(messages, body)
        require(messages[0]["role"] == "user", "first-user", "messages: first message must use the user role")
        if messages[-1]["role"] == "assistant":
            require(not is_new(model), "prefill", "This model does not support assistant message prefill.")
            require(not _thinks(body), "prefill-thinking", "prefill is not supported with thinking")
        question, results = _asked(messages)
        none = (body.get("tool_choice") or {}).get("type") == "none"
        return Turn(
            vendor=self.vendor,
            model=model,
            question=question,
            results=results,
            tools={}
            if none
            else {tool["name"]: tool["input_schema"] for tool in body.get("tools") or () if "input_schema" in tool},
            stream=request.stream,
            thinking=_thinks(body),
            limit=body["max_tokens"] - ((body.get("thinking") or {}).get("budget_tokens") or 0),
            stop=body.get("stop_sequences") or (),
            prompt_tokens=count_words([body.get("system") or "", *(_strings(message["content"]) for message in messages)]),
            number=request.number,
        )

    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""
        return {
            **self._start(turn, answer),
            "content": self._blocks(turn, answer),
            "stop_reason": _FINISH[answer.reason],
            "usage": self._usage(turn, answer),
        }

    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as server-sent events."""
        usage = self._usage(turn, answer)
        start = {**self._start(turn, answer), "usage": {**usage, "output_tokens": 1}}
        yield _event("message_start", message=start)
        for index, block in enumerate(self._blocks(turn, answer)):
            empty, deltas = _taken_apart(block)
            yield _event("content_block_start", index=index, content_block=empty)
            for delta in deltas:
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        yield _event("message_delta", delta={"stop_reason": _FINISH[answer.reason], "stop_sequence": None}, usage=usage)
        yield _event("message_stop")

    def error(self, status: int, message: str) -> Json:
        """Return an error in Anthropic's format."""
        kind = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
        return {"type": "error", "error": {"type": kind.get(status, "api_error"), "message": message}, "request_id": "req_1"}

    def _blocks(self, turn: Turn, answer: Answer) -> list[Json]:
        blocks: list[Json] = []
        if answer.thoughts:
            signature = sign(turn.vendor, turn.model, answer.thoughts)
            blocks.append({"type": "thinking", "thinking": answer.thoughts, "signature": signature})
        blocks += [dict(block) for block in answer.blocks]
        if answer.text:
            blocks.append({"type": "text", "text": answer.text})
        for place, call in enumerate(answer.calls):
            id_ = call.id or f"toolu_{turn.number}_{place}"
            blocks.append({"type": "tool_use", "id": id_, "name": call.name, "input": dict(call.args)})
        return blocks

    def _start(self, turn: Turn, answer: Answer) -> Json:
        return {
            "id": answer.id or f"msg_{turn.number}",
            "type": "message",
            "role": "assistant",
            "model": turn.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _usage(self, turn: Turn, answer: Answer) -> Any:
        if answer.usage is not None:
            return dict(answer.usage)
        return {"input_tokens": turn.prompt_tokens, "output_tokens": answer.completion_tokens}


def _check_parameters(model: str, body: Json) -> None:
    only_keys(body, _PARAMETERS, "body")
    limit = body.get("max_tokens")
    require(isinstance(limit, int) and limit > 0, "max-tokens-required", "max_tokens: Field required")
    temperature, top_p = body.get("temperature"), body.get("top_p")
    require(temperature is None or top_p is None, "temperature-and-top-p", "temperature and top_p cannot both be specified")
    require(temperature is None or 0 <= temperature <= 1, "temperature-range", "temperature: range: 0..1")
    if is_new(model):
        none = temperature is None and top_p is None and body.get("top_k") is None
        require(none, "no-temperature", "`temperature`, `top_p` and `top_k` are not supported by this model")
    if _thinks(body):
        require(temperature in {None, 1}, "thinking-temperature", "temperature may only be set to 1 when thinking is enabled")
        require(body.get("top_k") is None, "thinking-top-k", "top_k must be unset when thinking is enabled")
        forced = (body.get("tool_choice") or {}).get("type") in {"any", "tool"}
        require(not forced, "thinking-forced-tool", "Thinking may not be enabled when tool_choice forces tool use.")
        budget = body["thinking"].get("budget_tokens")
        if body["thinking"]["type"] == "enabled":
            require(isinstance(budget, int) and budget >= 1024, "budget-minimum", "thinking.budget_tokens: at least 1024")
            require(limit > budget, "budget-below-max-tokens", "`max_tokens` must be greater than `thinking.budget_tokens`")
    stops = body.get("stop_sequences") or ()
    require(all(stop.strip() for stop in stops), "blank-stop", "stop_sequences: each stop sequence must contain non-whitespace")


def _check_system(system: Any) -> None:
    if isinstance(system, str) or system is None:
        require(system != "", "empty-system", "system: text content blocks must be non-empty")
        return
    for block in system:
        require(isinstance(block, dict) and block.get("type") == "text", "system-blocks", "system: text blocks only")
        require(block.get("text"), "empty-system", "system: text content blocks must be non-empty")
        only_keys(block, _TEXT_KEYS, "system", "text-keys")


def _check_message(model: str, message: Json, place: int, *, last: bool) -> None:
    where = f"messages.{place}"
    role, content = message.get("role"), message.get("content")
    require(role in _PARTS, "role", f'{where}: Unexpected role "{role}". Use the top-level `system` parameter.')
    only_keys(message, {"role", "content"}, where)
    assert role is not None
    if not content:
        require(last and role == "assistant", "empty-message", f"{where}: all messages must have non-empty content")
        return
    if isinstance(content, str):
        require(content.strip(), "blank-text", f"{where}: text content blocks must contain non-whitespace text")
        return
    for index, block in enumerate(content):
        here = f"{where}.content.{index}"
        require(isinstance(block, dict), "string-part", f"{here}: Input should be an object")
        kind = block.get("type")
        require(kind in _PARTS[role], "part-type", f"{here}: {role} blocks: {sorted(_PARTS[role])}, not {kind!r}")
        if kind == "text":
            only_keys(block, _TEXT_KEYS, here, "text-keys")
            require(str(block.get("text")).strip(), "blank-text", f"{here}: text must contain non-whitespace text")
        elif kind == "thinking":
            _check_thinking(model, block, here)
        elif kind == "tool_use":
            only_keys(block, {"type", "id", "name", "input", "cache_control", "caller"}, here)
            require(isinstance(block.get("input"), dict), "tool-input", f"{here}.input: Input should be an object")
            require(re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]), "tool-id", f"{here}.id: String should match pattern")


def _check_thinking(model: str, block: Json, where: str) -> None:
    only_keys(block, {"type", "thinking", "signature"}, where)
    require(block.get("signature"), "signature-required", f"{where}.thinking.signature: Field required")
    own = block["signature"] == sign("anthropic", model, block["thinking"])
    require(own, "foreign-signature", f"{where}: Invalid `signature` in `thinking` block")


def _check_tools(messages: Sequence[Json], body: Json) -> None:
    for place, message in enumerate(messages):
        calls = [block["id"] for block in _of_type(message, "tool_use")]
        after = messages[place + 1] if place + 1 < len(messages) else {"content": []}
        results = [block["tool_use_id"] for block in _of_type(after, "tool_result")]
        if message["role"] == "assistant" and (calls or results):
            check_answers(calls, results)
            require(body.get("tools"), "tools-required", "Requests with tool blocks must define tools")
    require(not _of_type(messages[0], "tool_result"), "tool-without-call", "tool_result without its tool_use")


def _of_type(message: Json, kind: str) -> list[Json]:
    content = message["content"]
    return [block for block in content if block["type"] == kind] if isinstance(content, list) else []


def _asked(messages: Sequence[Json]) -> tuple[str, list[str]]:
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] != "user":
            continue
        content = message["content"]
        texts = [content] if isinstance(content, str) else [block["text"] for block in _of_type(message, "text")]
        results = [_strings(block.get("content") or "") for block in _of_type(message, "tool_result")] + results
        if texts:
            return "\n".join(texts), results
    return "", results


def _strings(content: Any) -> str:
    if isinstance(content, str):
        return content
    found = (block.get("text") or block.get("thinking") or block.get("content") or "" for block in content)
    return " ".join(_strings(text) for text in found)


def _thinks(body: Json) -> bool:
    return (body.get("thinking") or {}).get("type") in {"enabled", "adaptive"}


def _taken_apart(block: Json) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in split_words(block["text"])]
            return {"type": "text", "text": ""}, deltas
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in split_words(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signed]
        case "tool_use" | "server_tool_use":
            pieces = re.findall(r"(?s).{1,8}", json.dumps(block["input"]))
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        case _:
            return block, []


def _event(kind: str, **data: Any) -> bytes:
    return sse({"type": kind, **data}, event=kind)
