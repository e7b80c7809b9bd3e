"""An answer in the form of OpenAI's chat completions, whole or in pieces."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.messages.ai import UsageMetadata

# What providers call the end of an answer that is too long, and of one that a filter has cut.
_LENGTH = {"length", "max_tokens", "max_output_tokens", "model_length"}
_FILTERED = {"content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii"}


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One answer, however it is sent.

    Attributes:
        model: The mixture's name.
        by_tool: Whether the text is in the arguments of a tool call.
        breakdown: Whether the client is shown the calls behind the answer, as `moa`.
        id: The answer's id.
        created: When it was begun, in seconds since 1970.
    """

    model: str
    by_tool: bool = False
    breakdown: bool = True
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time()))

    def whole(self, message: AIMessage) -> dict[str, Any]:
        """Return an answer that is sent in one piece."""
        calls = _calls(message)
        said: dict[str, Any] = {
            "role": "assistant",
            "content": message.text or (None if calls else ""),
            "refusal": message.additional_kwargs.get("refusal"),
        }
        if self.by_tool and calls:
            said["content"], calls = calls[0]["function"]["arguments"], []
        if calls:
            said["tool_calls"] = calls
        if said["refusal"] is not None and not said["content"]:
            said["content"] = None
        reason = finish_reason(message.response_metadata, calls=bool(calls))
        choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": reason}
        usage = wire_usage(message.usage_metadata, message.response_metadata)
        said_usage = {} if usage is None else {"usage": usage}
        return {**self.frame("chat.completion", [choice]), **said_usage, **self.shown(message.response_metadata)}

    def frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what every piece has, around the choices of one."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def shown(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the breakdown, if the client may see it."""
        return {"moa": metadata["moa"]} if self.breakdown and "moa" in metadata else {}


class Pieces:
    """A completion in pieces: OpenAI's chunks, made of LangChain's."""

    def __init__(self, completion: Completion, *, include_usage: bool) -> None:
        """Make it for one answer.

        Args:
            completion: The answer.
            include_usage: Whether a last piece says the tokens.
        """
        self._completion = completion
        self._include_usage = include_usage
        self._metadata: dict[str, Any] = {}
        self._usage: UsageMetadata | None = None
        self._begun = False
        # The places of tool calls as providers count them; some count other things in between, some not at all.
        self._places: list[Any] = []

    def read(self, chunk: AIMessageChunk) -> Iterator[dict[str, Any]]:
        """Return the pieces that a chunk of the mixture comes to."""
        if not self._begun:
            self._begun = True
            yield self._piece({"role": "assistant", "content": "", "refusal": None})
        self._metadata.update(chunk.response_metadata)
        self._usage = chunk.usage_metadata or self._usage
        if chunk.text:
            yield self._piece({"content": str(chunk.text)})
        if refusal := chunk.additional_kwargs.get("refusal"):
            yield self._piece({"refusal": refusal})
        for call in chunk.tool_call_chunks:
            if not self._completion.by_tool:
                yield self._piece({"tool_calls": [self._call(call)]})
            elif call["args"]:
                yield self._piece({"content": call["args"]})

    def last(self) -> Iterator[dict[str, Any]]:
        """Return the pieces that end the answer."""
        completion = self._completion
        calls = bool(self._places) and not completion.by_tool
        shown = completion.shown(self._metadata)
        end = self._piece({}, finish_reason(self._metadata, calls=calls))
        if not self._include_usage:
            yield {**end, **shown}
            return
        yield end
        usage = wire_usage(self._usage, self._metadata)
        yield {**completion.frame("chat.completion.chunk", []), "usage": usage, **shown}

    def _piece(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        piece = self._completion.frame("chat.completion.chunk", [choice])
        return {**piece, "usage": None} if self._include_usage else piece

    def _call(self, call: Any) -> dict[str, Any]:
        place = call.get("index")
        begins = place not in self._places if place is not None else bool(call.get("name")) or not self._places
        if begins:
            # What is not counted gets a place that nothing else has.
            self._places.append(object() if place is None else place)
        index = len(self._places) - 1 if place is None else self._places.index(place)
        function = {"arguments": call.get("args") or ""}
        if not begins:
            return {"index": index, "function": function}
        said = {"id": call.get("id") or _call_id(), "type": "function"}
        return {"index": index, **said, "function": {"name": call.get("name") or "", **function}}


def finish_reason(metadata: Mapping[str, Any], *, calls: bool) -> str:
    """Return in OpenAI's words why an answer ended.

    Args:
        metadata: The answer's `response_metadata`.
        calls: Whether it calls tools.
    """
    incomplete = metadata.get("incomplete_details")
    cut = incomplete.get("reason") if isinstance(incomplete, dict) else None
    said = str(metadata.get("finish_reason") or metadata.get("stop_reason") or cut or "").lower()
    if said in _LENGTH:
        return "length"
    if said in _FILTERED:
        return "content_filter"
    return "tool_calls" if calls else "stop"


def wire_usage(usage: UsageMetadata | None, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the tokens of all calls together; `None` where a call was not counted, since clients take it for the whole.

    Args:
        usage: The tokens that were counted.
        metadata: The answer's `response_metadata`.
    """
    if usage is None or metadata.get("moa", {}).get("uncounted"):
        return None
    read, written = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": read.get("cache_read", 0)},
        "completion_tokens_details": {"reasoning_tokens": written.get("reasoning", 0)},
    }


def _calls(message: AIMessage) -> list[dict[str, Any]]:
    said = [(call["id"], call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in message.tool_calls]
    # What is no JSON is the client's to judge, as with any model.
    said += [(call["id"], call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls]
    return [
        {"id": id_ or _call_id(), "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in said
    ]


def _call_id() -> str:
    return f"call_{uuid4().hex}"
