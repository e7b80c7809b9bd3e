"""Extract the short answer from a text, so that answers can be counted: a number, a letter, a boxed expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeAlias

from pydantic import PlainValidator

_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
# "The answer is (B)", "Answer: B", "option C", but not "the answer is A man": a letter counts where it is said to be it ...
_SAID_LETTER = re.compile(
    r"(?i:answer|option|choice)(?:\s+(?:is|would be))?\s*:?\s*[*_\"'`]*"
    r"(?:\(([A-J])\)|([A-J])\b(?![\w'\u2019]|(?<=[AI])\s+(?!(?:as|and|because|for|is|since|with)\b)[a-z]))"
)
# ... or stands alone, or in front of the option's text.
_LONE_LETTER = re.compile(r"\A\W*([A-J])(?:\W*\Z|[).]\s)")
# Such as `A: 18`, `#### 18` or `The answer is $18`.
_SAID_NUMBER = re.compile(
    r"(?:####|\b(?i:answer)\b(?:\s+(?:is|would be)\s*:?|\s*:)|^A:)\s*[*_\"'`]*[^\w\s.-]?\s*"
    r"([-\u2212]?(?:\d[\d,]*(?:\.\d+)?|\.\d+))",
    re.MULTILINE,
)
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}")

Extractor: TypeAlias = Callable[[str], str | None]
"""From a text to its short answer, `None` where it has none; equal answers are equal strings."""


def number(text: str) -> str | None:
    """Return the final number: the one said to be the answer, or else the last one; `1,800.0` is `1800`."""
    said = _SAID_NUMBER.findall(text)
    found = said or _NUMBER.findall(text)
    return _plain_number(found[-1]) if found else None


def letter(text: str) -> str | None:
    """Return the letter of an option: the last one said to be the answer, or one that stands alone."""
    said = ["".join(groups) for groups in _SAID_LETTER.findall(text)]
    if said:
        return said[-1]
    lone = _LONE_LETTER.match(text)
    return lone[1] if lone else None


def boxed(text: str) -> str | None:
    r"""Return what the last `\boxed{...}` holds, without spaces and text commands."""
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len(r"\boxed")
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            inside = _TEXT.sub(r"\1", text[begin + 1 : place]).strip("$ \n")
            return _plain_number(inside) or re.sub(r"\s+|\\[!,;:]", "", inside) or None
    return None


def auto(text: str) -> str | None:
    """Return the boxed expression, or else the letter, or else the final number."""
    return boxed(text) or letter(text) or number(text)


EXTRACTORS: dict[str, Extractor] = {"auto": auto, "number": number, "letter": letter, "boxed": boxed}


def _known(value: Any) -> Any:
    if callable(value) or value in EXTRACTORS:
        return value
    msg = f"unknown extractor {value!r}; known are {', '.join(EXTRACTORS)}, or give a callable from a text to a text or None"
    raise ValueError(msg)


Extract: TypeAlias = Annotated[str | Extractor, PlainValidator(_known)]
"""An extractor, or the name of one."""


def extractor(value: Extract) -> Extractor:
    """Return the extractor that a name stands for; a callable stands for itself."""
    return EXTRACTORS[value] if isinstance(value, str) else value


def tally(texts: Iterable[str], extract: Extract) -> list[tuple[str, list[int]]]:
    """Count the texts' short answers.

    Args:
        texts: The texts.
        extract: What extracts.

    Returns:
        Each answer with the places of the texts that have it: the most frequent one first, and of equally frequent ones the
        one that comes first among the texts. Texts without an answer are not in it.
    """
    find = extractor(extract)
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        if (answer := find(text)) is not None:
            places.setdefault(answer, []).append(place)
    return sorted(places.items(), key=lambda item: (-len(item[1]), item[1][0]))


def _plain_number(text: str) -> str | None:
    digits = text.strip("$ ").replace(",", "").replace("\u2212", "-")
    try:
        value = Decimal(digits)
    except InvalidOperation:
        return None
    if not value.is_finite():
        return None
    # Written out, because Decimal's own normalisation rounds to its context's 28 digits.
    whole, _, fraction = f"{value:f}".partition(".")
    plain = f"{whole}.{fraction.rstrip('0')}".rstrip(".")
    return "0" if plain == "-0" else plain
