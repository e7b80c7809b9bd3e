r"""Boxes: what the last `\boxed{...}` of a text holds."""

from __future__ import annotations

import re

from langchain_moa.strategies.extract.letters import lone_letter
from langchain_moa.strategies.extract.numerals import read_number
from langchain_moa.strategies.extract.plain import WRAPPED, plain

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
