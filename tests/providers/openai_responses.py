"""OpenAI's Responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.providers.conversation import Answer, Turn, count_words, sign, signer, split_words
from tests.providers.protocol import Json, Protocol, check_answers, names, only_keys, require, sse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.providers.protocol import Recorded

_PARAMETERS = names(
    "model input instructions stream stream_options temperature top_p max_output_tokens tools tool_choice "
    "parallel_tool_calls previous_response_id conversation reasoning include store text truncation metadata "
    "user service_tier prompt_cache_key safety_identifier top_logprobs background max_tool_calls"
)
_PARTS = {
    "assistant": frozenset({"output_text", "refusal"}),
    "user": frozenset({"input_text", "input_image", "input_file", "input_audio"}),
    "system": frozenset({"input_text"}),
    "developer": frozenset({"input_text"}),
}
_PREFIXES = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_"}
_KEYS = {
    "message": {"type", "role", "content", "id", "status", "phase"},
    "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
    "function_call": {"type", "id", "call_id", "name", "arguments", "status"},
    "function_call_output": {"type", "id", "call_id", "output", "status"},
}
_REASONING = re.compile(r"o\d|gpt-([5-9]|\d\d)")


class OpenAIResponses(Protocol):
    """The Responses API. Answers are stored for `previous_response_id` unless `store` is false."""

    vendor = "responses"

    def __init__(self) -> None:
        """Create the protocol without stored answers."""
        self._stored: dict[str, list[Json]] = {}
        self._asked: dict[int, tuple[list[Json], bool]] = {}

    def read(self, request: Recorded) -> Turn:
        """Check a request by the rules of the Responses API."""
        require(request.path.partition("?")[0] in {"/v1/responses", "/responses"}, "path", request.path)
        body = request.body
        model = str(body.get("model") or "")
        request.model, request.stream = model, bool(body.get("stream"))
        require(model, "model-required", "model is required")
        _check_parameters(model, body)
        given = body.get("input")
        items = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else list(given or ())
        previous = body.get("previous_response_id")
        if previous is not None:
            require(previous in self._stored, "previous-response", f"Previous response with id '{previous}' not found.")
            items = [*(item for item in self._stored[previous]), *items]
        require(items, "input-required", "input is required")
        for place, item in enumerate(items):
            self._check_item(model, item, items[place + 1 :], f"input[{place}]")
        _check_calls(items)
        self._asked[request.number] = items, body.get("store") is not False
        users = [place for place, item in enumerate(items) if item.get("role") == "user"]
        since = items[users[-1] + 1 :] if users else items
        reasoning = body.get("reasoning") or {}
        tools = [tool for tool in body.get("tools") or () if tool["type"] == "function"]
        return Turn(
            vendor=self.vendor,
            model=model,
            question=_text(items[users[-1]]["content"]) if users else "",
            results=[_text(item["output"]) for item in since if item.get("type") == "function_call_output"],
            tools={tool["name"]: tool.get("parameters") or {} for tool in tools} if body.get("tool_choice") != "none" else {},
            stream=request.stream,
            thinking=bool(reasoning.get("summary") or reasoning.get("effort") not in {None, "none"}),
            limit=body.get("max_output_tokens"),
            prompt_tokens=count_words(
                [body.get("instructions") or "", *(_text(item.get("content") or item.get("output")) for item in items)]
            ),
            number=request.number,
        )

    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""
        output = self._output(turn, answer)
        self._store(turn, answer, output)
        status = "incomplete" if answer.reason == "length" else "completed"
        usage = {
            "input_tokens": turn.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answer.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": answer.thought_tokens},
            "total_tokens": turn.prompt_tokens + answer.completion_tokens,
        }
        details = {"reason": "max_output_tokens"} if answer.reason == "length" else None
        more = {"status": status, "incomplete_details": details, "output": output, "usage": answer.usage or usage}
        return {**self._frame(turn, answer), **more}

    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as server-sent events."""
        whole = self.whole(turn, answer)
        events: list[Json] = [{"type": "response.created", "response": self._frame(turn, answer)}]
        for index, item in enumerate(whole["output"]):
            events += _item_events(index, item)
        end = "response.incomplete" if answer.reason == "length" else "response.completed"
        events.append({"type": end, "response": whole})
        for number, event in enumerate(events):
            yield sse({**event, "sequence_number": number}, event=event["type"])

    def error(self, status: int, message: str) -> Json:
        """Return an error in OpenAI's format."""
        kind = "invalid_request_error" if status == 400 else "server_error"
        return {"error": {"message": message or f"scripted error {status}", "type": kind, "param": None, "code": None}}

    def _check_item(self, model: str, item: Json, after: Sequence[Json], where: str) -> None:
        kind = item.get("type", "message")
        require(kind in _KEYS, "item-type", f"{where}: invalid value: {kind!r}")
        only_keys(item, _KEYS[kind], where)
        if (id_ := item.get("id")) is not None and (prefix := _PREFIXES.get(kind)):
            require(
                str(id_).startswith(prefix), "id-prefix", f"{where}.id: {id_!r}: expected an ID that begins with '{prefix}'"
            )
        if kind == "message":
            role = item.get("role")
            require(role in _PARTS, "role", f"{where}: unknown role {role!r}")
            _check_content(str(role), item.get("content"), where)
        if kind == "reasoning":
            follows = after and (after[0].get("type") == "function_call" or after[0].get("role") == "assistant")
            require(follows, "reasoning-alone", f"{where}: 'reasoning' was provided without its required following item.")
            self._check_encrypted(model, item, where)

    def _check_encrypted(self, model: str, item: Json, where: str) -> None:
        encrypted = item.get("encrypted_content")
        if encrypted is None:
            known = any(item.get("id") == each.get("id") for items in self._stored.values() for each in items)
            require(known, "item-not-found", f"{where}: Item with id '{item.get('id')}' not found.")
            return
        own = signer(encrypted) == (self.vendor, model)
        require(own, "foreign-encrypted-content", f"{where}: The encrypted content could not be verified.")

    def _output(self, turn: Turn, answer: Answer) -> list[Json]:
        output: list[Json] = []
        number = turn.number
        if answer.thoughts:
            summary = [{"type": "summary_text", "text": answer.thoughts}]
            secret = sign(turn.vendor, turn.model, answer.thoughts)
            output.append({"id": f"rs_{number}", "type": "reasoning", "summary": summary, "encrypted_content": secret})
        output += [dict(block) for block in answer.blocks]
        if answer.text:
            content = [{"type": "output_text", "text": answer.text, "annotations": []}]
            message = {"id": f"msg_{number}", "type": "message", "status": "completed", "role": "assistant"}
            output.append({**message, "content": content})
        for place, call in enumerate(answer.calls):
            ids = {"id": f"fc_{number}_{place}", "call_id": call.id or f"call_{number}_{place}"}
            output.append(
                {"type": "function_call", **ids, "name": call.name, "arguments": call.arguments, "status": "completed"}
            )
        return output

    def _store(self, turn: Turn, answer: Answer, output: list[Json]) -> None:
        items, kept = self._asked[turn.number]
        if kept:
            self._stored[self._id(turn, answer)] = [*(_plain(item) for item in items), *(_plain(item) for item in output)]

    def _id(self, turn: Turn, answer: Answer) -> str:
        return answer.id or f"resp_{turn.number}"

    def _frame(self, turn: Turn, answer: Answer) -> Json:
        return {
            "id": self._id(turn, answer),
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": turn.model,
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "text": {"format": {"type": "text"}},
            "usage": None,
        }


def _check_parameters(model: str, body: Json) -> None:
    chat = {"max_tokens", "messages"} & set(body)
    require(not chat, "chat-parameters", "Unsupported parameter: it is one of chat completions.")
    only_keys(body, _PARAMETERS, "body")
    if _REASONING.match(model):
        none = body.get("temperature") in {None, 1} and body.get("top_p") in {None, 1}
        require(none, "reasoning-temperature", "Unsupported parameter: 'temperature' is not supported with this model.")
    else:
        require(body.get("reasoning") is None, "no-reasoning", "Unsupported parameter: 'reasoning' with this model.")
    require("cache_control" not in str(body), "cache-control", "Unknown parameter: 'cache_control'.")


def _check_content(role: str, content: Any, where: str) -> None:
    if isinstance(content, str):
        return
    require(isinstance(content, list), "content-type", f"{where}: content is a string or an array")
    for index, part in enumerate(content):
        here = f"{where}.content[{index}]"
        require(isinstance(part, dict), "string-part", f"{here}: expected an object, but got a string instead")
        allowed = _PARTS[role]
        require(part.get("type") in allowed, "part-type", f"{here}: {role} parts: {sorted(allowed)}, not {part.get('type')!r}")
        if part["type"] in {"output_text", "input_text"}:
            only_keys(part, {"type", "text", "annotations", "logprobs"}, here, "text-keys")


def _check_calls(items: Sequence[Json]) -> None:
    calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    outputs = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    require(set(outputs) <= set(calls), "tool-without-call", "No tool call found for function call output.")
    check_answers(calls, outputs)


def _item_events(index: int, item: Json) -> list[Json]:
    where: Json = {"output_index": index, "item_id": item["id"]}
    body: list[Json] = []
    start = dict(item)
    match item["type"]:
        case "reasoning":
            start |= {"summary": []}
            text = item["summary"][0]["text"]
            place = {**where, "summary_index": 0}
            part = {"type": "summary_text", "text": ""}
            body.append({"type": "response.reasoning_summary_part.added", **place, "part": part})
            body += [{"type": "response.reasoning_summary_text.delta", **place, "delta": piece} for piece in split_words(text)]
            body.append({"type": "response.reasoning_summary_text.done", **place, "text": text})
            body.append({"type": "response.reasoning_summary_part.done", **place, "part": {**part, "text": text}})
        case "message":
            start |= {"content": [], "status": "in_progress"}
            text = item["content"][0]["text"]
            place = {**where, "content_index": 0}
            text_part: Json = {"type": "output_text", "text": "", "annotations": []}
            body.append({"type": "response.content_part.added", **place, "part": text_part})
            deltas = [
                {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in split_words(text)
            ]
            body += deltas
            body.append({"type": "response.output_text.done", **place, "text": text, "logprobs": []})
            body.append({"type": "response.content_part.done", **place, "part": {**text_part, "text": text}})
        case "function_call":
            start |= {"arguments": "", "status": "in_progress"}
            pieces = re.findall(r"(?s).{1,8}", item["arguments"])
            body += [{"type": "response.function_call_arguments.delta", **where, "delta": piece} for piece in pieces]
            done = {"arguments": item["arguments"], "name": item["name"]}
            body.append({"type": "response.function_call_arguments.done", **where, **done})
    added = {"type": "response.output_item.added", "output_index": index, "item": start}
    return [added, *body, {"type": "response.output_item.done", "output_index": index, "item": item}]


def _plain(item: Json) -> Json:
    """Return an item in the format in which it may be sent back."""
    kind = item.get("type", "message")
    return {key: value for key, value in item.items() if key in _KEYS.get(kind, item)}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())
