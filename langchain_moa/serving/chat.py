"""OpenAI's Chat Completions API: requests, complete answers, and the chunks of streams."""

from __future__ import annotations

import json
from time import time
from typing import TYPE_CHECKING, Annotated, Any, Self
from uuid import uuid4

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import Discriminator, Field, Tag

from langchain_moa.data.finish_reasons import finish_kind, finish_reason_of
from langchain_moa.serving.conversation import Links, Turn, to_messages
from langchain_moa.serving.mixtures import FinalAnswer, ProgressLine
from langchain_moa.serving.parameters import (
    EVERY_CALL,
    AggregatorParameters,
    Parameters,
    Prompting,
    WholeNumber,
    length_limit,
    sort_out,
)
from langchain_moa.serving.streaming import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
    from langchain_core.messages.ai import UsageMetadata

    from langchain_moa.serving.errors import ApiError

Stop = Annotated[
    Annotated[str, Tag(":text")] | Annotated[list[str], Tag(":list")],
    Discriminator(
        lambda value: ":text" if isinstance(value, str) else ":list" if isinstance(value, list) else None,
        custom_error_type="invalid_type",
        custom_error_message="must be a string or a list of strings",
    ),
]
"""Stop sequences."""

NO_ARGUMENTS = "{}"
"""The JSON of a tool call without arguments."""


class ChatRequest(Parameters, AggregatorParameters):
    """A request for a chat completion: the parameters that affect the answer.

    Attributes:
        model: The mixture's name.
        messages: The conversation.
        stream, stream_options: Whether and how to stream the answer.
        tools, tool_choice, parallel_tool_calls, response_format: Passed to the aggregator.
        temperature: This and all other fields are passed to every call of the mixture.
    """

    messages: list[Turn] = Field(min_length=1)
    stream_options: dict[str, Any] | None = None
    max_tokens: WholeNumber | None = Field(default=None, ge=1, lt=2**31)
    max_completion_tokens: WholeNumber | None = Field(default=None, ge=1, lt=2**31)
    stop: Stop | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None

    @classmethod
    def read(cls, body: dict[str, Any], *, strict: bool) -> tuple[Self, list[str]]:
        """Parse a request.

        Args:
            body: The parsed JSON.
            strict: Whether to reject unknown parameters.

        Returns:
            The request, and the names of ignored parameters.

        Raises:
            ApiError: The request is invalid; the error names the field.
        """
        given, ignored = sort_out(body, {*cls.model_fields, "reasoning"}, ignored=["store"], strict=strict)
        for name in ("max_tokens", "max_completion_tokens"):
            if length_limit(given.get(name)) is None:
                given.pop(name, None)
        # OpenRouter's notation of `reasoning_effort`.
        if (reasoning := given.pop("reasoning", None)) is not None:
            if isinstance(reasoning, dict) and isinstance(effort := reasoning.get("effort"), str):
                given.setdefault("reasoning_effort", effort)
            else:
                ignored.append("reasoning")
        request = cls.validated(given)
        request.check()
        return request, ignored

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool((self.stream_options or {}).get("include_usage"))

    def prompting(self, owner: str, links: Links) -> Prompting:
        """Return the request in the common format of both APIs.

        Args:
            owner: The name of the client's key.
            links: The allowed links.

        Raises:
            ApiError: A link is not allowed.
        """
        messages: list[BaseMessage] = to_messages(self.messages, links)
        # The newer name takes precedence, as at OpenAI.
        longest = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        # Empty strings stop nothing, and providers refuse them.
        stops = [stop for stop in ([self.stop] if isinstance(self.stop, str) else self.stop or ()) if stop] or None
        given = {**{name: getattr(self, name) for name in EVERY_CALL}, "max_tokens": longest, "stop": stops}
        shared = {name: value for name, value in given.items() if value is not None}
        own = AggregatorParameters.model_validate(
            {name: getattr(self, name) for name in AggregatorParameters.model_fields if name in self.model_fields_set}
        ).kwargs()
        return Prompting(messages=messages, shared=shared, own=own, stream=self.stream, owner=owner)


class ChatWriter:
    """Writes one chat completion, complete or as a stream of chunks."""

    last = b"data: [DONE]\n\n"

    def __init__(self, request: ChatRequest, *, breakdown: bool, progress: bool) -> None:
        """Create the writer.

        Args:
            request: The request.
            breakdown: Whether to include the calls behind the answer, as `moa`.
            progress: Whether to send progress lines as `reasoning_content`.
        """
        self._model = request.model
        self._breakdown = breakdown
        self._progress = progress
        self._include_usage = request.wants_usage
        self._id = f"chatcmpl-{uuid4().hex}"
        self._created = int(time())
        self._calls = ToolCallIndex()
        self._without_arguments: set[int] = set()
        self._schema = SchemaText()
        self._sent = False

    def whole(self, outcome: FinalAnswer) -> dict[str, Any]:
        """Return an answer that is not streamed."""
        message = outcome.message
        calls = tool_calls_of(message)
        content: str | None = str(message.text) or (None if calls else "")
        refusal = refusal_of(message)
        if outcome.by_tool and calls:
            content, calls = calls[0][2], []
        said: dict[str, Any] = {"role": "assistant", "content": content, "refusal": refusal}
        if refusal is not None and not content:
            said["content"] = None
        if thoughts := reasoning_of(message):
            said["reasoning_content"] = thoughts
        if calls:
            said["tool_calls"] = [
                {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id_, name, arguments in calls
            ]
        reason = finish_reason(message.response_metadata, calls=bool(calls))
        choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": reason}
        usage = chat_usage(message.usage_metadata)
        counted = {} if usage is None else {"usage": usage}
        completion = ChatCompletion.model_validate(
            {**self._frame("chat.completion", [choice]), **counted, **shown(message, breakdown=self._breakdown)}
        )
        return completion.model_dump(mode="json", exclude_unset=True)

    def start(self) -> Iterator[dict[str, Any]]:
        """Return the first chunk of a stream."""
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def write(self, item: ProgressLine | AIMessageChunk | FinalAnswer, *, by_tool: bool) -> Iterator[dict[str, Any]]:
        """Return the chunks for an item of a run.

        Args:
            item: The item.
            by_tool: Whether an answer in a schema is in the arguments of a tool call.
        """
        if isinstance(item, ProgressLine):
            if self._progress:
                yield self._chunk({"reasoning_content": f"{item.text}\n"})
        elif isinstance(item, FinalAnswer):
            if not self._sent:
                # The aggregator did not stream, so its answer is one chunk.
                yield from self._delta(item.message, whole_calls(item.message), by_tool=by_tool)
            yield from self._end(item)
        else:
            self._sent = True
            yield from self._delta(item, item.tool_call_chunks, by_tool=by_tool)

    def fail(self, error: ApiError) -> list[dict[str, Any]]:
        """Return the event that ends a stream with an error, without a `[DONE]`."""
        return [error.body()]

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """Return a chunk as a server-sent event."""
        return b"data: " + encode_json(event) + b"\n\n"

    def _delta(self, message: AIMessage, calls: Any, *, by_tool: bool) -> Iterator[dict[str, Any]]:
        if thoughts := reasoning_of(message):
            yield self._chunk({"reasoning_content": thoughts})
        if text := self._schema.read(message, calls) if by_tool else str(message.text):
            yield self._chunk({"content": text})
        if refusal := refusal_of(message):
            yield self._chunk({"refusal": refusal})
        for call in () if by_tool else calls:
            yield self._chunk({"tool_calls": [self._call(call)]})

    def _end(self, outcome: FinalAnswer) -> Iterator[dict[str, Any]]:
        if text := self._schema.rest():
            yield self._chunk({"content": text})
        reason = finish_reason(outcome.message.response_metadata, calls=bool(self._calls))
        if reason == "tool_calls":
            # Clients parse the arguments as JSON, but some providers send no text for a call without arguments.
            for index in sorted(self._without_arguments):
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": NO_ARGUMENTS}}]})
        account = shown(outcome.message, breakdown=self._breakdown)
        end = self._chunk({}, reason)
        if not self._include_usage:
            yield {**end, **account}
            return
        yield end
        usage = chat_usage(outcome.message.usage_metadata)
        yield self._dumped({**self._frame("chat.completion.chunk", []), "usage": usage, **account})

    def _call(self, call: Any) -> dict[str, Any]:
        index, begins = self._calls.of(call)
        function = {"arguments": call.get("args") or ""}
        if function["arguments"]:
            self._without_arguments.discard(index)
        elif begins:
            self._without_arguments.add(index)
        if not begins:
            return {"index": index, "function": function}
        said = {"id": call.get("id") or new_call_id(), "type": "function"}
        return {"index": index, **said, "function": {"name": call.get("name") or "", **function}}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk = self._frame("chat.completion.chunk", [choice])
        return self._dumped({**chunk, "usage": None} if self._include_usage else chunk)

    def _dumped(self, chunk: dict[str, Any]) -> dict[str, Any]:
        return ChatCompletionChunk.model_validate(chunk).model_dump(mode="json", exclude_unset=True)

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}


class ToolCallIndex:
    """Numbers the tool calls of a stream from 0.

    Some providers also count other blocks, do not number calls, or give all calls the same number.
    """

    def __init__(self) -> None:
        """Create it without calls."""
        self._calls: list[tuple[Any, Any]] = []

    def __len__(self) -> int:
        """Return the number of calls so far."""
        return len(self._calls)

    def of(self, call: Any) -> tuple[int, bool]:
        """Return the number of a chunk's tool call, and whether this chunk is its first."""
        place, id_ = call.get("index"), call.get("id")
        same = [number for number, (each, _) in enumerate(self._calls) if place in (None, each)]
        if same:
            known = self._calls[same[-1]][1]
            # The id alone does not tell: some servers give every chunk of a call another one.
            is_other = place is None or (id_ and known and id_ != known)
            if not (call.get("name") and is_other):
                return same[-1], False
        self._calls.append((place, id_))
        return len(self._calls) - 1, True


class SchemaText:
    """The text of a streamed answer in a schema, from a provider that returns it as the arguments of a tool call.

    As in a complete answer, only the first call counts, and other text only if there is no call. So that text is held back.
    """

    def __init__(self) -> None:
        """Create it without text."""
        self._calls = ToolCallIndex()
        self._held: list[str] = []

    def read(self, message: AIMessage, calls: Iterable[Any]) -> str:
        """Return the text of a chunk: the arguments of the first call."""
        self._held.append(str(message.text))
        return "".join(call["args"] or "" for call in calls if self._calls.of(call)[0] == 0)

    def rest(self) -> str:
        """Return the text of an answer without a call."""
        return "" if self._calls else "".join(self._held)


def tool_calls_of(message: AIMessage) -> list[tuple[str, str, str]]:
    """Return the tool calls of an answer: id, name, and arguments as JSON.

    Arguments that are not valid JSON are returned unchanged, as OpenAI does.
    """
    valid = [(call["id"], call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in message.tool_calls]
    invalid = [(call["id"], call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls]
    return [(id_ or new_call_id(), name, arguments) for id_, name, arguments in [*valid, *invalid]]


def whole_calls(message: AIMessage) -> list[dict[str, Any]]:
    """Return the tool calls of a complete answer in the format of a stream's chunks."""
    return [
        {"index": index, "id": id_, "name": name, "args": arguments}
        for index, (id_, name, arguments) in enumerate(tool_calls_of(message))
    ]


def reasoning_of(message: AIMessage) -> str:
    """Return the visible reasoning of an answer or a chunk, or an empty string."""
    said = message.additional_kwargs.get("reasoning_content")
    texts = [said] if isinstance(said, str) else []
    blocks = message.content if isinstance(message.content, list) else []
    for block in blocks:
        match block:
            case {"type": "thinking", "thinking": str(text)} | {"type": "reasoning", "reasoning": str(text)}:
                texts.append(text)
            case {"type": "reasoning_content", "reasoning_content": {"text": str(text)}}:  # Bedrock
                texts.append(text)
            case {"type": "reasoning", "summary": [*parts]} | {"type": "thinking", "thinking": [*parts]}:  # OpenAI; Mistral
                texts += [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
            case _:
                pass
    return "".join(texts)


def refusal_of(message: AIMessage) -> str | None:
    """Return the text of a refusal, in an answer or a chunk; `None` if it is none."""
    said = message.additional_kwargs.get("refusal")
    texts = [said] if isinstance(said, str) else []
    for block in message.content if isinstance(message.content, list) else []:
        match block:
            # OpenAI's own block, or the same wrapped in LangChain's standard content (`output_version="v1"`).
            case {"type": "refusal", "refusal": str(text)} | {"type": "non_standard", "value": {"refusal": str(text)}}:
                texts.append(text)
    return "".join(texts) if texts else None


def finish_reason(metadata: Mapping[str, Any], *, calls: bool) -> str:
    """Return OpenAI's finish reason for an answer.

    Args:
        metadata: The answer's `response_metadata`.
        calls: Whether the answer has tool calls.
    """
    kind = finish_kind(finish_reason_of(metadata))
    if kind in ("length", "content_filter"):
        return kind
    return "tool_calls" if calls else "stop"


def chat_usage(usage: UsageMetadata | None) -> dict[str, Any] | None:
    """Return the tokens of the call that wrote the answer, or `None` if the provider did not report them.

    Agents use them as the size of the conversation. The tokens of all calls are in `moa`.
    """
    if usage is None:
        return None
    read, written = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    counted = CompletionUsage.model_validate(
        {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "total_tokens": usage["total_tokens"],
            "prompt_tokens_details": {
                "cached_tokens": read.get("cache_read", 0),
                "cache_write_tokens": read.get("cache_creation", 0),
            },
            "completion_tokens_details": {"reasoning_tokens": written.get("reasoning", 0)},
        }
    )
    return counted.model_dump(mode="json", exclude_unset=True)


def shown(message: AIMessage, *, breakdown: bool) -> dict[str, Any]:
    """Return the calls behind the answer, unless they are hidden from clients."""
    moa = message.response_metadata.get("moa")
    return {"moa": moa} if breakdown and moa is not None else {}


def new_call_id() -> str:
    """Return an id for a tool call without one."""
    return f"call_{uuid4().hex}"
