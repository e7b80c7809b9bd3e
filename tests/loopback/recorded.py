"""Requests that the loopback server received: one `Recorded` each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.loopback.reply import Body, Reply


def text_of(content: Any) -> str:
    """Return the text of a message's content.

    Args:
        content: A string, a list of content parts, or `None`.
    """
    if isinstance(content, str):
        return content
    parts = content or ()
    return "".join(part.get("text") or "" for part in parts if part.get("type") == "text")


@dataclass(slots=True, kw_only=True)
class Recorded:
    """A request as received, and how it was answered.

    Attributes:
        number: The position in the order of arrival at this server, from 1.
        model: The requested model.
        body: The parsed JSON.
        headers: The headers, with lower-case names.
        connection: The number of the connection. Equal numbers mean keep-alive.
        arrived: The time of the last byte of the request, by `time.monotonic()`.
        finished: The time of the last bytes of the answer, or `None`.
        disconnected: Whether the client disconnected before the answer was complete.
        together: The maximum number of concurrent calls while this one was open, including it.
        reply: The reply, or `None` until it is chosen.
    """

    number: int
    model: str
    body: Body
    headers: Mapping[str, str] = field(repr=False)
    connection: int
    arrived: float
    finished: float | None = None
    disconnected: bool = False
    together: int = 1
    reply: Reply | None = field(default=None, repr=False)

    @property
    def stream(self) -> bool:
        """Whether the client requested a stream."""
        return bool(self.body.get("stream"))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the request."""
        messages: list[dict[str, Any]] = self.body.get("messages", [])
        return messages

    @property
    def roles(self) -> list[str]:
        """The roles of the conversation's messages."""
        return [message["role"] for message in self.messages]

    @property
    def system(self) -> str:
        """The text of the system messages, separated by blank lines."""
        wanted = {"system", "developer"}
        return "\n\n".join(text_of(m.get("content")) for m in self.messages if m["role"] in wanted)

    @property
    def user(self) -> str:
        """The text of the last user message, or an empty string."""
        return last_user_text(self.messages)

    @property
    def tools(self) -> list[str]:
        """The names of the offered tools."""
        return [tool["function"]["name"] for tool in self.body.get("tools") or ()]


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last user message, or an empty string if there is none."""
    texts = (text_of(m.get("content")) for m in reversed(messages) if m["role"] == "user")
    return next(texts, "")
