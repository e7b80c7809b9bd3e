"""What a protocol is: it reads requests by its provider's rules and writes answers in its provider's form."""

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
        message: What the provider says.
    """

    def __init__(self, rule: str, message: str) -> None:
        """Name the rule, and say what the provider says."""
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.message = message


@dataclass(slots=True, kw_only=True)
class Recorded:
    """A request as it came over the wire, and what became of it.

    Attributes:
        number: Its place in the order of arrival at this server, from 1.
        vendor: The provider that was asked.
        path: The path of the address, without the provider's prefix.
        headers: The headers, names in lower case.
        body: The parsed JSON.
        model: The model's id.
        stream: Whether a stream was asked for.
        refused: The rule that it breaks, or `None`.
        tokens: Input and output tokens that were reported, or `None` if it was not answered.
        answer: What it was answered with, or `None`.
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
        """The whole body as JSON text."""
        return json.dumps(self.body, ensure_ascii=False)


class Protocol(ABC):
    """The protocol of one provider.

    Attributes:
        vendor: The provider's name, and the prefix of its addresses.
        stream_type: The content type of a stream.
    """

    vendor: str
    stream_type = "text/event-stream"

    @abstractmethod
    def read(self, request: Recorded) -> Turn:
        """Check a request and return what the model understands; note `model` and `stream` in it.

        Raises:
            RefusedError: If the provider would refuse it.
        """

    @abstractmethod
    def whole(self, turn: Turn, answer: Answer) -> Json:
        """Return an answer in one piece."""

    @abstractmethod
    def stream(self, turn: Turn, answer: Answer) -> Iterator[bytes]:
        """Return an answer as the bytes of a stream, event by event."""

    @abstractmethod
    def error(self, status: int, message: str) -> Json:
        """Return an error in the provider's form."""

    def error_headers(self, status: int) -> Mapping[str, str]:
        """Return the headers of an error, where the provider has some."""
        return {}


def require(holds: object, rule: str, message: str) -> None:
    """Refuse a request unless a condition holds."""
    if not holds:
        raise RefusedError(rule, message)


def names(text: str) -> frozenset[str]:
    """Return the words of a text, as a set of names."""
    return frozenset(text.split())


def only_keys(value: Mapping[str, Any], allowed: Iterable[str], where: str, rule: str = "unknown-parameter") -> None:
    """Refuse an object with other keys than these."""
    unknown = sorted(set(value) - set(allowed))
    require(not unknown, rule, f"{where}: unknown: {', '.join(unknown)}")


def sse(data: Any, *, event: str | None = None) -> bytes:
    """Return one server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


def check_answers(calls: Sequence[str], answers: Sequence[str], rule: str = "unanswered-tool-call") -> None:
    """Refuse calls of tools that are not all answered, each once, by what follows them."""
    require(sorted(calls) == sorted(answers), rule, f"tool calls {sorted(calls)} are answered by {sorted(answers)}")


def groups_of(messages: Sequence[Json], role_of: Callable[[Json], str], role: str, start: int) -> list[Json]:
    """Return the messages of one role that follow a place without a gap."""
    found: list[Json] = []
    for message in messages[start:]:
        if role_of(message) != role:
            break
        found.append(message)
    return found
