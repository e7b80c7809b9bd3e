"""OpenAI's Responses API without its storage: its requests, its responses, and the events of its streams."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any, NoReturn, Self
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from openai.types.responses import Response as OpenAIResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_moa.serving.chat import (
    ToolCallIndex,
    finish_reason,
    new_call_id,
    reasoning_of,
    shown,
    tool_calls_of,
    whole_calls,
)
from langchain_moa.serving.conversation import Content, Links, ai_message, plain_content
from langchain_moa.serving.errors import ApiError
from langchain_moa.serving.mixtures import FinalAnswer, ProgressLine
from langchain_moa.serving.parameters import (
    EVERY_CALL,
    AggregatorParameters,
    Parameters,
    Prompting,
    in_words,
    length_limit,
    shown_name,
    sort_out,
)
from langchain_moa.serving.streaming import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.messages import AIMessageChunk
    from langchain_core.messages.ai import UsageMetadata

# Parameters that say nothing about the answer of a server that stores nothing.
_IGNORED = ("include", "truncation", "stream_options", "client_metadata", "max_tool_calls", "top_logprobs")

_STATELESS = "this server stores no responses; send the whole conversation as `input`"
_NEEDS_STORAGE = {
    "previous_response_id": _STATELESS,
    "conversation": _STATELESS,
    "prompt": "this server has no stored prompts; send the text as `instructions` and `input`",
}

# Items that say nothing to another model.
_LEFT_OUT = {"reasoning", "compaction"}

_ROLES = {"user": HumanMessage, "system": SystemMessage, "developer": SystemMessage}


class _Item(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class _MessageItem(_Item):
    role: str
    content: Content


class _CallItem(_Item):
    call_id: str
    name: str
    arguments: str = ""


class _ResultItem(_Item):
    call_id: str
    output: Content


class _Reasoning(_Item):
    effort: str | None = None


class _TextSettings(_Item):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesRequest(Parameters):
    """A request for a response, as far as it bears on the answer.

    Attributes:
        model: The mixture's name.
        input: The conversation: a text, or items.
        instructions: A system message before the conversation.
        tools, tool_choice, text: The aggregator's.
        temperature: And all other fields: for every call of the mixture.
    """

    input: Any
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: _TextSettings | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, lt=2**31)

    @classmethod
    def read(cls, body: dict[str, Any], *, strict: bool) -> tuple[Self, list[str]]:
        """Read a request.

        Args:
            body: The parsed JSON.
            strict: Whether unknown parameters are refused.

        Returns:
            The request, and the names of the parameters and tools that are ignored.

        Raises:
            ApiError: The request is wrong, or needs storage; the error names the field.
        """
        for name, why in _NEEDS_STORAGE.items():
            if body.get(name) is not None:
                _refuse(name, why)
        if body.get("store") is True:
            _refuse("store", "this server stores no responses; send `store: false`, or leave it out")
        if body.get("background") is True:
            _refuse("background", "this server stores no responses; use `stream: true`")
        given, ignored = sort_out(body, cls.model_fields, ignored=[*_IGNORED, "store", "background"], strict=strict)
        if length_limit(given.get("max_output_tokens")) is None:
            given.pop("max_output_tokens", None)
        _check_input(given.get("input", [{}]))
        request = cls.validated(given)
        others = [
            f"tools[{n}] ({shown_name(str(each.get('type')))})"
            for n, each in enumerate(request.tools or ())
            if not _is_function(each)
        ]
        if others and strict:
            _refuse("tools", f"only functions can be called here, and not {others[0]}")
        return request, [*ignored, *others]

    def prompting(self, owner: str, links: Links) -> Prompting:
        """Return what the request asks of a mixture.

        Args:
            owner: The name of the client's key.
            links: Which links may stand in the items.

        Raises:
            ApiError: An item, a tool or the form of the answer is wrong.
        """
        start: list[BaseMessage] = [] if self.instructions is None else [SystemMessage(self.instructions)]
        messages = [*start, *_messages(self.input, links)]
        given: dict[str, Any] = {name: getattr(self, name, None) for name in EVERY_CALL}
        given["reasoning_effort"] = self.reasoning.effort if self.reasoning else None
        given["verbosity"] = self.text.verbosity if self.text else None
        given["max_tokens"] = self.max_output_tokens
        shared = {name: value for name, value in given.items() if value is not None}
        return Prompting(messages=messages, shared=shared, own=self._own(), stream=self.stream, owner=owner)

    def _own(self) -> dict[str, Any]:
        """Return the aggregator's parameters in the form of chat completions."""
        wanted: dict[str, Any] = {}
        if functions := [tool for tool in self.tools or () if _is_function(tool)]:
            wanted["tools"] = [{"type": "function", "function": _without(tool, "type")} for tool in functions]
            if self.parallel_tool_calls is not None:
                wanted["parallel_tool_calls"] = self.parallel_tool_calls
            choice = self.tool_choice
            if isinstance(choice, dict) and choice.get("type") == "function":
                choice = {"type": "function", "function": {"name": choice.get("name")}}
            if choice is not None and not (isinstance(choice, dict) and choice.get("type") != "function"):
                wanted["tool_choice"] = choice
        if self.text and (form := self.text.format):
            is_schema = form.get("type") == "json_schema"
            wanted["response_format"] = {"type": "json_schema", "json_schema": _without(form, "type")} if is_schema else form
        try:
            own = AggregatorParameters.model_validate(wanted)
        except ValidationError as error:
            raise in_words(error) from None
        own.check()
        return own.kwargs()


class ResponsesWriter:
    """Writes one response, whole or as events in the order of OpenAI's documentation."""

    last = b""

    def __init__(self, request: ResponsesRequest, *, breakdown: bool, progress: bool) -> None:
        """Make it.

        Args:
            request: The request.
            breakdown: Whether the client is shown the calls behind the answer, as `moa`.
            progress: Whether lines about the members' progress are sent as a summary of reasoning.
        """
        self._request = request
        self._breakdown = breakdown
        self._progress = progress
        self._id = f"resp_{uuid4().hex}"
        self._created = int(time())
        self._number = -1
        self._items: list[dict[str, Any]] = []
        self._open: _OpenItem | None = None
        self._calls = ToolCallIndex()
        self._sent = False

    def whole(self, outcome: FinalAnswer) -> dict[str, Any]:
        """Return a response that is sent in one piece."""
        message = outcome.message
        calls = tool_calls_of(message)
        text, refusal = str(message.text), message.additional_kwargs.get("refusal")
        if outcome.by_tool and calls:
            text, calls = calls[0][2], []
        if thoughts := reasoning_of(message):
            self._items.append(_reasoning_item(_new_id("rs"), thoughts))
        if text or refusal or not calls:
            part = _refusal_part(refusal) if refusal and not text else _text_part(text)
            self._items.append(_message_item(_new_id("msg"), [part]))
        self._items += [_call_item(_new_id("fc"), *call) for call in calls]
        return self._finished(message)

    def start(self) -> Iterator[dict[str, Any]]:
        """Return the events that open a stream."""
        response = self._response("in_progress")
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def write(self, item: ProgressLine | AIMessageChunk | FinalAnswer, *, by_tool: bool) -> Iterator[dict[str, Any]]:
        """Return the events for an item of a run.

        Args:
            item: The item.
            by_tool: Whether an answer in a schema is the arguments of a tool call.
        """
        if isinstance(item, ProgressLine):
            if self._progress:
                yield from self._add("reasoning", f"{item.text}\n")
        elif isinstance(item, FinalAnswer):
            if not self._sent:
                # The aggregator could not stream: its answer is one chunk.
                yield from self._delta(item.message, whole_calls(item.message), by_tool=by_tool)
            yield from self._end(item)
        else:
            self._sent = True
            yield from self._delta(item, item.tool_call_chunks, by_tool=by_tool)

    def fail(self, error: ApiError) -> list[dict[str, Any]]:
        """Return the events that end a stream with an error."""
        # The codes of failed responses are a fixed list in clients.
        code = "rate_limit_exceeded" if error.code == "rate_limit_exceeded" else "server_error"
        response = {**self._response("failed"), "error": {"code": code, "message": error.message}}
        return [self._event("response.failed", response=response)]

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """Return an event as it is sent."""
        return b"event: " + str(event["type"]).encode() + b"\ndata: " + encode_json(event) + b"\n\n"

    # --- items of a stream ---

    def _delta(self, message: AIMessage, calls: Any, *, by_tool: bool) -> Iterator[dict[str, Any]]:
        if thoughts := reasoning_of(message):
            yield from self._add("reasoning", thoughts)
        if message.text:
            yield from self._add("text", str(message.text))
        if refusal := message.additional_kwargs.get("refusal"):
            yield from self._add("refusal", refusal)
        for call in calls:
            if by_tool:
                yield from self._add("text", call["args"] or "")
                continue
            index, begins = self._calls.of(call)
            named = (call.get("id") or new_call_id(), call.get("name") or "") if begins else None
            yield from self._add("call", call.get("args") or "", number=index, named=named)

    def _add(self, kind: str, delta: str, *, number: int = 0, named: tuple[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """Return the events for a piece of an item; it opens one of its kind where none is open."""
        if self._open is None or (self._open.kind, self._open.number) != (kind, number):
            yield from self._close()
            self._open = _OpenItem(kind, number, len(self._items), named)
            for name, data in self._open.opening():
                yield self._event(name, **data)
        if delta:
            name, data = self._open.add(delta)
            yield self._event(name, **data)

    def _close(self) -> Iterator[dict[str, Any]]:
        if (item := self._open) is None:
            return
        self._open = None
        for name, data in item.closing():
            yield self._event(name, **data)
        self._items.append(item.item("completed"))

    def _end(self, outcome: FinalAnswer) -> Iterator[dict[str, Any]]:
        if self._open is None and not any(item["type"] != "reasoning" for item in self._items):
            yield from self._add("text", "")
        yield from self._close()
        response = self._finished(outcome.message)
        yield self._event(f"response.{response['status']}", response=response)

    def _event(self, kind: str, **data: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **data}

    # --- the response ---

    def _finished(self, message: AIMessage) -> dict[str, Any]:
        reason = finish_reason(message.response_metadata, calls=False)
        details = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
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
            text={"format": (request.text.format if request.text else None) or {"type": "text"}},
            tool_choice=request.tool_choice or "auto",
            tools=[tool for tool in request.tools or () if _is_function(tool)],
            top_p=request.top_p,
            truncation="disabled",
            usage=None,
        )
        return response.to_dict(mode="json", exclude_unset=True)


class _OpenItem:
    """An item of a stream that is being written: reasoning, a message with one part, or a function call."""

    def __init__(self, kind: str, number: int, place: int, named: tuple[str, str] | None) -> None:
        self.kind = kind
        self.number = number
        self._place = place
        self._id = _new_id({"reasoning": "rs", "call": "fc"}.get(kind, "msg"))
        self._call_id, self._name = named or (new_call_id(), "")
        self._text = ""

    def opening(self) -> Iterator[tuple[str, dict[str, Any]]]:
        where = {"output_index": self._place}
        yield "response.output_item.added", {**where, "item": self.item("in_progress")}
        if self.kind == "reasoning":
            yield "response.reasoning_summary_part.added", {**self._at("summary_index"), "part": _summary("")}
        elif self.kind != "call":
            yield "response.content_part.added", {**self._at("content_index"), "part": self._part()}

    def add(self, delta: str) -> tuple[str, dict[str, Any]]:
        self._text += delta
        if self.kind == "reasoning":
            return "response.reasoning_summary_text.delta", {**self._at("summary_index"), "delta": delta}
        if self.kind == "call":
            return "response.function_call_arguments.delta", {**self._at(), "delta": delta}
        if self.kind == "refusal":
            return "response.refusal.delta", {**self._at("content_index"), "delta": delta}
        return "response.output_text.delta", {**self._at("content_index"), "delta": delta, "logprobs": []}

    def closing(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.kind == "reasoning":
            at = self._at("summary_index")
            yield "response.reasoning_summary_text.done", {**at, "text": self._text}
            yield "response.reasoning_summary_part.done", {**at, "part": _summary(self._text)}
        elif self.kind == "call":
            yield "response.function_call_arguments.done", {**self._at(), "name": self._name, "arguments": self._text}
        else:
            at = self._at("content_index")
            if self.kind == "refusal":
                yield "response.refusal.done", {**at, "refusal": self._text}
            else:
                yield "response.output_text.done", {**at, "text": self._text, "logprobs": []}
            yield "response.content_part.done", {**at, "part": self._part()}
        yield "response.output_item.done", {"output_index": self._place, "item": self.item("completed")}

    def item(self, status: str) -> dict[str, Any]:
        if self.kind == "reasoning":
            return _reasoning_item(self._id, self._text)
        if self.kind == "call":
            return {**_call_item(self._id, self._call_id, self._name, self._text), "status": status}
        return {**_message_item(self._id, [self._part()] if status == "completed" else []), "status": status}

    def _part(self) -> dict[str, Any]:
        return _refusal_part(self._text) if self.kind == "refusal" else _text_part(self._text)

    def _at(self, index: str | None = None) -> dict[str, Any]:
        inside = {} if index is None else {index: 0}
        return {"item_id": self._id, "output_index": self._place, **inside}


def _messages(given: str | list[dict[str, Any]], links: Links) -> list[BaseMessage]:
    """Return the items of a request as messages; an answer and the function calls after it are one message."""
    if isinstance(given, str):
        return [HumanMessage(given)]
    messages: list[BaseMessage] = []
    said: list[str | dict[str, Any]] | str = ""
    calls: list[tuple[str, str, str]] = []
    is_open = False

    def close() -> None:
        nonlocal said, calls, is_open
        if is_open:
            messages.append(ai_message(said, calls))
        said, calls, is_open = "", [], False

    for number, item in enumerate(given):
        place = f"input[{number}]"
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind in _LEFT_OUT:
            continue
        if kind == "function_call":
            call = _checked(_CallItem, item, place)
            calls.append((call.call_id, call.name, call.arguments))
            is_open = True
        elif kind == "message" and item.get("role") == "assistant":
            # After calls, or after another text, it is another answer.
            close()
            said = plain_content(_checked(_MessageItem, item, place).content, links, f"{place}.content")
            is_open = True
        else:
            close()
            messages.append(_other_message(kind, item, links, place))
    close()
    return messages


def _check_input(given: Any) -> None:
    """Refuse what is neither a text nor a list of items."""
    if not isinstance(given, str | list):
        raise ApiError(400, "input: must be a text or a list of items", code="invalid_type", param="input")
    if not given:
        raise ApiError(400, "input: must not be empty", code="invalid_value", param="input")
    for number, item in enumerate(given if isinstance(given, list) else ()):
        place = f"input[{number}]"
        if not isinstance(item, dict):
            raise ApiError(400, f"{place}: must be an object", code="invalid_type", param=place)
        if not isinstance(item.get("type", ""), str | None):
            raise ApiError(400, f"{place}.type: must be a text", code="invalid_type", param=f"{place}.type")


def _other_message(kind: Any, item: dict[str, Any], links: Links, place: str) -> BaseMessage:
    if kind == "function_call_output":
        result = _checked(_ResultItem, item, place)
        return ToolMessage(plain_content(result.output, links, f"{place}.output"), tool_call_id=result.call_id)
    if kind == "message":
        message = _checked(_MessageItem, item, place)
        if (role := _ROLES.get(message.role)) is None:
            msg = f"{place}.role: must be one of user, assistant, system, developer"
            raise ApiError(400, msg, code="invalid_value", param=f"{place}.role")
        role_message: BaseMessage = role(plain_content(message.content, links, f"{place}.content"))
        return role_message
    if kind == "item_reference":
        _refuse(place, f"{_STATELESS}, and `store: false`, after which clients send items instead of references")
    msg = f"{place}: its type must be one of message, function_call, function_call_output, reasoning"
    raise ApiError(400, msg, code="invalid_value", param=place)


def _checked(cls: type[Any], item: dict[str, Any], place: str) -> Any:
    try:
        return cls.model_validate(item)
    except ValidationError as error:
        raise in_words(error, place) from None


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


def _is_function(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") == "function"


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"


def _refuse(param: str, why: str) -> NoReturn:
    raise ApiError(400, f"{param}: not supported here: {why}", code="unsupported_parameter", param=param)
