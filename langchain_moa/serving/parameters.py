"""Parameters of requests: which are passed on, ignored or rejected, and error messages for invalid values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from langchain_moa.serving.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.messages import BaseMessage

EVERY_CALL = (
    *("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty"),
    *("reasoning_effort", "verbosity"),
)
"""Parameters that are passed to every call of a mixture."""

# Parameters for OpenAI's own service, which do not affect the answer.
_IGNORED = {
    *("user", "safety_identifier", "metadata", "service_tier"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
}

# Unsupported parameters that would change the answer, with their values without an effect, and the reason.
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "an answer of a mixture takes many calls; send one request for each answer"),
    "logprobs": ((False,), "answers of a mixture have no token probabilities"),
    "top_logprobs": ((0,), "answers of a mixture have no token probabilities"),
    "logit_bias": (({},), "the members have different tokenizers"),
    "modalities": ((["text"],), "mixtures answer in text only"),
    "audio": ((), "mixtures answer in text only"),
    "prediction": ((), "mixtures do not support predicted outputs"),
    "web_search_options": ((), "send a tool that searches instead"),
    "functions": (([],), "deprecated; send `tools`"),
    "function_call": (("none", "auto"), "deprecated; send `tool_choice`"),
}

_MOST_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """A request to a mixture, in the common format of both APIs.

    Attributes:
        messages: The conversation.
        shared: Keyword arguments of every call.
        own: Keyword arguments of the aggregator's call only, in the format of chat completions.
        stream: Whether to stream the answer.
        owner: The name of the client's key.
    """

    messages: list[BaseMessage]
    shared: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    owner: str = "-"


def _whole_number(value: Any) -> Any:
    """Return a number without a fraction, such as 50.0, as a whole number: in JSON they are the same."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
"""A whole number; 50.0 is 50."""


class Parameters(BaseModel):
    """The parameters that both APIs have in common.

    Attributes:
        model: The mixture's name.
        stream: Whether to stream the answer.
        temperature, top_p, top_k, presence_penalty, frequency_penalty, seed: Passed to every call of the mixture.
        parallel_tool_calls: Passed to the aggregator.
    """

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    model: str
    stream: bool = False
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: WholeNumber | None = Field(default=None, ge=1, lt=2**31)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: WholeNumber | None = Field(default=None, ge=-(2**63), lt=2**63)
    parallel_tool_calls: bool | None = None

    @classmethod
    def validated(cls, values: Mapping[str, Any]) -> Self:
        """Validate parameters.

        Args:
            values: The parameters.

        Raises:
            ApiError: A value is invalid; the error names the field.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise in_words(error) from None


def sort_out(
    body: Mapping[str, Any], known: Iterable[str], *, ignored: Iterable[str] = (), strict: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters of a request that affect the answer, and the names of unknown ones.

    Args:
        body: The request.
        known: The names of the API's parameters.
        ignored: The names of further parameters to ignore without listing them as unknown.
        strict: Whether to reject unknown parameters.

    Raises:
        ApiError: A parameter is not supported, or it is unknown and `strict` is set.
    """
    known, silent = {*known}, {*_IGNORED, *ignored}
    # Some clients send null for parameters that are not set.
    given = {name: value for name, value in body.items() if value is not None and name not in silent}
    # 0 and -1 mean no limit, as in vLLM and llama.cpp.
    if given.get("top_k") in (0, -1) and not isinstance(given["top_k"], bool):
        del given["top_k"]
    for name, (nothing, why) in _REFUSED.items():
        if name in given and name not in known and not _is_one_of(given.pop(name), nothing):
            raise ApiError(400, f"{name}: not supported: {why}", code="unsupported_parameter", param=name)
    unknown = [name for name in given if name not in known]
    if unknown and strict:
        close = get_close_matches(unknown[0], sorted({*known, *silent, *_REFUSED}), n=1)
        remedy = f"did you mean {close[0]!r}?" if close else "remove it"
        name = shown_name(unknown[0])
        raise ApiError(400, f"unknown parameter {name!r}; {remedy}", code="unknown_parameter", param=name)
    return {name: value for name, value in given.items() if name in known}, [shown_name(name) for name in unknown]


def _is_one_of(value: Any, nothing: Iterable[Any]) -> bool:
    # In JSON, 1.0 equals 1, but true does not.
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in nothing)


def shown_name(name: str) -> str:
    """Return a name from a request, shortened and made safe for headers, log lines and errors."""
    plain = "".join(char if char.isascii() and char.isprintable() and char not in ",;" else "?" for char in name)
    return plain if len(plain) <= 40 else f"{plain[:37]}..."  # noqa: PLR2004  # longer than any known parameter


def first_names(names: Sequence[str]) -> list[str]:
    """Return the first names of ignored parameters, and how many there are besides."""
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return [*names[:_MOST_NAMED], *more]


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """Return the header with the names of ignored parameters."""
    return {"x-moa-ignored": ", ".join(first_names(names))} if names else {}


def length_limit(value: Any) -> Any:
    """Return a token limit, or `None` for -1, which means no limit in llama.cpp and others."""
    return None if value == -1 and not isinstance(value, bool) else value


# --- tools and response format, as in chat completions ---

TAG = ":"
"""The first character of union tags, which distinguishes them from field names in pydantic's error locations."""


def tag_of(key: str) -> Any:
    """Return a discriminator that reads a union's tag from a field."""

    def tag(value: Any) -> str | None:
        name = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        return f"{TAG}{name}" if isinstance(name, str) else None

    return tag


class Extensible(BaseModel):
    """An object that is passed on with all fields, including unknown ones."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


class _ToolFunction(Extensible):
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Extensible):
    """A function that the aggregator may call."""

    type: Literal["function"]
    function: _ToolFunction


class _FunctionName(Extensible):
    name: str


class _ChosenFunction(Extensible):
    type: Literal["function"]
    function: _FunctionName


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(":text")] | Annotated[_ChosenFunction, Tag(":mapping")],
    Discriminator(
        lambda value: ":text" if isinstance(value, str) else ":mapping" if isinstance(value, (Mapping, BaseModel)) else None,
        custom_error_type="invalid_type",
        custom_error_message="must be none, auto, required, or an object with the name of a function",
    ),
]
"""The choice of tools."""


class _JsonSchema(Extensible):
    name: str
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class _AnyFormat(Extensible):
    type: Literal["text", "json_object"]


class _SchemaFormat(Extensible):
    type: Literal["json_schema"]
    json_schema: _JsonSchema


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
"""The format of the answer."""


class AggregatorParameters(BaseModel):
    """The parameters of the aggregator's call only, in the format of chat completions."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    def kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of the aggregator's call, without those without an effect."""
        wanted = {
            name: value for name, value in self.model_dump(exclude_unset=True, by_alias=True).items() if value is not None
        }
        if not wanted.get("tools"):
            wanted = {name: value for name, value in wanted.items() if name == "response_format"}
        if wanted.get("response_format", {}).get("type") == "text":
            del wanted["response_format"]
        return wanted

    def check(self) -> None:
        """Check that `tool_choice` fits the tools.

        Raises:
            ApiError: The chosen tool does not exist.
        """
        if not self.tools and self.tool_choice not in (None, "none", "auto"):
            _refuse("tool_choice", "the request has no `tools`")
        names = {tool.function.name for tool in self.tools or ()}
        if isinstance(self.tool_choice, _ChosenFunction) and self.tool_choice.function.name not in names:
            _refuse("tool_choice", "no tool has this name")


# --- error messages ---

# Messages by pydantic's error types, formatted with the error's context.
_WORDS = {
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "too_short": "must have at least {min_length} item",
    "string_too_short": "must not be empty",
}


def in_words(error: ValidationError, place: str = "") -> ApiError:
    """Return the first validation error, with its location in OpenAI's notation: `messages[0].content`.

    Args:
        error: The validation error.
        place: The location of the validated object.
    """
    found = error.errors(include_url=False, include_input=False)[0]
    for step in found["loc"]:
        if isinstance(step, int):
            place += f"[{step}]"
        elif not step.startswith(TAG):
            place += f".{step}" if place else step
    if found["type"] == "missing":
        return ApiError(400, f"{place} is missing", code="missing_required_parameter", param=place)
    code = "invalid_type" if found["type"].endswith("_type") else "invalid_value"
    words = _WORDS.get(found["type"])
    text: str = found["msg"][:1].lower() + found["msg"][1:] if words is None else words.format(**found.get("ctx", {}))
    return ApiError(400, f"{place}: {text}", code=code, param=place)


def _refuse(name: str, why: str) -> NoReturn:
    raise ApiError(400, f"{name}: {why}", code="invalid_value", param=name)
