r"""Boxes: what the last `\boxed{...}` of a text holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeAlias

from pydantic import PlainValidator

from langchain_moa.strategies.extract.letters import WRAPPED, letter, lone_letter, plain, said_letter
from langchain_moa.strategies.extract.numbers import lone_number, number, read_number, said_number

_BRACE = re.compile(r"(?P<box>\\f?box(?:ed)?\s*\{)|(?P<one>\\boxed\s+\w)|\\[{}]|[{}]")

# Behind a number: `\text{ eggs}`, `\text{ cm}^2`, `^\circ`, and in words ` eggs`.
_UNIT = re.compile(rf"(?<=\d)(?:\s|\\[ ,;:])*{WRAPPED.pattern}(?:\^\{{?\d\}}?)?\Z|(?<=\d)\s*\^\s*\{{?\s*\\circ\s*\}}?\Z")
_UNIT_IN_WORDS = re.compile(r"(?<=\d)\s+[A-Za-z]{2}[A-Za-z /]*\Z")

_UNKNOWN = re.compile(r"[a-z]=(.+)", re.IGNORECASE)
_SPACE = re.compile(r"\s+|\\[!,;: ]|~|\\q?quad\b|\\(?:left|right)(?![a-zA-Z])")
_FRACTION = re.compile(r"\\[cdt]frac(?![a-zA-Z])")
_SHORT_FRACTION = re.compile(r"\\frac(\d)(\d)")


def boxed(text: str) -> str | None:
    r"""Return what the last complete `\boxed{...}` holds: a number or an option in its one form, or else as it is written.

    Units and currencies, spaces, and commands that only set a text in another type are left out: `\boxed{18\text{ eggs}}` is
    `18`, `\boxed{\text{(B)}}` is `B`, `\boxed{\dfrac{\pi}{2}}` is `\frac{\pi}{2}`. A comma is no decimal comma here: `1,2`
    are two numbers.
    """
    content = _last(text)
    return None if content is None else _short(content)


def _last(text: str) -> str | None:
    """Return the content of the last box that is complete; one that has been cut off before its end does not count."""
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
    # A small letter by itself is an unknown.
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


EXTRACTORS: dict[str, Extractor] = {"auto": auto, "said": said, "number": number, "letter": letter, "boxed": boxed}


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
