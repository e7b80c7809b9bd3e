"""A request for a chat completion, checked before anybody is asked anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError

from langchain_moa.serving.api_error import ApiError
from langchain_moa.serving.parameters import accepted
from langchain_moa.serving.turns import TAG, Closed, Open, Turn, tag_of
from langchain_moa.serving.wording import worded


class StreamOptions(Closed):
    """How the answer is streamed."""

    include_usage: bool | None = None


class _ToolFunction(Open):
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(Open):
    type: Literal["function"]
    function: _ToolFunction


class _Named(Open):
    name: str


class _NamedTool(Open):
    type: Literal["function"]
    function: _Named


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(":text")] | Annotated[_NamedTool, Tag(":mapping")],
    Discriminator(
        lambda value: ":text" if isinstance(value, str) else ":mapping" if isinstance(value, (Mapping, BaseModel)) else None,
        custom_error_type="invalid_type",
        custom_error_message="must be none, auto, required or a function's name in OpenAI's form",
    ),
]
"""Which tool is to be called."""


Stop = Annotated[
    Annotated[str, Tag(":text")] | Annotated[list[str], Tag(":list")],
    Discriminator(
        lambda value: ":text" if isinstance(value, str) else ":list" if isinstance(value, list) else None,
        custom_error_type="invalid_type",
        custom_error_message="must be a text or a list of texts",
    ),
]
"""Where an answer ends."""


class _Schema(Open):
    name: str
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class _AnyFormat(Open):
    type: Literal["text", "json_object"]


class _SchemaFormat(Open):
    type: Literal["json_schema"]
    json_schema: _Schema


ResponseFormat = Annotated[
    Annotated[_AnyFormat, Tag(":text")]
    | Annotated[_AnyFormat, Tag(":json_object")]
    | Annotated[_SchemaFormat, Tag(":json_schema")],
    Discriminator(
        tag_of("type"),
        custom_error_type="invalid_value",
        custom_error_message="its type must be one of text, json_object, json_schema",
    ),
]
"""The form of the answer."""


class ChatRequest(Closed):
    """A request for a chat completion, as far as it bears on the answer.

    Attributes:
        model: The mixture's name.
        messages: The conversation.
        tools, tool_choice, parallel_tool_calls, response_format: The aggregator's.
        stream, stream_options: How the answer is sent.
        temperature: And all other fields: for every call of the mixture.
    """

    model: str
    messages: list[Turn] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: list[_Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    stop: Stop | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None

    @classmethod
    def read(cls, body: Any) -> Self:
        """Read a request.

        Args:
            body: The parsed JSON.

        Raises:
            ApiError: It is none; the error names the field.
        """
        if not isinstance(body, dict):
            msg = "the body must be a JSON object"
            raise ApiError(400, msg, code="invalid_type")
        try:
            request = cls.model_validate(accepted(body, cls.model_fields))
        except ValidationError as error:
            raise _refused(error) from None
        _check(request)
        return request

    @property
    def longest(self) -> int | None:
        """The longest answer in tokens, under whichever of its two names it came."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def stops(self) -> list[str] | None:
        """The stop words."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def wire(self, name: str) -> Any:
        """Return one of the aggregator's fields as it came; `None` if it did not."""
        return self.model_dump(include={name}, exclude_unset=True, by_alias=True).get(name)


def _check(request: ChatRequest) -> None:
    """Refuse a request whose fields contradict each other."""
    if request.stream_options is not None and not request.stream:
        _contradiction("stream_options", "only a stream has them; give `stream: true`")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        _contradiction("max_tokens", "the same as max_completion_tokens; give one of them")
    if not request.tools and request.tool_choice not in (None, "none", "auto"):
        _contradiction("tool_choice", "there are no tools; give `tools`")
    names = {tool.function.name for tool in request.tools or ()}
    if isinstance(request.tool_choice, _NamedTool) and request.tool_choice.function.name not in names:
        _contradiction("tool_choice", "none of the tools has this name")


def _contradiction(name: str, why: str) -> None:
    raise ApiError(400, f"{name}: {why}", code="invalid_value", param=name)


def _refused(error: ValidationError) -> ApiError:
    """Return the first thing that is wrong, the way OpenAI writes places: `messages[0].content`."""
    found = error.errors(include_url=False, include_input=False)[0]
    place = ""
    for step in found["loc"]:
        if isinstance(step, int):
            place += f"[{step}]"
        elif not step.startswith(TAG):
            place += f".{step}" if place else step
    if found["type"] == "missing":
        return ApiError(400, f"{place} is missing", code="missing_required_parameter", param=place)
    code = "invalid_type" if found["type"].endswith("_type") else "invalid_value"
    return ApiError(400, f"{place}: {worded(found)}", code=code, param=place)
