"""Answers of the Responses API: complete responses, and the events of streams in OpenAI's order."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openai.types.responses import Response as OpenAIResponse
from pydantic_core import from_json

from langchain_moa.serving.chat import (
    NO_ARGUMENTS,
    SchemaText,
    ToolCallIndex,
    finish_reason,
    new_call_id,
    reasoning_of,
    refusal_of,
    shown,
    tool_calls_of,
    whole_calls,
)
from langchain_moa.serving.mixtures import FinalAnswer, ProgressLine
from langchain_moa.serving.responses import is_function
from langchain_moa.serving.streaming import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.messages.ai import UsageMetadata

    from langchain_moa.serving.errors import ApiError
    from langchain_moa.serving.responses import ResponsesRequest


# Codes of failed responses that are OpenAI's.
_CODES = {"rate_limit_exceeded", "context_length_exceeded", "insufficient_quota"}


class ResponsesWriter:
    """Writes one response, complete or as a stream of events in OpenAI's order."""

    last = b""

    def __init__(self, request: ResponsesRequest, *, breakdown: bool, progress: bool) -> None:
        """Create the writer.

        Args:
            request: The request.
            breakdown: Whether to include the calls behind the answer, as `moa`.
            progress: Whether to send progress lines as a reasoning summary.
        """
        self._request = request
        self._breakdown = breakdown
        self._progress = progress
        self._id = f"resp_{uuid4().hex}"
        self._created = int(time())
        self._number = -1
        self._items: list[dict[str, Any]] = []
        self._open: _OpenItem | None = None
        self._waiting: dict[tuple[str, int], tuple[tuple[str, str] | None, list[str]]] = {}
        self._calls = ToolCallIndex()
        self._schema = SchemaText()
        self._sent = False

    def whole(self, outcome: FinalAnswer) -> dict[str, Any]:
        """Return a response that is not streamed."""
        message = outcome.message
        calls = tool_calls_of(message)
        text, refusal = str(message.text), refusal_of(message)
        if outcome.by_tool and calls:
            text, calls = calls[0][2], []
        if thoughts := reasoning_of(message):
            self._items.append(_reasoning_item(_new_id("rs"), thoughts))
        if text or refusal or not calls:
            part = _refusal_part(refusal) if refusal and not text else _text_part(text)
            self._items.append(_message_item(_new_id("msg"), [part]))
        self._items += [_call_item(_new_id("fc"), *call) for call in calls]
        if _cut_by(message) and "status" in self._items[-1]:
            self._items[-1]["status"] = "incomplete"
        return self._finished(message)

    def start(self) -> Iterator[dict[str, Any]]:
        """Return the first events of a stream."""
        response = self._response("in_progress")
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def write(self, item: ProgressLine | AIMessageChunk | FinalAnswer, *, by_tool: bool) -> Iterator[dict[str, Any]]:
        """Return the events for an item of a run.

        Args:
            item: The item.
            by_tool: Whether an answer in a schema is in the arguments of a tool call.
        """
        if isinstance(item, ProgressLine):
            if self._progress:
                yield from self._add("reasoning", f"{item.text}\n")
        elif isinstance(item, FinalAnswer):
            if not self._sent:
                # The aggregator did not stream, so its answer is one chunk.
                yield from self._delta(item.message, whole_calls(item.message), by_tool=by_tool)
            yield from self._end(item)
        else:
            self._sent = True
            yield from self._delta(item, item.tool_call_chunks, by_tool=by_tool)

    def fail(self, error: ApiError) -> list[dict[str, Any]]:
        """Return the events that end a stream with an error."""
        # In a stream, clients such as Codex decide by the code whether to retry. Of OpenAI's codes, they do not retry after
        # `invalid_prompt` and those in `_CODES`, except the rate limit.
        refused = error.status < 500 and error.status != 429  # noqa: PLR2004  # HTTP statuses
        code = error.code if error.code in _CODES else "invalid_prompt" if refused else "server_error"
        wait = error.headers.get("retry-after")
        message = error.message if wait is None else f"{error.message}; try again in {wait} s"
        response = {**self._response("failed"), "error": {"code": code, "message": message}}
        return [self._event("response.failed", response=response)]

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """Return an event as a server-sent event."""
        return b"event: " + str(event["type"]).encode() + b"\ndata: " + encode_json(event) + b"\n\n"

    # --- items of a stream ---

    def _delta(self, message: AIMessage, calls: Any, *, by_tool: bool) -> Iterator[dict[str, Any]]:
        if thoughts := reasoning_of(message):
            yield from self._add("reasoning", thoughts)
        if text := self._schema.read(message, calls) if by_tool else str(message.text):
            yield from self._add("text", text)
        if refusal := refusal_of(message):
            yield from self._add("refusal", refusal)
        for call in () if by_tool else calls:
            index, begins = self._calls.of(call)
            named = (call.get("id") or new_call_id(), call.get("name") or "") if begins else None
            yield from self._add("call", call.get("args") or "", number=index, named=named)

    def _add(self, kind: str, delta: str, *, number: int = 0, named: tuple[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """Return the events for a chunk of an item, and open a new item if the open one is another.

        In the API, one item follows another, but some providers interleave the chunks of several calls. Chunks that come before
        the open call is complete are held until the end of the answer.
        """
        key = (kind, number)
        if self._open is not None and self._open.key != key and (self._waiting or not self._open.is_complete):
            self._waiting.setdefault(key, (named, []))[1].append(delta)
        else:
            yield from self._put(key, delta, named)

    def _put(self, key: tuple[str, int], delta: str, named: tuple[str, str] | None) -> Iterator[dict[str, Any]]:
        if self._open is None or self._open.key != key:
            if key[0] == "call" and named is None:
                # A late chunk of a call that is already complete.
                return
            yield from self._close()
            self._open = _OpenItem(key, len(self._items), named)
            for name, data in self._open.opening():
                yield self._event(name, **data)
        if delta:
            name, data = self._open.add(delta)
            yield self._event(name, **data)

    def _close(self, status: str = "completed") -> Iterator[dict[str, Any]]:
        if (item := self._open) is None:
            return
        self._open = None
        if status == "completed" and item.lacks_arguments:
            name, data = item.add(NO_ARGUMENTS)
            yield self._event(name, **data)
        for name, data in item.closing(status):
            yield self._event(name, **data)
        self._items.append(item.item(status))

    def _end(self, outcome: FinalAnswer) -> Iterator[dict[str, Any]]:
        if text := self._schema.rest():
            yield from self._add("text", text)
        for key, (named, pieces) in self._waiting.items():
            yield from self._put(key, "".join(pieces), named)
        if self._open is None and not any(item["type"] != "reasoning" for item in self._items):
            yield from self._put(("text", 0), "", None)
        yield from self._close("incomplete" if _cut_by(outcome.message) else "completed")
        response = self._finished(outcome.message)
        yield self._event(f"response.{response['status']}", response=response)

    def _event(self, kind: str, **data: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **data}

    # --- the response ---

    def _finished(self, message: AIMessage) -> dict[str, Any]:
        details = _cut_by(message)
        response = self._response("completed" if details is None else "incomplete")
        if details is not None:
            response["incomplete_details"] = {"reason": details}
        if (usage := _usage(message.usage_metadata)) is not None:
            response["usage"] = usage
        return {**response, **shown(message, breakdown=self._breakdown)}

    def _response(self, status: str) -> dict[str, Any]:
        request = self._request
        response = OpenAIResponse.construct(
            id=self._id,
            object="response",
            created_at=self._created,
            status=status,
            error=None,
            incomplete_details=None,
            instructions=request.instructions,
            max_output_tokens=request.max_output_tokens,
            metadata={},
            model=request.model,
            output=list(self._items),
            parallel_tool_calls=request.parallel_tool_calls is not False,
            previous_response_id=None,
            reasoning={"effort": request.reasoning.effort if request.reasoning else None, "summary": None},
            store=False,
            temperature=request.temperature,
            text=_text_settings(request),
            tool_choice=request.tool_choice or "auto",
            tools=[tool for tool in request.tools or () if is_function(tool)],
            top_p=request.top_p,
            truncation="disabled",
            usage=None,
        )
        # Fields of the request are returned as the client sent them, including unknown ones.
        return response.to_dict(mode="json", exclude_unset=True, warnings=False)


class _OpenItem:
    """An unfinished item of a stream: reasoning, a message with one part, or a function call."""

    def __init__(self, key: tuple[str, int], place: int, named: tuple[str, str] | None) -> None:
        self.key = key
        self._kind = key[0]
        self._place = place
        self._id = _new_id({"reasoning": "rs", "call": "fc"}.get(self._kind, "msg"))
        self._call_id, self._name = named or (new_call_id(), "")
        self._pieces: list[str] = []

    @property
    def is_complete(self) -> bool:
        """Whether another item can follow: only a call shows by its arguments that it is incomplete."""
        if self._kind != "call":
            return True
        try:
            from_json(self._text)
        except ValueError:
            return False
        return True

    @property
    def lacks_arguments(self) -> bool:
        """Whether it is a call without any text of arguments, which clients could not parse as JSON."""
        return self._kind == "call" and not self._text

    @property
    def _text(self) -> str:
        return "".join(self._pieces)

    def opening(self) -> Iterator[tuple[str, dict[str, Any]]]:
        where = {"output_index": self._place}
        yield "response.output_item.added", {**where, "item": self.item("in_progress")}
        if self._kind == "reasoning":
            yield "response.reasoning_summary_part.added", {**self._at("summary_index"), "part": _summary("")}
        elif self._kind != "call":
            yield "response.content_part.added", {**self._at("content_index"), "part": self._part()}

    def add(self, delta: str) -> tuple[str, dict[str, Any]]:
        self._pieces.append(delta)
        if self._kind == "reasoning":
            return "response.reasoning_summary_text.delta", {**self._at("summary_index"), "delta": delta}
        if self._kind == "call":
            return "response.function_call_arguments.delta", {**self._at(), "delta": delta}
        if self._kind == "refusal":
            return "response.refusal.delta", {**self._at("content_index"), "delta": delta}
        return "response.output_text.delta", {**self._at("content_index"), "delta": delta, "logprobs": []}

    def closing(self, status: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if self._kind == "reasoning":
            at = self._at("summary_index")
            yield "response.reasoning_summary_text.done", {**at, "text": self._text}
            yield "response.reasoning_summary_part.done", {**at, "part": _summary(self._text)}
        elif self._kind == "call":
            yield "response.function_call_arguments.done", {**self._at(), "name": self._name, "arguments": self._text}
        else:
            at = self._at("content_index")
            if self._kind == "refusal":
                yield "response.refusal.done", {**at, "refusal": self._text}
            else:
                yield "response.output_text.done", {**at, "text": self._text, "logprobs": []}
            yield "response.content_part.done", {**at, "part": self._part()}
        yield "response.output_item.done", {"output_index": self._place, "item": self.item(status)}

    def item(self, status: str) -> dict[str, Any]:
        if self._kind == "reasoning":
            return _reasoning_item(self._id, self._text)
        if self._kind == "call":
            return {**_call_item(self._id, self._call_id, self._name, self._text), "status": status}
        return {**_message_item(self._id, [self._part()] if status != "in_progress" else []), "status": status}

    def _part(self) -> dict[str, Any]:
        return _refusal_part(self._text) if self._kind == "refusal" else _text_part(self._text)

    def _at(self, index: str | None = None) -> dict[str, Any]:
        inside = {} if index is None else {index: 0}
        return {"item_id": self._id, "output_index": self._place, **inside}


def _cut_by(message: AIMessage) -> str | None:
    """Return why an answer is incomplete, in the words of the Responses API; `None` if it is not."""
    reason = finish_reason(message.response_metadata, calls=False)
    return {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)


def _usage(usage: UsageMetadata | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    read, written = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    return {
        "input_tokens": usage["input_tokens"],
        "input_tokens_details": {
            "cached_tokens": read.get("cache_read", 0),
            "cache_write_tokens": read.get("cache_creation", 0),
        },
        "output_tokens": usage["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning", 0)},
        "total_tokens": usage["total_tokens"],
    }


def _text_settings(request: ResponsesRequest) -> dict[str, Any]:
    given = request.text
    verbosity = {"verbosity": given.verbosity} if given and given.verbosity else {}
    return {"format": (given.format if given else None) or {"type": "text"}, **verbosity}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _refusal_part(refusal: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": refusal}


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _reasoning_item(id_: str, text: str) -> dict[str, Any]:
    return {"id": id_, "type": "reasoning", "summary": [_summary(text)] if text else []}


def _message_item(id_: str, content: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"id": id_, "type": "message", "status": "completed", "role": "assistant", "content": list(content)}


def _call_item(id_: str, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    said = {"call_id": call_id, "name": name, "arguments": arguments}
    return {"id": id_, "type": "function_call", "status": "completed", **said}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
