"""What the loopback server received: one `Recorded` per request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.loopback.reply import Body, Reply


def text_of(content: Any) -> str:
    """Return the text of a message's content, whichever form it has.

    Args:
        content: A string, a list of content parts, or `None`.
    """
    if isinstance(content, str):
        return content
    parts = content or ()
    return "".join(part.get("text") or "" for part in parts if part.get("type") == "text")


@dataclass(slots=True, kw_only=True)
class Recorded:
    """A request, as it came over the wire, and what became of it.

    Attributes:
        number: Place in the order of arrival at this server, from 1.
        model: The model that was asked for.
        body: The parsed JSON.
        headers: The request's headers, their names in lower case.
        connection: Number of the connection it came on; equal numbers mean keep-alive.
        arrived: When the last byte of the request came, in `time.monotonic()` seconds.
        finished: When the last bytes of the answer were sent, or `None`.
        disconnected: Whether the client went before the answer was complete.
        together: The most calls that were open at once while this one was, itself included.
        reply: What it was answered with, or `None` as long as that is not decided.
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
        """Whether the client asked for a stream."""
        return bool(self.body.get("stream"))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation that was sent."""
        messages: list[dict[str, Any]] = self.body.get("messages", [])
        return messages

    @property
    def roles(self) -> list[str]:
        """The roles of the conversation's messages."""
        return [message["role"] for message in self.messages]

    @property
    def system(self) -> str:
        """The text of the system messages, one blank line between two of them."""
        wanted = {"system", "developer"}
        return "\n\n".join(text_of(m.get("content")) for m in self.messages if m["role"] in wanted)

    @property
    def user(self) -> str:
        """The text of the last user message, or an empty string."""
        return last_user_text(self.messages)

    @property
    def tools(self) -> list[str]:
        """The names of the tools on offer."""
        return [tool["function"]["name"] for tool in self.body.get("tools") or ()]


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last user message, or an empty string if there is none."""
    texts = (text_of(m.get("content")) for m in reversed(messages) if m["role"] == "user")
    return next(texts, "")
