"""The messages of a request, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

# What tells one form from another stands in pydantic's places beside the names of fields; a colon tells it from those.
TAG = ":"
"""What the names of forms begin with."""


def tag_of(key: str) -> Any:
    """Return what reads a form's name in one of its fields."""

    def tag(value: Any) -> str | None:
        name = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        return f"{TAG}{name}" if isinstance(name, str) else None

    return tag


class Open(BaseModel):
    """What is sent on with whatever else stands in it."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


class _Text(Open):
    type: Literal["text"]
    text: str


class _Refusal(Open):
    type: Literal["refusal"]
    refusal: str


class _ImageUrl(Open):
    url: str


class _Image(Open):
    type: Literal["image_url"]
    image_url: _ImageUrl


class _InputAudio(Open):
    data: str
    format: str


class _Audio(Open):
    type: Literal["input_audio"]
    input_audio: _InputAudio


class _File(Open):
    type: Literal["file"]
    file: dict[str, Any]


_Parts = list[
    Annotated[
        Annotated[_Text, Tag(":text")]
        | Annotated[_Refusal, Tag(":refusal")]
        | Annotated[_Image, Tag(":image_url")]
        | Annotated[_Audio, Tag(":input_audio")]
        | Annotated[_File, Tag(":file")],
        Discriminator(
            tag_of("type"),
            custom_error_type="invalid_value",
            custom_error_message="its type must be one of text, image_url, input_audio, file",
        ),
    ]
]


def _form(value: Any) -> str | None:
    return ":text" if isinstance(value, str) else ":parts" if isinstance(value, list) else None


Content = Annotated[
    Annotated[str, Tag(":text")] | Annotated[_Parts, Tag(":parts")],
    Discriminator(_form, custom_error_type="invalid_type", custom_error_message="must be a text or a list of content parts"),
]
"""What a message says: a text, or parts."""


class Closed(BaseModel):
    """What is sent on with nothing else in it."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class SystemTurn(Closed):
    """An instruction; OpenAI has two names for it."""

    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class UserTurn(Closed):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: str | None = None


class Function(Closed):
    """Which tool was called, and with what; the arguments are JSON as the model wrote it."""

    name: str
    arguments: str = ""


class ToolCall(Closed):
    """A tool call of an earlier answer."""

    id: str
    type: Literal["function"] = "function"
    function: Function


class AssistantTurn(Closed):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Content | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None


class ToolTurn(Closed):
    """What a tool returned."""

    role: Literal["tool"]
    content: Content
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
