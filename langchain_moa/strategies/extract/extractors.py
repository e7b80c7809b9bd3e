"""Extractors by name, and the count of what they extract."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeAlias

from pydantic import PlainValidator

from langchain_moa.strategies.extract.boxes import boxed
from langchain_moa.strategies.extract.letters import letter, lone_letter, said_letter
from langchain_moa.strategies.extract.literals import choice, literal
from langchain_moa.strategies.extract.numbers import lone_number, number, said_number

Extractor: TypeAlias = Callable[[str], str | None]
"""From a text to its short answer, `None` where it has none; equal answers are equal strings."""


def said(text: str) -> str | None:
    """Return the answer that a text presents as such: in a box, said to be the answer, or all that there is.

    A text that merely holds a number has none: neither the numbers of a list nor those of a paragraph are answers.
    """
    lone = None if text.lstrip(" *").startswith("A:") else lone_letter(text)  # that "A" is an answer, not an option
    return boxed(text) or said_letter(text) or said_number(text) or lone or lone_number(text)


def auto(text: str) -> str | None:
    """Return the answer that a text presents as such (`said`), or else its last number."""
    return said(text) or number(text)


EXTRACTORS: dict[str, Extractor] = {
    "auto": auto,
    "said": said,
    "number": number,
    "letter": letter,
    "boxed": boxed,
    "literal": literal,
    "text": choice,
}


def _known(value: Any) -> Any:
    if callable(value) or (isinstance(value, str) and value in EXTRACTORS):
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
        one that comes first among the texts. Texts without an answer, or with an empty one, are not in it.

    Raises:
        TypeError: A callable returned something else than a text or `None`.
    """
    find = extractor(extract)
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        answer: Any = find(text)
        if not isinstance(answer, str | None):
            msg = f"extract returned {type(answer).__name__}; return a text, or None where there is no answer"
            raise TypeError(msg)
        if answer:
            places.setdefault(answer, []).append(place)
    return sorted(places.items(), key=lambda item: (-len(item[1]), item[1][0]))
