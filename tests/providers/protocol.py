"""The base class of protocols, which check requests by a provider's rules and write answers in its format."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tests.providers.conversation import Answer, Turn

Json = dict[str, Any]


class RefusedError(Exception):
    """A request breaks one of the provider's rules.

    Attributes:
        rule: The rule's name, such as `"unanswered-tool-call"`.
        message: The provider's error message.
    """

    def __init__(self, rule: str, message: str) -> None:
        """Create the error."""
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.message = message


@dataclass(slots=True, kw_only=True)
class Recorded:
    """A request as received, and how it was answered.

    Attributes:
        number: The position in the order of arrival at this server, from 1.
        vendor: The provider.
        path: The path of the URL, without the provider's prefix.
        headers: The headers, with lower-case names.
        body: The parsed JSON.
        model: The model's id.
        stream: Whether a stream was requested.
        refused: The error if it was rejected, or `None`.
        tokens: The reported input and output tokens, or `None` if it was not answered.
        answer: The answer, or `None`.
    """

    number: int
    vendor: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: Json
    model: str = ""
    stream: bool = False
    refused: RefusedError | None = None
    tokens: tuple[int, int] | None = None
    answer: Answer | None = None

    @property
    def text(self) -> str:
        """The body as JSON."""
        return json.dumps(self.body, ensure_ascii=False)


class Protocol(ABC):
    """The protocol of one provider.

    Attributes:
        vendor: The name of the provider, and the prefix of its paths.
        stream_type: The content type of a stream.
    """

    vendor: str
    stream_type = "text/event-stream"

    @abstractmethod
    def read(self, request: Recorded) -> Turn:
        """Check and parse a request, and set its `model` and `stream`.

        Raises:
            RefusedError: The provider would reject the request.
        """

    @abstractmethod
    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer as one response."""

    @abstractmethod
    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as the bytes of a stream, event by event."""

    @abstractmethod
    def error(self, status: int, message: str) -> Json:
        """Return an error in the provider's format."""

    def error_headers(self, status: int) -> Mapping[str, str]:
        """Return additional headers of an error."""
        return {}


def require(holds: object, rule: str, message: str) -> None:
    """Reject a request unless a condition holds."""
    if not holds:
        raise RefusedError(rule, message)


def names(text: str) -> frozenset[str]:
    """Return the words of a text, as a set of names."""
    return frozenset(text.split())


def only_keys(value: Mapping[str, Any], allowed: Iterable[str], where: str, rule: str = "unknown-parameter") -> None:
    """Reject an object with unknown keys."""
    unknown = sorted(set(value) - set(allowed))
    require(not unknown, rule, f"{where}: unknown: {', '.join(unknown)}")


def sse(data: Any, *, event: str | None = None) -> bytes:
    """Return one server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


def check_answers(calls: Sequence[str], answers: Sequence[str], rule: str = "unanswered-tool-call") -> None:
    """Reject tool calls that are not each answered exactly once."""
    require(sorted(calls) == sorted(answers), rule, f"tool calls {sorted(calls)} are answered by {sorted(answers)}")


def groups_of(messages: Sequence[Json], role_of: Callable[[Json], str], role: str, start: int) -> list[Json]:
    """Return the consecutive messages of a role from an index on."""
    found: list[Json] = []
    for message in messages[start:]:
        if role_of(message) != role:
            break
        found.append(message)
    return found
