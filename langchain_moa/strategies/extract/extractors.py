"""Extractors by name: boxes, answers that a text states, and counting the extracted answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeAlias

from pydantic import PlainValidator

from langchain_moa.strategies.extract.letters import WRAPPED, letter, lone_letter, plain, said_letter
from langchain_moa.strategies.extract.literals import choice, literal
from langchain_moa.strategies.extract.numbers import lone_number, number, read_number, said_number

_BRACE = re.compile(r"(?P<box>\\f?box(?:ed)?\s*\{)|(?P<one>\\boxed\s+\w)|\\[{}]|[{}]")

# Units after a number: `\text{ eggs}`, `\text{ cm}^2`, `^\circ`, and in words ` eggs`.
_UNIT = re.compile(rf"(?<=\d)(?:\s|\\[ ,;:])*{WRAPPED.pattern}(?:\^\{{?\d\}}?)?\Z|(?<=\d)\s*\^\s*\{{?\s*\\circ\s*\}}?\Z")
_UNIT_IN_WORDS = re.compile(r"(?<=\d)\s+[A-Za-z]{2}[A-Za-z /]*\Z")

_UNKNOWN = re.compile(r"[a-z]=(.+)", re.IGNORECASE)
_SPACE = re.compile(r"\s+|\\[!,;: ]|~|\\q?quad\b|\\(?:left|right)(?![a-zA-Z])")
_FRACTION = re.compile(r"\\[cdt]frac(?![a-zA-Z])")
_SHORT_FRACTION = re.compile(r"\\frac(\d)(\d)")


def boxed(text: str) -> str | None:
    r"""Return the content of the last complete `\boxed{...}`. Numbers and options are normalized.

    Units, currencies, spaces and commands that only change the font are removed: `\boxed{18\text{ eggs}}` is `18`,
    `\boxed{\text{(B)}}` is `B`, `\boxed{\dfrac{\pi}{2}}` is `\frac{\pi}{2}`. Decimal commas are not supported here: `1,2` is
    two numbers.
    """
    content = _last(text)
    return None if content is None else _short(content)


def _last(text: str) -> str | None:
    """Return the content of the last complete box; truncated boxes do not count."""
    last, content = -1, None
    opened: list[tuple[int, bool]] = []
    for match in _BRACE.finditer(text):
        if match["box"] or match[0] == "{":
            opened.append((match.end(), match["box"] is not None))
        elif match["one"]:
            last, content = match.end(), match[0][-1]
        elif match[0] == "}" and opened:
            begin, is_box = opened.pop()
            if is_box and begin > last:
                last, content = begin, text[begin : match.start()]
    return content


def _short(content: str) -> str | None:
    content = content.strip(" $\n")
    if (value := _number(content)) is not None:
        return value
    # A single lowercase letter is a variable, not an option.
    if len(content) > 1 and (option := lone_letter(content)) is not None:
        return option
    whole = _SPACE.sub("", WRAPPED.sub(r"\1", content).replace("\\$", "").replace("$", "").replace("{,}", ","))
    return _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", _FRACTION.sub(r"\\frac", whole)).rstrip(".,") or None


def _number(content: str) -> str | None:
    bare = _UNIT_IN_WORDS.sub("", " ".join(plain(_UNIT.sub("", content)).split()).strip(" .,{}"))
    equation = _UNKNOWN.fullmatch(bare.replace(" ", ""))
    bare = equation[1] if equation else bare
    if bare.startswith("(") and bare.endswith(")") and "," not in bare:
        bare = bare[1:-1]
    return read_number(bare, decimal_comma=False)


Extractor: TypeAlias = Callable[[str], str | None]
"""A function that returns a text's short answer, or `None` if it has none. Equal answers are equal strings."""


def said(text: str) -> str | None:
    """Return the answer that a text presents as its answer: in a box, in words, or as the whole text.

    Other numbers in a text, such as those of a list or a paragraph, are not answers.
    """
    lone = None if text.lstrip(" *").startswith("A:") else lone_letter(text)  # this "A" means "answer"; it is not an option
    return boxed(text) or said_letter(text) or said_number(text) or lone or lone_number(text)


def auto(text: str) -> str | None:
    """Return the answer that a text presents as its answer (`said`), otherwise its last number."""
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
    msg = (
        f"unknown extractor {value!r}; choose one of: {', '.join(EXTRACTORS)}, or give a callable from a text to a text or None"
    )
    raise ValueError(msg)


Extract: TypeAlias = Annotated[str | Extractor, PlainValidator(_known)]
"""An extractor, or the name of one."""


def extractor(value: Extract) -> Extractor:
    """Return the extractor with a name; a callable is returned unchanged."""
    return EXTRACTORS[value] if isinstance(value, str) else value


def tally(texts: Iterable[str], extract: Extract) -> list[tuple[str, list[int]]]:
    """Count the texts' short answers.

    Args:
        texts: The texts.
        extract: The extractor.

    Returns:
        Each answer with the indices of the texts that have it, sorted by frequency, then by the first index. Texts without an
        answer, or with an empty one, are left out.

    Raises:
        TypeError: A callable returned something other than a string or `None`.
    """
    find = extractor(extract)
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        answer: Any = find(text)
        if not isinstance(answer, str | None):
            msg = f"extract returned {type(answer).__name__}; return a string, or None if there is no answer"
            raise TypeError(msg)
        if answer:
            places.setdefault(answer, []).append(place)
    return sorted(places.items(), key=lambda item: (-len(item[1]), item[1][0]))
