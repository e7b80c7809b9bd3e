"""Token budgets: cut references where a reader would, and keep every prompt inside its model's window."""

from __future__ import annotations

import re
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.utils import count_tokens_approximately

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.prompting.prompts import Prompt
    from langchain_moa.reference import Reference

CUT = " […]"
"""What stands where a text was cut."""

# As `count_tokens_approximately` counts; but a letter outside ASCII is a token of its own in many vocabularies. No model's
# tokenizer is at hand here, and none is needed to stay clear of a limit.
_CHARACTERS = 4

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
    """Return a prompt that fits into its model's window, and what had to go.

    References are cut first, the longest of them most; then the oldest messages go. The system message and everything from
    the user's last message on stay as they are, whatever their size.

    Args:
        messages: The conversation.
        references: What the layer before has answered.
        prompt: How references are shown.
        window: The most tokens that the model takes, `None` where its profile does not say.

    Returns:
        The messages to send, and a line for each cut, for the record; none where everything fits.
    """
    sent = prompt(messages, references)
    if window is None or (size := _tokens(sent)) <= (room := int(window * _SHARE)):
        return sent, []
    trimmed: list[str] = []
    if references:
        over = size - room
        budget = _budget([_size(reference["text"]) // _CHARACTERS + 1 for reference in references], over)
        shorter = [{**reference, "text": cut(reference["text"], budget)} for reference in references]
        trimmed = [f"references cut to {budget} tokens"]
        references = shorter  # type: ignore[assignment]  # `{**TypedDict}` is typed as a plain dict
        sent = prompt(messages, references)
    kept = list(messages)
    while _tokens(sent) > room and (oldest := _oldest(kept)) is not None:
        del kept[oldest]
        sent = prompt(kept, references)
    if dropped := len(messages) - len(kept):
        trimmed.append(f"{dropped} of the oldest messages left out")
    return sent, trimmed


def _size(text: str) -> int:
    """Return a text's size in quarters of a token."""
    return len(text) if text.isascii() else sum(1 if letter.isascii() else _CHARACTERS for letter in text)


def _tokens(messages: Sequence[BaseMessage]) -> int:
    texts = [str(message.text) for message in messages]
    return count_tokens_approximately(messages) + sum(_size(text) - len(text) for text in texts) // _CHARACTERS


def _budget(sizes: Sequence[int], over: int) -> int:
    """Return the size to which the longest must be cut so that all together lose what is too much."""
    low, high = _LEAST, max(sizes)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(max(size - middle, 0) for size in sizes) >= over:
            low = middle
        else:
            high = middle - 1
    return low


def _oldest(messages: Sequence[BaseMessage]) -> int | None:
    """Return the place of the oldest message that may go: neither the system message nor of the user's latest turn."""
    users = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
    first = 1 if messages and isinstance(messages[0], SystemMessage) else 0
    return first if users and first < users[-1] else None
