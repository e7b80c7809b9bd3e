"""Convert the conversations of requests of both APIs to LangChain messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages import ToolCall as LangChainToolCall
from pydantic import BaseModel, ConfigDict, Discriminator, Tag
from pydantic_core import from_json

from langchain_moa.serving.errors import ApiError
from langchain_moa.serving.parameters import Extensible, tag_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True)
class Links:
    """The links that are allowed in messages. Providers, or your own servers, fetch them.

    Attributes:
        domains: Domains that providers may fetch from over https, including subdomains. Default: none, so images, audio and
            files must be `data:` URLs.
    """

    domains: Collection[str] = ()

    def check(self, link: str, place: str) -> None:
        """Check a link.

        Args:
            link: The link.
            place: The field's name, for the error.

        Raises:
            ApiError: The link is neither a `data:` URL nor on an allowed domain.
        """
        if link[:5].lower() == "data:":
            return
        try:
            parts = urlsplit(link)
            host = (parts.hostname or "").rstrip(".").lower()
            plain = parts.username is None and parts.port in (None, 443)
        except ValueError:
            host, plain = "", False
            parts = urlsplit("")
        if (
            parts.scheme.lower() == "https"
            and plain
            and any(host == each or host.endswith(f".{each}") for each in self.domains)
        ):
            return
        msg = f"{place}: links to this address are not allowed; send the content as a data: URL"
        raise ApiError(400, msg, code="link_not_allowed", param=place)


# --- content parts ---


class _Text(Extensible):
    type: Literal["text", "input_text", "output_text"]
    text: str


class _Refusal(Extensible):
    type: Literal["refusal"]
    refusal: str


class _ImageUrl(Extensible):
    url: str


class _Image(Extensible):
    type: Literal["image_url"]
    image_url: _ImageUrl


class _InputImage(Extensible):
    type: Literal["input_image"]
    image_url: str | None = None
    detail: str | None = None


class _SoundData(Extensible):
    data: str
    format: str


class _Sound(Extensible):
    type: Literal["input_audio"]
    input_audio: _SoundData


class _FileData(Extensible):
    file_data: str | None = None
    filename: str | None = None


class _File(Extensible):
    type: Literal["file"]
    file: _FileData


class _InputFile(Extensible):
    type: Literal["input_file"]
    file_data: str | None = None
    filename: str | None = None
    file_url: str | None = None


class _Thoughts(Extensible):
    type: Literal["thinking", "redacted_thinking", "reasoning", "reasoning_text", "summary_text"]


_KNOWN_PARTS = "text, image_url, input_audio, file, input_text, input_image, input_file"

_Part = Annotated[
    Annotated[_Text, Tag(":text")]
    | Annotated[_Text, Tag(":input_text")]
    | Annotated[_Text, Tag(":output_text")]
    | Annotated[_Refusal, Tag(":refusal")]
    | Annotated[_Image, Tag(":image_url")]
    | Annotated[_InputImage, Tag(":input_image")]
    | Annotated[_Sound, Tag(":input_audio")]
    | Annotated[_File, Tag(":file")]
    | Annotated[_InputFile, Tag(":input_file")]
    | Annotated[_Thoughts, Tag(":thinking")]
    | Annotated[_Thoughts, Tag(":redacted_thinking")]
    | Annotated[_Thoughts, Tag(":reasoning")]
    | Annotated[_Thoughts, Tag(":reasoning_text")]
    | Annotated[_Thoughts, Tag(":summary_text")],
    Discriminator(
        tag_of("type"),
        custom_error_type="invalid_value",
        custom_error_message=f"its type must be one of {_KNOWN_PARTS}",
    ),
]

Content = Annotated[
    Annotated[str, Tag(":text")] | Annotated[list[_Part], Tag(":parts")],
    Discriminator(
        lambda value: ":text" if isinstance(value, str) else ":parts" if isinstance(value, list) else None,
        custom_error_type="invalid_type",
        custom_error_message="must be a string or a list of content parts",
    ),
]
"""The content of a message: a string, or parts in the format of either API."""


def plain_content(content: str | Sequence[BaseModel] | None, links: Links, place: str) -> str | list[str | dict[str, Any]]:
    """Return content in the format of chat completions, without reasoning.

    Args:
        content: The content.
        links: The allowed links.
        place: The field's name, for errors.

    Raises:
        ApiError: A link is not allowed, or the content of a file is missing.
    """
    if content is None or isinstance(content, str):
        return content or ""
    parts: list[str | dict[str, Any]] = []
    for number, part in enumerate(content):
        if (plain := _plain_part(part, links, f"{place}[{number}]")) is not None:
            parts.append(plain)
    # A single text part becomes a string, because some providers do not accept parts everywhere.
    if len(parts) == 1 and isinstance(parts[0], dict) and parts[0].get("type") == "text" and len(parts[0]) == 2:  # noqa: PLR2004  # `type` and `text`
        return str(parts[0]["text"])
    # Without a part, as where all were reasoning, it is an empty string: providers refuse an empty list.
    return parts or ""


def _plain_part(part: BaseModel, links: Links, place: str) -> dict[str, Any] | None:
    if isinstance(part, _Thoughts):
        return None
    if isinstance(part, _Text):
        return {**part.model_dump(exclude_unset=True), "type": "text"} if part.type == "text" else _text(part.text)
    if isinstance(part, _Image):
        links.check(part.image_url.url, f"{place}.image_url.url")
    elif isinstance(part, _InputImage):
        if part.image_url is None:
            raise _not_here(place, "image_url")
        links.check(part.image_url, f"{place}.image_url")
        detail = {} if part.detail is None else {"detail": part.detail}
        return {"type": "image_url", "image_url": {"url": part.image_url, **detail}}
    elif isinstance(part, _Sound):
        _check_data(part.input_audio.data, links, f"{place}.input_audio.data")
    elif isinstance(part, (_File, _InputFile)):
        file = part.file if isinstance(part, _File) else part
        if isinstance(part, _InputFile) and part.file_url is not None:
            links.check(part.file_url, f"{place}.file_url")
            return {"type": "file", "source_type": "url", "url": part.file_url}
        if file.file_data is None:
            raise _not_here(place, "file_data")
        _check_data(file.file_data, links, f"{place}.file.file_data" if isinstance(part, _File) else f"{place}.file_data")
        name = {} if file.filename is None else {"filename": file.filename}
        return {"type": "file", "file": {**name, "file_data": file.file_data}}
    return part.model_dump(exclude_unset=True)


def _check_data(data: str, links: Links, place: str) -> None:
    """Check content in base64, in place of which some providers accept a link."""
    if ":" in data:
        links.check(data, place)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _not_here(place: str, field: str) -> ApiError:
    msg = f"{place}: this server stores no files; send the content in `{field}`"
    return ApiError(400, msg, code="missing_required_parameter", param=f"{place}.{field}")


# --- messages of chat completions ---


class _Closed(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class SystemTurn(_Closed):
    """A system message; `developer` is OpenAI's newer name for it."""

    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class UserTurn(_Closed):
    """A message of the user."""

    role: Literal["user"]
    content: Content
    name: str | None = None


class _CalledFunction(_Closed):
    name: str
    arguments: str | None = None


class CalledTool(_Closed):
    """A tool call in an earlier answer. The arguments are the model's JSON."""

    id: str
    type: Literal["function"] = "function"
    function: _CalledFunction


class AssistantTurn(_Closed):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Content | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[CalledTool] | None = None


class ToolTurn(_Closed):
    """The result of a tool."""

    role: Literal["tool"]
    content: Content | None = None
    tool_call_id: str
    name: str | None = None


Turn = Annotated[
    Annotated[SystemTurn, Tag(":system")]
    | Annotated[SystemTurn, Tag(":developer")]
    | Annotated[UserTurn, Tag(":user")]
    | Annotated[AssistantTurn, Tag(":assistant")]
    | Annotated[ToolTurn, Tag(":tool")],
    Discriminator(
        tag_of("role"),
        custom_error_type="invalid_value",
        custom_error_message="its role must be one of system, developer, user, assistant, tool",
    ),
]
"""A message of the conversation."""


def to_messages(turns: Sequence[Turn], links: Links) -> list[BaseMessage]:
    """Return a conversation as LangChain messages.

    Args:
        turns: The messages of a request. A `developer` message becomes a system message, which every provider supports.
        links: The allowed links.

    Raises:
        ApiError: A link is not allowed.
    """
    return [_message(turn, links, f"messages[{number}].content") for number, turn in enumerate(turns)]


def _message(turn: Turn, links: Links, place: str) -> BaseMessage:
    content = plain_content(turn.content, links, place)
    if isinstance(turn, SystemTurn):
        return SystemMessage(content, name=turn.name)
    if isinstance(turn, ToolTurn):
        return ToolMessage(content, tool_call_id=turn.tool_call_id, name=turn.name)
    if isinstance(turn, UserTurn):
        return HumanMessage(content, name=turn.name)
    calls = [(call.id, call.function.name, call.function.arguments or "") for call in turn.tool_calls or ()]
    return ai_message(content, calls, refusal=turn.refusal, name=turn.name)


def ai_message(
    content: str | list[str | dict[str, Any]],
    calls: Sequence[tuple[str, str, str]],
    *,
    refusal: str | None = None,
    name: str | None = None,
) -> AIMessage:
    """Create the message of an earlier answer.

    Args:
        content: The content.
        calls: The tool calls: id, name, and arguments as JSON.
        refusal: The text of a refusal, or `None`.
        name: The name of the author.
    """
    valid: list[LangChainToolCall] = []
    invalid: list[InvalidToolCall] = []
    for id_, tool, arguments in calls:
        try:
            args = from_json(arguments or "{}")
        except ValueError:
            args = None
        if isinstance(args, dict):
            valid.append(LangChainToolCall(name=tool, args=args, id=id_, type="tool_call"))
        else:
            # Invalid JSON of a model in an earlier answer is passed on unchanged.
            invalid.append(InvalidToolCall(name=tool, args=arguments, id=id_, error=None, type="invalid_tool_call"))
    more = {} if refusal is None else {"refusal": refusal}
    return AIMessage(content, name=name, tool_calls=valid, invalid_tool_calls=invalid, additional_kwargs=more)
