"""Gemini's generateContent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.providers.conversation import Answer, Turn, count_words, sign, split_words
from tests.providers.protocol import Json, Protocol, names, only_keys, require, sse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.providers.protocol import Recorded

_PATH = re.compile(r"/v1(?:beta|alpha)?/models/([^:/]+):(generateContent|streamGenerateContent)")
_BODY = names("contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent labels model")
_CONFIG = names(
    "temperature topP topK maxOutputTokens stopSequences candidateCount responseMimeType responseSchema "
    "responseJsonSchema presencePenalty frequencyPenalty seed responseLogprobs logprobs thinkingConfig "
    "responseModalities speechConfig mediaResolution enableAffectiveDialog"
)
_PART = names(
    "text inlineData fileData functionCall functionResponse executableCode codeExecutionResult thought "
    "thoughtSignature videoMetadata mediaResolution"
)
_DATA = frozenset(
    ["text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"]
)
_SKIP = "skip_thought_signature_validator"
_NEW = re.compile(r"gemini-(?:[3-9]|\d\d)")
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP"}


class Gemini(Protocol):
    """Gemini's API, complete and streamed."""

    vendor = "gemini"

    def read(self, request: Recorded) -> Turn:
        """Check a request by Gemini's rules."""
        found = _PATH.fullmatch(request.path.partition("?")[0])
        require(found, "path", request.path)
        assert found is not None
        body, model = request.body, found[1]
        request.model, request.stream = model, found[2] == "streamGenerateContent"
        only_keys(body, _BODY, "body")
        config = body.get("generationConfig") or {}
        only_keys(config, _CONFIG, "generationConfig")
        _check_config(config)
        system = _parts(body.get("systemInstruction") or {})
        if "systemInstruction" in body:
            require(system, "empty-parts", "systemInstruction: parts must not be empty")
        contents = body.get("contents") or []
        require(contents, "contents-required", "contents is not specified")
        for place, content in enumerate(contents):
            _check_content(model, content, f"contents[{place}]")
        require(
            contents[-1].get("role", "user") == "user", "ends-with-model", "Please ensure that the last turn is a user turn"
        )
        _check_functions(contents)
        start = max((place for place, content in enumerate(contents) if _asks(content)), default=0)
        if _NEW.match(model):
            _check_signed(contents[start:])
        declared = [each for tool in body.get("tools") or () for each in tool.get("functionDeclarations") or ()]
        calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        offered = declared if calling.get("mode") != "NONE" else []
        thinking = config.get("thinkingConfig") or {}
        return Turn(
            vendor=self.vendor,
            model=model,
            question="\n".join(part["text"] for part in _parts(contents[start]) if "text" in part),
            results=[
                str(part["functionResponse"].get("response"))
                for content in contents[start:]
                for part in _parts(content)
                if "functionResponse" in part
            ],
            tools={each["name"]: _schema(each.get("parametersJsonSchema") or each.get("parameters") or {}) for each in offered},
            stream=request.stream,
            thinking=bool(thinking.get("includeThoughts") or thinking.get("include_thoughts")),
            limit=config.get("maxOutputTokens"),
            stop=config.get("stopSequences") or (),
            prompt_tokens=count_words(
                [part.get("text") or "" for each in [{"parts": system}, *contents] for part in _parts(each)]
            ),
            number=request.number,
        )

    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""
        return self._frame(turn, answer, self._parts(turn, answer), last=True)

    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as server-sent events, each of which is a response."""
        for part in self._parts(turn, answer):
            pieces = split_words(part["text"]) if "text" in part else [""]
            for place, piece in enumerate(pieces):
                told = {**part, "text": piece} if "text" in part else dict(part)
                if place < len(pieces) - 1:
                    told.pop("thoughtSignature", None)
                yield sse(self._frame(turn, answer, [told], last=False))
        yield sse(self._frame(turn, answer, [{"text": ""}], last=True))

    def error(self, status: int, message: str) -> Json:
        """Return an error in Google's format."""
        kind = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED"}.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": kind}}

    def _parts(self, turn: Turn, answer: Answer) -> list[Json]:
        parts: list[Json] = [dict(block) for block in answer.blocks]
        if answer.thoughts:
            parts.append({"text": answer.thoughts, "thought": True})
        if answer.text:
            parts.append({"text": answer.text})
            if answer.thoughts:
                parts[-1]["thoughtSignature"] = sign(turn.vendor, turn.model, "text")
        for call in answer.calls:
            part: Json = {"functionCall": {"name": call.name, "args": dict(call.args)}}
            if call.id is not None:
                part["functionCall"]["id"] = call.id
            if _NEW.match(turn.model):
                part["thoughtSignature"] = sign(turn.vendor, turn.model, "call")
            parts.append(part)
        return parts

    def _frame(self, turn: Turn, answer: Answer, parts: list[Json], *, last: bool) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        usage: Any = {
            "promptTokenCount": turn.prompt_tokens,
            "candidatesTokenCount": answer.completion_tokens - answer.thought_tokens,
            "thoughtsTokenCount": answer.thought_tokens,
            "totalTokenCount": turn.prompt_tokens + answer.completion_tokens,
        }
        frame = {"candidates": [candidate], "modelVersion": turn.model, "responseId": answer.id or f"resp-{turn.number}"}
        if not last:
            return frame
        candidate["finishReason"] = _FINISH[answer.reason]
        return {**frame, "usageMetadata": usage if answer.usage is None else dict(answer.usage)}


def _check_config(config: Json) -> None:
    temperature = config.get("temperature")
    require(temperature is None or 0 <= temperature <= 2, "temperature-range", "temperature: from 0 to 2")
    require(len(config.get("stopSequences") or ()) <= 5, "stop-count", "stopSequences: at most 5")
    require(all(config.get("stopSequences") or ()), "blank-stop", "stopSequences: an empty sequence")


def _check_content(model: str, content: Json, where: str) -> None:
    require(content.get("role", "user") in {"user", "model"}, "role", "Please use a valid role: user, model.")
    parts = _parts(content)
    require(parts, "empty-parts", f"{where}.parts: must not be empty")
    for index, part in enumerate(parts):
        here = f"{where}.parts[{index}]"
        only_keys(part, _PART, here, "part-keys")
        data = _DATA & set(part)
        signed_only = "thoughtSignature" in part and part.get("text") == ""
        require(len(data) == 1, "part-data", f"{here}: exactly one kind of data, not {sorted(data)}")
        require(part.get("text") != "" or signed_only, "empty-part", f"{here}: Unable to submit request: it has an empty text")
        if signature := part.get("thoughtSignature"):
            own = {sign("gemini", model, kind) for kind in ("text", "call")} | {_SKIP}
            require(signature in own, "foreign-signature", f"{here}: Thought signature is not valid.")


def _check_functions(contents: Sequence[Json]) -> None:
    for place, content in enumerate(contents):
        calls = [part["functionCall"]["name"] for part in _parts(content) if "functionCall" in part]
        before = contents[place - 1] if place else {}
        asked = [part for part in _parts(before) if "functionCall" in part]
        answers = [part["functionResponse"]["name"] for part in _parts(content) if "functionResponse" in part]
        require(
            len(answers) == len(asked),
            "function-response-count",
            "Please ensure that the number of function response parts is equal to the number of function call parts",
        )
        if calls:
            follows_user = place > 0 and before.get("role", "user") == "user"
            require(follows_user, "function-call-place", "a function call turn comes after a user turn or a function response")
            require(place + 1 < len(contents), "function-response-count", "a function call has no response")


def _check_signed(loop: Sequence[Json]) -> None:
    for content in loop:
        calls = [part for part in _parts(content) if "functionCall" in part]
        if calls:
            name = calls[0]["functionCall"]["name"]
            signed = calls[0].get("thoughtSignature")
            require(
                signed, "signature-required", f"Function call `{name}` is missing a thought_signature in functionCall parts."
            )


def _asks(content: Json) -> bool:
    parts = _parts(content)
    return content.get("role", "user") == "user" and not any("functionResponse" in part for part in parts)


def _parts(content: Json) -> list[Json]:
    return content.get("parts") or []


def _schema(schema: Json) -> Json:
    """Convert the type names of a Gemini schema to those of JSON Schema."""
    plain = {key: _schema(value) if isinstance(value, dict) else value for key, value in schema.items()}
    if isinstance(kind := plain.get("type"), str):
        plain["type"] = kind.lower()
    return plain
