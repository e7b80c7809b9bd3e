"""Budgets: how a prompt is made to fit into a context window."""

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

# The most tokens of an answer, by the names that clients have for it.
_ANSWER = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxTokens", "num_predict")

# What is sent beside the messages and counts like them, by the names that clients have for it.
_SCHEMAS = ("tools", "functions", "response_format", "format", "output_config", "response_schema", "response_json_schema")

# The share of the context window that is kept for the answer if no `max_tokens` is set.
_SHARE_OF_ANSWER = 0.25

_CHARACTERS = 4


def room_for_messages(model: BaseChatModel | None, kwargs: Mapping[str, Any]) -> int | None:
    """Return how many tokens the messages of a call may have.

    A profile's `max_input_tokens` is the whole window for some models, input and answer together (GPT-4o, Claude, models that
    are served by llama.cpp and vLLM), and that of the input alone for others (GPT-5); nothing in it says which. It is taken
    for the whole one: then a prompt may be cut a little too much, and never too little.

    Args:
        model: The model that is called.
        kwargs: What the call is made with: tools, schemas, limits.

    Returns:
        The tokens; `None` where the profile does not say how large the window is.
    """
    profile = getattr(model, "profile", None) or {}
    # Ollama cuts a prompt at its `num_ctx` without a word.
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
    """Return how many tokens of a window are to be kept for the answer."""
    options = kwargs.get("options") or {}
    asked = [*(kwargs.get(name, options.get(name)) for name in _ANSWER), *(getattr(model, name, None) for name in _ANSWER)]
    for tokens in asked:
        if isinstance(tokens, int) and tokens > 0:
            # As large as the window, it cannot be within it: the window is of the input alone, or the server cuts the answer.
            return tokens if tokens < window else 0
    return min(most or 0, int(window * _SHARE_OF_ANSWER))


def _schema(value: Any) -> Any:
    """Return what a client makes of a tool or a schema that is no plain data yet."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    schema = getattr(value, "tool_call_schema", None)
    if isinstance(schema, type) and hasattr(schema, "model_json_schema"):
        return schema.model_json_schema()
    return str(value)


CUT = " […]"
"""The mark at the place where a text was cut."""

# As `count_tokens_approximately` counts; but a letter outside ASCII is a token of its own in many vocabularies. No model's
# tokenizer is at hand here, and none is needed to stay clear of a limit.

_DIGITS = re.compile("[0-9]+")
_SIGNS = re.compile(f"[{re.escape(punctuation)}]+")

# Counting is approximate, and providers add tokens of their own: a window is used up to this share.
_SHARE = 0.9

# Below this, a reference says nothing any more, and older turns go first.
_LEAST = 64


def cut(text: str, tokens: int) -> str:
    """Return a text of at most so many tokens, ended at a line or a sentence and with a visible mark.

    Args:
        text: Any text.
        tokens: The most that it may have: four ASCII characters are one, any other character is one.

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
    ends = [match.end() for match in re.finditer(r"\n|[。！？]|[.!?](?=\s|$)", kept)]  # noqa: RUF001  # sentences end so, too
    # A cut at the last sentence that leaves less than half is worse than one in mid-sentence.
    end = ends[-1] if ends and ends[-1] >= len(kept) // 2 else len(kept)
    return kept[:end].rstrip() + CUT


def fit(
    messages: list[BaseMessage], references: Sequence[Reference], prompt: Prompt, *, window: int | None
) -> tuple[list[BaseMessage], list[str]]:
    """Return a prompt that fits into its model's context window, and what was left out.

    References are cut first, the longest of them most, as far as a reference can be. Where that is not enough, the oldest
    turns go, each whole, so that what is left begins with a user's message, and the references are as long as there is room
    for. Last, where an agent's tools have returned too much since the user's last message, the oldest of their
    calls go, each with its results. System messages, the user's last message and the latest step of an agent stay as they
    are, whatever their size.

    Args:
        messages: The conversation.
        references: What the layer before has answered.
        prompt: From these to what is sent; nothing else is measured.
        window: The most tokens that the messages may have, `None` where that is not known.

    Returns:
        The messages to send, and a line for each cut, for the record; none where everything fits.
    """
    sent = prompt(messages, references)
    if window is None or _tokens(sent) <= (room := int(window * _SHARE)):
        return sent, []

    # A prompt may draw something anew each time that it is asked: what is sent is one that was measured.
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
    # Of the references stays what there is room for then.
    budget = _most(least, longest, lambda tokens: fits(kept, tokens))
    if budget < longest:
        trimmed.append(f"references cut to {budget} tokens")
    if gone:
        trimmed.append(f"{sum(map(len, gone))} of the oldest messages left out")
    sent = make(kept, budget)
    if (size := _tokens(sent)) > room:
        trimmed.append(f"sent too long all the same: about {size} tokens, with room for {max(room, 0)}")
    return sent, trimmed


def _size(text: str) -> int:
    """Return a text's size in quarters of a token."""
    return len(text) if text.isascii() else sum(1 if letter.isascii() else _CHARACTERS for letter in text)


def _tokens(messages: Sequence[BaseMessage]) -> int:
    extra = 0
    for message in messages:
        called = repr(message.tool_calls) if isinstance(message, AIMessage) and message.tool_calls else ""
        text = str(message.text) + called
        extra += _size(text) - len(text) + _denser(text)
    return count_tokens_approximately([_without_media(message) for message in messages]) + extra // _CHARACTERS


def _denser(text: str) -> int:
    """Return what figures and signs are more than letters, in quarters of a token.

    Many vocabularies have a token for each digit: a table of figures has four times the tokens of as many letters. Of signs,
    two or so make a token.
    """
    return sum(map(len, _DIGITS.findall(text))) * (_CHARACTERS - 1) + sum(map(len, _SIGNS.findall(text)))


def _without_media(message: BaseMessage) -> BaseMessage:
    """Return a message with all its media as images: what a file in base64 comes to, its length does not say."""
    if isinstance(message.content, str):
        return message
    content = [block if kind_of(block) is None else {"type": "image"} for block in message.content]
    return message.model_copy(update={"content": content})


def _shorter(references: Sequence[Reference], tokens: int) -> list[Reference]:
    return [{**reference, "text": cut(reference["text"], tokens)} for reference in references]


def _most(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Return the greatest number that fits; the least one if none does."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _turns(messages: Sequence[BaseMessage]) -> list[list[int]]:
    """Return the places of the messages that may go, the oldest first, those together that cannot go one by one.

    A conversation without its beginning must begin with a user's message, and no result of a tool may stand without its call.
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
