"""Amazon Bedrock's Converse."""

from __future__ import annotations

import itertools
import json
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.providers.conversation import Answer, Turn, count_words, sign, split_words
from tests.providers.protocol import Json, Protocol, check_answers, names, only_keys, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.providers.protocol import Recorded

_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream)")
_BODY = names(
    "messages system inferenceConfig toolConfig guardrailConfig additionalModelRequestFields promptVariables "
    "additionalModelResponseFieldPaths requestMetadata performanceConfig serviceTier outputConfig"
)
_CONFIG = frozenset({"maxTokens", "temperature", "topP", "stopSequences"})
_BLOCKS = {
    "user": frozenset({"text", "image", "document", "video", "toolResult", "guardContent", "cachePoint", "searchResult"}),
    "assistant": frozenset({"text", "toolUse", "reasoningContent", "cachePoint", "citationsContent"}),
}
_FINISH = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}


class BedrockConverse(Protocol):
    """Converse, complete and as an event stream, with the rules for Claude models."""

    vendor = "bedrock"
    stream_type = "application/vnd.amazon.eventstream"

    def read(self, request: Recorded) -> Turn:
        """Check a request by the rules of Converse."""
        found = _PATH.fullmatch(request.path.partition("?")[0])
        require(found, "path", request.path)
        assert found is not None
        body, model = request.body, unquote(found[1])
        request.model, request.stream = model, found[2] == "converse-stream"
        require(request.headers.get("authorization"), "credentials", "Missing Authentication Token")
        only_keys(body, _BODY, "body")
        config, fields = body.get("inferenceConfig") or {}, body.get("additionalModelRequestFields") or {}
        only_keys(config, _CONFIG, "inferenceConfig")
        thinking = fields.get("thinking") or {}
        _check_config(config, thinking)
        system = [block.get("text", "x") for block in body.get("system") or ()]
        require(all(text.strip() for text in system), "blank-text", "system: The text field is blank.")
        messages = body.get("messages") or []
        require(messages, "messages-required", "A conversation must start with a user message.")
        for place, message in enumerate(messages):
            _check_message(model, message, f"messages.{place}")
        _check_order(messages, body)
        question, results = _asked(messages)
        specs = [tool["toolSpec"] for tool in (body.get("toolConfig") or {}).get("tools") or () if "toolSpec" in tool]
        limit = config.get("maxTokens")
        return Turn(
            vendor=self.vendor,
            model=model,
            question=question,
            results=results,
            tools={spec["name"]: spec["inputSchema"]["json"] for spec in specs},
            stream=request.stream,
            thinking=bool(thinking),
            limit=None if limit is None else limit - thinking.get("budget_tokens", 0),
            stop=config.get("stopSequences") or (),
            prompt_tokens=count_words(
                [system, *([block.get("text") or "" for block in message["content"]] for message in messages)]
            ),
            number=request.number,
        )

    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""
        content: list[Json] = []
        if answer.thoughts:
            signature = sign(turn.vendor, turn.model, answer.thoughts)
            content.append({"reasoningContent": {"reasoningText": {"text": answer.thoughts, "signature": signature}}})
        content += [dict(block) for block in answer.blocks]
        if answer.text:
            content.append({"text": answer.text})
        content += [{"toolUse": {**start, "input": dict(call.args)}} for start, call in _calls(turn, answer)]
        message = {"role": "assistant", "content": content}
        usage = self._usage(turn, answer)
        return {
            "output": {"message": message},
            "stopReason": _FINISH[answer.reason],
            "usage": usage,
            "metrics": {"latencyMs": 1},
        }

    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as the frames of an event stream."""
        yield encode_event("messageStart", {"role": "assistant"})
        blocks: list[tuple[Json | None, list[Json]]] = []
        if answer.thoughts:
            deltas = [{"reasoningContent": {"text": piece}} for piece in split_words(answer.thoughts)]
            signature = sign(turn.vendor, turn.model, answer.thoughts)
            blocks.append((None, [*deltas, {"reasoningContent": {"signature": signature}}]))
        if answer.text:
            blocks.append((None, [{"text": piece} for piece in split_words(answer.text)]))
        for start, call in _calls(turn, answer):
            blocks.append(
                ({"toolUse": start}, [{"toolUse": {"input": each}} for each in re.findall(r"(?s).{1,8}", call.arguments)])
            )
        for index, (begun, told) in enumerate(blocks):
            if begun is not None:
                yield encode_event("contentBlockStart", {"start": begun, "contentBlockIndex": index})
            for delta in told:
                yield encode_event("contentBlockDelta", {"delta": delta, "contentBlockIndex": index})
            yield encode_event("contentBlockStop", {"contentBlockIndex": index})
        yield encode_event("messageStop", {"stopReason": _FINISH[answer.reason]})
        yield encode_event("metadata", {"usage": self._usage(turn, answer), "metrics": {"latencyMs": 1}})

    def error(self, status: int, message: str) -> Json:
        """Return an error in AWS's format."""
        return {"message": message}

    def error_headers(self, status: int) -> Mapping[str, str]:
        """Return the header with the name of the error."""
        kind = {400: "ValidationException", 429: "ThrottlingException"}.get(status, "InternalServerException")
        return {"x-amzn-errortype": kind}

    def _usage(self, turn: Turn, answer: Answer) -> Any:
        if answer.usage is not None:
            return dict(answer.usage)
        total = turn.prompt_tokens + answer.completion_tokens
        return {"inputTokens": turn.prompt_tokens, "outputTokens": answer.completion_tokens, "totalTokens": total}


def encode_event(kind: str, payload: Json) -> bytes:
    """Return one frame of AWS's event stream: lengths, headers, payload, each half with its CRC."""
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    )
    data = json.dumps(payload).encode()
    prelude = struct.pack("!II", 12 + len(headers) + len(data) + 4, len(headers))
    frame = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + data
    return frame + struct.pack("!I", zlib.crc32(frame))


def _check_config(config: Json, thinking: Json) -> None:
    temperature = config.get("temperature")
    require(temperature is None or 0 <= temperature <= 1, "temperature-range", "temperature: range: 0..1")
    require(all(stop.strip() for stop in config.get("stopSequences") or ()), "blank-stop", "stopSequences: blank")
    if thinking:
        require(temperature in {None, 1}, "thinking-temperature", "temperature may only be set to 1 when thinking is enabled")
        limit, budget = config.get("maxTokens"), thinking.get("budget_tokens", 0)
        require(limit is None or limit > budget, "budget-below-max-tokens", "maxTokens must be greater than budget_tokens")


def _check_message(model: str, message: Json, where: str) -> None:
    role, content = message.get("role"), message.get("content")
    require(role in _BLOCKS, "role", f"{where}: role must be user or assistant")
    assert role is not None
    require(content, "empty-message", f"{where}: The content field is empty.")
    assert content is not None
    for index, block in enumerate(content):
        here = f"{where}.content.{index}"
        kinds = set(block)
        require(
            len(kinds) == 1 and kinds <= _BLOCKS[role],
            "block-type",
            f"{here}: {role} blocks: {sorted(_BLOCKS[role])}, not {sorted(kinds)}",
        )
        if "text" in block:
            require(block["text"].strip(), "blank-text", f"{here}: The text field in the ContentBlock object is blank.")
        if "reasoningContent" in block:
            told = block["reasoningContent"].get("reasoningText") or {}
            own = told.get("signature") == sign("bedrock", model, told.get("text", ""))
            require(own, "foreign-signature", f"{here}: Invalid `signature` in `thinking` block")


def _check_order(messages: Sequence[Json], body: Json) -> None:
    roles = [message["role"] for message in messages]
    require(roles[0] == "user", "first-user", "A conversation must start with a user message.")
    require(roles[-1] == "user", "last-user", "The conversation must end with a user message.")
    alternate = all(before != after for before, after in itertools.pairwise(roles))
    require(alternate, "alternating-roles", "roles must alternate between user and assistant")
    for place, message in enumerate(messages):
        calls = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        results = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        if message["role"] == "assistant":
            after = messages[place + 1]["content"]
            check_answers(calls, [block["toolResult"]["toolUseId"] for block in after if "toolResult" in block])
        if calls or results:
            require(
                body.get("toolConfig"), "tool-config", "The toolConfig field must be defined when using toolUse and toolResult"
            )
        require(place or not results, "tool-without-call", "toolResult without its toolUse")


def _asked(messages: Sequence[Json]) -> tuple[str, list[str]]:
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] != "user":
            continue
        found = [block["toolResult"]["content"] for block in message["content"] if "toolResult" in block]
        results = [" ".join(str(part.get("text") or part.get("json") or "") for part in each) for each in found] + results
        if texts := [block["text"] for block in message["content"] if "text" in block]:
            return "\n".join(texts), results
    return "", results


def _calls(turn: Turn, answer: Answer) -> list[tuple[Json, Any]]:
    return [
        ({"toolUseId": call.id or f"tooluse_{turn.number}_{place}", "name": call.name}, call)
        for place, call in enumerate(answer.calls)
    ]
