"""Requests of OpenAI's Responses API, without storage. `response_events` writes the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_moa.serving.conversation import Content, Links, ai_message, plain_content
from langchain_moa.serving.errors import ApiError
from langchain_moa.serving.parameters import (
    EVERY_CALL,
    AggregatorParameters,
    Parameters,
    Prompting,
    WholeNumber,
    in_words,
    length_limit,
    shown_name,
    sort_out,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


# Parameters that do not affect the answer of a server without storage.
_IGNORED = ("include", "truncation", "stream_options", "client_metadata", "max_tool_calls", "top_logprobs")

_STATELESS = "this server stores no responses; send the whole conversation as `input`"
_NEEDS_STORAGE = {
    "previous_response_id": _STATELESS,
    "conversation": _STATELESS,
    "prompt": "this server has no stored prompts; send the text as `instructions` and `input`",
}

# Items that other models cannot use.
_LEFT_OUT = {"reasoning", "compaction"}

# Tool choices that are supported; the others are for tools of OpenAI's own service.
_CHOICES = {"function", "allowed_tools"}

_ROLES = {"user": HumanMessage, "system": SystemMessage, "developer": SystemMessage}


class _Item(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class _MessageItem(_Item):
    role: str
    content: Content


class _CallItem(_Item):
    call_id: str
    name: str
    arguments: str | None = None


class _ResultItem(_Item):
    call_id: str
    output: Content


class _Reasoning(_Item):
    effort: str | None = None


class _TextSettings(_Item):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesRequest(Parameters):
    """A request for a response: the parameters that affect the answer.

    Attributes:
        model: The mixture's name.
        input: The conversation, as a string or a list of items.
        instructions: A system message before the conversation.
        tools, tool_choice, text: Passed to the aggregator.
        temperature: This and all other fields are passed to every call of the mixture.
    """

    input: Any
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: _TextSettings | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: WholeNumber | None = Field(default=None, ge=1, lt=2**31)

    @classmethod
    def read(cls, body: dict[str, Any], *, strict: bool) -> tuple[Self, list[str]]:
        """Parse a request.

        Args:
            body: The parsed JSON.
            strict: Whether to reject unknown parameters.

        Returns:
            The request, and the names of ignored parameters and tools.

        Raises:
            ApiError: The request is invalid or needs storage; the error names the field.
        """
        for name, why in _NEEDS_STORAGE.items():
            if body.get(name) is not None:
                _refuse(name, why)
        if body.get("store") is True:
            _refuse("store", "this server stores no responses; send `store: false`, or remove it")
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
            if not is_function(each)
        ]
        if others and strict:
            _refuse("tools", f"only function tools are supported, not {others[0]}")
        if (kind := _choice_of(request.tool_choice)) not in _CHOICES:
            if strict:
                _refuse("tool_choice", f"only function tools are supported, not {kind}")
            others.append(f"tool_choice ({kind})")
        return request, [*ignored, *others]

    def prompting(self, owner: str, links: Links) -> Prompting:
        """Return the request in the common format of both APIs.

        Args:
            owner: The name of the client's key.
            links: The allowed links.

        Raises:
            ApiError: An item, a tool or the format of the answer is invalid.
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
        """Return the aggregator's parameters in the format of chat completions."""
        wanted: dict[str, Any] = {}
        if functions := [tool for tool in self.tools or () if is_function(tool)]:
            choice, kind = self.tool_choice, _choice_of(self.tool_choice)
            if isinstance(choice, dict) and kind == "allowed_tools":
                functions = _allowed(functions, choice)
                choice = choice.get("mode", "auto")
            elif isinstance(choice, dict):
                choice = {"type": "function", "function": {"name": choice.get("name")}} if kind == "function" else None
            wanted["tools"] = [{"type": "function", "function": _without(tool, "type")} for tool in functions]
            if self.parallel_tool_calls is not None:
                wanted["parallel_tool_calls"] = self.parallel_tool_calls
            if choice is not None:
                wanted["tool_choice"] = choice
        elif not self.tools and isinstance(self.tool_choice, str):
            wanted["tool_choice"] = self.tool_choice
        if self.text and (form := self.text.format):
            is_schema = form.get("type") == "json_schema"
            wanted["response_format"] = {"type": "json_schema", "json_schema": _without(form, "type")} if is_schema else form
        try:
            own = AggregatorParameters.model_validate(wanted)
        except ValidationError as error:
            raise in_words(error) from None
        own.check()
        return own.kwargs()


def in_own_names(error: ApiError) -> ApiError:
    """Return an error with the names of fields that this API has for tools and schemas.

    Args:
        error: An error about a field, in the names of chat completions.
    """
    if error.param is None:
        return error
    own = error.param.replace(".function.", ".", 1) if error.param.startswith("tool") else error.param
    own = own.replace("response_format.json_schema", "text.format", 1).replace("response_format", "text.format", 1)
    message = error.message.replace(error.param, own, 1)
    return ApiError(error.status, message, code=error.code, param=own, headers=error.headers)


def _messages(given: str | list[dict[str, Any]], links: Links) -> list[BaseMessage]:
    """Return the items of a request as messages. An answer and the function calls after it become one message."""
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
            calls.append((call.call_id, call.name, call.arguments or ""))
            is_open = True
        elif kind == "message" and item.get("role") == "assistant":
            # After calls or another text, this is a new answer.
            close()
            said = plain_content(_checked(_MessageItem, item, place).content, links, f"{place}.content")
            is_open = True
        else:
            close()
            messages.append(_other_message(kind, item, links, place))
    close()
    return messages


def _check_input(given: Any) -> None:
    """Check that the input is a string or a list of items."""
    if not isinstance(given, str | list):
        raise ApiError(400, "input: must be a string or a list of items", code="invalid_type", param="input")
    if not given:
        raise ApiError(400, "input: must not be empty", code="invalid_value", param="input")
    for number, item in enumerate(given if isinstance(given, list) else ()):
        place = f"input[{number}]"
        if not isinstance(item, dict):
            raise ApiError(400, f"{place}: must be an object", code="invalid_type", param=place)
        if not isinstance(item.get("type", ""), str | None):
            raise ApiError(400, f"{place}.type: must be a string", code="invalid_type", param=f"{place}.type")


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
        _refuse(place, f"{_STATELESS}, and set `store: false` in your client, so that it sends items instead of references")
    msg = f"{place}: its type must be one of message, function_call, function_call_output, reasoning"
    raise ApiError(400, msg, code="invalid_value", param=place)


def _checked(cls: type[Any], item: dict[str, Any], place: str) -> Any:
    try:
        return cls.model_validate(item)
    except ValidationError as error:
        raise in_words(error, place) from None


def _choice_of(choice: str | dict[str, Any] | None) -> str:
    """Return the type of a tool choice; `function` where it is a word or missing."""
    return shown_name(str(choice.get("type"))) if isinstance(choice, dict) else "function"


def _allowed(functions: list[dict[str, Any]], choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the functions that a choice of the type `allowed_tools` allows."""
    tools = choice.get("tools")
    names = [tool.get("name") for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, dict)]
    if not (allowed := [function for function in functions if function.get("name") in names]):
        raise ApiError(400, "tool_choice: no tool has one of these names", code="invalid_value", param="tool_choice")
    return allowed


def is_function(tool: Mapping[str, Any]) -> bool:
    """Return whether a tool is a function; others exist only in OpenAI's own service."""
    return tool.get("type") == "function"


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def _refuse(param: str, why: str) -> NoReturn:
    raise ApiError(400, f"{param}: not supported: {why}", code="unsupported_parameter", param=param)
