"""Questions and answers, independent of the protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tests.loopback.schema import Maker

if TYPE_CHECKING:
    import threading

Finish = Literal["stop", "length", "tools"]
_SIGNATURE = "signature:{vendor}:{model}:{digest}"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A request, parsed.

    Attributes:
        vendor: The provider, such as `"anthropic"`.
        model: The model's id.
        question: The text of the last user message.
        results: The texts of the tool results after it.
        tools: The schemas of the tools' arguments, by name.
        stream: Whether the client requested a stream.
        thinking: Whether the client requested thoughts.
        form: The requested format of thoughts, if the provider has several.
        limit: The maximum number of tokens of an answer, without thoughts.
        stop: The stop sequences.
        prompt_tokens: The size of the request: one token for each word of its messages.
        number: The number of the request at its server, from 1.
    """

    vendor: str
    model: str
    question: str
    results: Sequence[str] = ()
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stream: bool = False
    thinking: bool = False
    form: str = ""
    limit: int | None = None
    stop: Sequence[str] = ()
    prompt_tokens: int = 0
    number: int = 1


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call. Without an `id`, the protocol derives one from the request's number."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None

    @property
    def arguments(self) -> str:
        """The arguments as JSON."""
        return json.dumps(self.args)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of a model.

    Attributes:
        text: The visible answer, or the message of an error.
        thoughts: The thoughts before the answer, in each protocol's own format.
        calls: The tool calls.
        finish: The finish reason. Default: derived from the answer.
        id: The id of the answer. Default: derived from the request's number.
        status: The HTTP status; from 400 on, an error in the provider's format.
        hold: Answer only after this event is set or the server stops.
        usage: The reported usage instead of the counted tokens, in the provider's format.
        blocks: Further content blocks before the text, in the provider's format.
    """

    text: str = ""
    thoughts: str | None = None
    calls: Sequence[Call] = ()
    finish: Finish | None = None
    id: str | None = None
    status: int = 200
    hold: threading.Event | None = None
    usage: Mapping[str, Any] | None = None
    blocks: Sequence[Mapping[str, Any]] = ()

    @property
    def reason(self) -> Finish:
        """The finish reason."""
        return self.finish or ("tools" if self.calls else "stop")

    @property
    def thought_tokens(self) -> int:
        """The number of tokens of the thoughts."""
        return count_words(self.thoughts)

    @property
    def completion_tokens(self) -> int:
        """The number of tokens of the answer and its thoughts."""
        return count_words(self.text) + self.thought_tokens + sum(count_words(call.arguments) for call in self.calls)

    def cut(self, turn: Turn) -> Answer:
        """Return the answer, cut at the request's stop sequences and limit."""
        text = self.text
        for stop in turn.stop:
            text = text.partition(stop)[0]
        found = list(re.finditer(r"\S+", text))
        if turn.limit is not None and len(found) > turn.limit:
            return replace(self, text=text[: found[turn.limit - 1].end()], finish="length")
        return replace(self, text=text)


def asked_in(messages: Sequence[Mapping[str, Any]], text_of: Callable[[Any], str]) -> dict[str, Any]:
    """Return the user's last question and the results of tools after it, as fields of a `Turn`.

    Args:
        messages: The messages of a request, each with `role` and `content`.
        text_of: Returns the text of a content in the protocol's format.
    """
    users = [place for place, message in enumerate(messages) if message["role"] == "user"]
    since = messages[users[-1] + 1 :] if users else messages
    return {
        "question": text_of(messages[users[-1]]["content"]) if users else "",
        "results": [text_of(message["content"]) for message in since if message["role"] == "tool"],
    }


Behaviour = Answer | str | Sequence[Answer | str] | Callable[[Turn], Answer | str]
"""The behaviour of a model: one answer, a list of answers of which the last repeats, or a function."""


def capable(turn: Turn) -> Answer:
    """Answer like a capable model, deterministically.

    It calls the first tool if there are tools, and answers in text after the result.
    """
    thoughts = f"{marker(turn.vendor, turn.model)} about: {shorten(turn.question)}" if turn.thinking else None
    if turn.tools and not turn.results:
        name, schema = next(iter(turn.tools.items()))
        args = Maker({"type": "object", **schema}, shorten(turn.question)).make()
        return Answer(thoughts=thoughts, calls=[Call(name=name, args=args)])
    if turn.results:
        return Answer(text=f"{turn.model} found: {'; '.join(turn.results)}", thoughts=thoughts)
    return Answer(text=f"{turn.model} says: {shorten(turn.question)}", thoughts=thoughts)


def shorten(text: str) -> str:
    """Return the last line of a text, which is the question without added context."""
    return text.strip().rpartition("\n")[2][:200]


def marker(vendor: str, model: str) -> str:
    """Return the words with which the thoughts of a model start. No other text has them."""
    return f"{vendor} {model} thinks in private"


def sign(vendor: str, model: str, thoughts: str) -> str:
    """Return a signature that only this model accepts, only for these thoughts; base64 without `+` and `/`."""
    digest = hashlib.sha256(f"{vendor}\n{model}\n{thoughts}".encode()).hexdigest()[:24]
    return base64.b64encode(_SIGNATURE.format(vendor=vendor, model=model, digest=digest).encode()).decode()


def signer(signature: str) -> tuple[str, str] | None:
    """Return the vendor and the model of a signature, or `None` if it is not one of ours."""
    try:
        text = base64.b64decode(signature, validate=True).decode()
    except ValueError:
        return None
    found = re.fullmatch(r"signature:([^:]*):(.*):[0-9a-f]{24}", text)
    return (found[1], found[2]) if found else None


def count_words(value: Any) -> int:
    """Count the words in all strings of a JSON value."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, Mapping):
        return sum(count_words(item) for item in value.values())
    if isinstance(value, Sequence):
        return sum(count_words(item) for item in value)
    return 0


def split_words(text: str) -> list[str]:
    """Split a text into the chunks of a stream."""
    return re.findall(r"\s*\S+|\s+\Z", text)
