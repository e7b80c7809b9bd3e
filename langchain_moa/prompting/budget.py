"""Token budgets: fits a prompt into the context window of its model."""

from __future__ import annotations

import json
import re
from itertools import accumulate, takewhile
from math import ceil
from string import punctuation
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.utils import count_tokens_approximately

from langchain_moa.data.media import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from langchain_moa.data.reference import Reference
    from langchain_moa.prompting.prompts import Prompt

# The clients' names of the maximum number of tokens of an answer.
_ANSWER = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxTokens", "num_predict")

# The clients' names of arguments that take up tokens in addition to the messages.
_SCHEMAS = ("tools", "functions", "response_format", "format", "output_config", "response_schema", "response_json_schema")

# Share of the context window that is reserved for the answer if `max_tokens` is not set.
_SHARE_OF_ANSWER = 0.25

_CHARACTERS = 4


def room_for_messages(model: BaseChatModel | None, kwargs: Mapping[str, Any]) -> int | None:
    """Return the maximum number of tokens of the messages of a call.

    For some models (GPT-4o, Claude, models served by llama.cpp and vLLM), a profile's `max_input_tokens` is the whole window
    for input and answer; for others (GPT-5), it is for the input only. Since the profile does not say which, it is treated as
    the whole window: a prompt may be cut too much, but not too little.

    Args:
        model: The model to call.
        kwargs: The keyword arguments of the call: tools, schemas, limits.

    Returns:
        The number of tokens, or `None` if the size of the window is unknown.
    """
    profile = getattr(model, "profile", None) or {}
    # Ollama silently cuts a prompt at `num_ctx`.
    options = kwargs.get("options") or {}
    sizes = [profile.get("max_input_tokens"), options.get("num_ctx") or getattr(model, "num_ctx", None)]
    if not (window := min(filter(None, sizes), default=None)):
        return None
    schemas = [json.dumps(kwargs[name], default=_schema) for name in _SCHEMAS if kwargs.get(name)]
    return (
        int(window)
        - _answer(model, kwargs, int(window), profile.get("max_output_tokens"))
        - ceil(sum(map(len, schemas)) / _CHARACTERS)
    )


def _answer(model: BaseChatModel | None, kwargs: Mapping[str, Any], window: int, most: int | None) -> int:
    """Return the number of tokens of a window to reserve for the answer."""
    options = kwargs.get("options") or {}
    asked = [*(kwargs.get(name, options.get(name)) for name in _ANSWER), *(getattr(model, name, None) for name in _ANSWER)]
    for tokens in asked:
        if isinstance(tokens, int) and tokens > 0:
            # A limit as large as the window cannot be part of it: the window is for the input only, or the server cuts the
            # answer.
            return tokens if tokens < window else 0
    return min(most or 0, int(window * _SHARE_OF_ANSWER))


def _schema(value: Any) -> Any:
    """Return the JSON schema of a tool or class that is not plain data, to measure its size."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    schema = getattr(value, "tool_call_schema", None)
    if isinstance(schema, type) and hasattr(schema, "model_json_schema"):
        return schema.model_json_schema()
    return str(value)


CUT = " […]"
"""The mark at the end of a cut text."""

# Sizes are those of `count_tokens_approximately`, except that a letter outside ASCII counts as a token of its own, as in many
# vocabularies. An estimate is enough to stay below a limit, so no tokenizer is used.

_DIGITS = re.compile("[0-9]+")
_SIGNS = re.compile(f"[{re.escape(punctuation)}]+")

# Share of the window that is used, because counts are approximate and providers add tokens.
_SHARE = 0.9

# References are not cut below this number of tokens; older turns are dropped first.
_LEAST = 64


def cut(text: str, tokens: int) -> str:
    """Cut a text to a number of tokens, at the end of a line or sentence if possible, and mark the cut.

    Args:
        text: Any text.
        tokens: Maximum number of tokens: four ASCII characters, or one other character, count as one.

    Example:
        ```python
        from langchain_moa.prompting.budget import cut

        cut("One sentence. Another one that is longer.", 6)  # "One sentence. […]"
        ```
    """
    if _size(text) <= tokens * _CHARACTERS:
        return text
    weights = accumulate(1 if letter.isascii() else _CHARACTERS for letter in text)
    room = tokens * _CHARACTERS - _size(CUT)
    kept = text[: sum(1 for _ in takewhile(lambda weight: weight <= room, weights))]
    ends = [match.end() for match in re.finditer(r"\n|[。！？]|[.!?](?=\s|$)", kept)]  # noqa: RUF001  # full-width punctuation is meant
    # Cut in mid-sentence if the last complete sentence leaves less than half.
    end = ends[-1] if ends and ends[-1] >= len(kept) // 2 else len(kept)
    return kept[:end].rstrip() + CUT


def fit(
    messages: list[BaseMessage], references: Sequence[Reference], prompt: Prompt, *, window: int | None
) -> tuple[list[BaseMessage], list[str]]:
    """Make a prompt that fits into its model's context window.

    First, all references are cut to the same maximum size, but not below 64 tokens. If that is not enough, the oldest turns are
    dropped, each as a whole, so that the rest starts with a user message; then an agent's oldest tool calls since the user's
    last message, each with its results. References then use the room that is left. System messages, the user's last message and
    an agent's latest step are always kept.

    Args:
        messages: The conversation.
        references: The references.
        prompt: Makes the messages to send, whose size is measured.
        window: Maximum number of tokens of the messages, or `None` if unknown.

    Returns:
        The messages to send, and a description of each cut; empty if everything fits.
    """
    sent = prompt(messages, references)
    if window is None or _tokens(sent) <= (room := int(window * _SHARE)):
        return sent, []

    # A prompt may be random (a new tag, for example), so the measured messages are kept and sent.
    made: dict[tuple[int, int], list[BaseMessage]] = {}

    def make(kept: list[BaseMessage], tokens: int) -> list[BaseMessage]:
        if (key := (len(kept), tokens)) not in made:
            made[key] = prompt(kept, _shorter(references, tokens))
        return made[key]

    def fits(kept: list[BaseMessage], tokens: int) -> bool:
        return _tokens(make(kept, tokens)) <= room

    trimmed: list[str] = []
    longest = max((_size(reference["text"]) // _CHARACTERS + 1 for reference in references), default=0)
    least = min(_LEAST, longest)
    turns = _turns(messages)
    left = _most(0, len(turns), lambda count: fits(_without(messages, turns[: len(turns) - count]), least))
    gone = turns[: len(turns) - left]
    kept = _without(messages, gone)
    # The references use the room that is left.
    budget = _most(least, longest, lambda tokens: fits(kept, tokens))
    if budget < longest:
        trimmed.append(f"references cut to {budget} tokens")
    if gone:
        trimmed.append(f"{sum(map(len, gone))} of the oldest messages left out")
    sent = make(kept, budget)
    if (size := _tokens(sent)) > room:
        trimmed.append(f"still too long, but sent: about {size} tokens, with room for {max(room, 0)}")
    return sent, trimmed


def _size(text: str) -> int:
    """Return the size of a text in quarters of a token."""
    return len(text) if text.isascii() else sum(1 if letter.isascii() else _CHARACTERS for letter in text)


def _tokens(messages: Sequence[BaseMessage]) -> int:
    extra = 0
    for message in messages:
        called = repr(message.tool_calls) if isinstance(message, AIMessage) and message.tool_calls else ""
        text = str(message.text) + called
        extra += _size(text) - len(text) + _denser(text)
    return count_tokens_approximately([_without_media(message) for message in messages]) + extra // _CHARACTERS


def _denser(text: str) -> int:
    """Return the additional size of digits and punctuation compared to letters, in quarters of a token.

    In many vocabularies, each digit is a token, and about two punctuation characters are one.
    """
    return sum(map(len, _DIGITS.findall(text))) * (_CHARACTERS - 1) + sum(map(len, _SIGNS.findall(text)))


def _without_media(message: BaseMessage) -> BaseMessage:
    """Return a message with all media counted as images, because the length of base64 data does not give their tokens."""
    if isinstance(message.content, str):
        return message
    content = [block if kind_of(block) is None else {"type": "image"} for block in message.content]
    return message.model_copy(update={"content": content})


def _shorter(references: Sequence[Reference], tokens: int) -> list[Reference]:
    return [{**reference, "text": cut(reference["text"], tokens)} for reference in references]


def _most(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Return the greatest number that fits, or `low` if none does, by binary search."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _turns(messages: Sequence[BaseMessage]) -> list[list[int]]:
    """Return the indexes of the messages that can be dropped, the oldest first, in groups that are dropped together.

    Before the user's last message, a group is a turn, so that the rest starts with a user message. After it, a group is an AI
    message with its tool results.
    """
    users = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
    if not users:
        return []
    before: list[list[int]] = []
    since: list[list[int]] = []
    for place, message in enumerate(messages):
        if isinstance(message, SystemMessage) or place == users[-1]:
            continue
        groups, opens = (before, HumanMessage) if place < users[-1] else (since, AIMessage)
        if isinstance(message, opens) or not groups:
            groups.append([])
        groups[-1].append(place)
    return [*before, *since[:-1]]


def _without(messages: list[BaseMessage], turns: Sequence[Sequence[int]]) -> list[BaseMessage]:
    gone = {place for turn in turns for place in turn}
    return [message for place, message in enumerate(messages) if place not in gone]
