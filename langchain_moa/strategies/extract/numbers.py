"""Numbers: which one a text gives as its answer.

A date, a time, a range, or whatever else digits are joined to, is an answer, as it is written, where it is said to be one or
stands alone; it is never "the last number".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_moa.strategies.extract.numerals import numerals
from langchain_moa.strategies.extract.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.strategies.extract.numerals import Numeral

# Where an answer is said: `#### 18`, `A: 18`, `The answer is 18`, `**Answer:** 18`, or under a heading.
_CUE = re.compile(
    r"""
    ^\s*\#{4}|^\s*A:
    |^[\#*\s]*(?i:final\s+)?(?i:answer)[*\s]*$
    |(?i:(?<!wrong\ )(?<!incorrect\ )\banswer)\b[\s*_`"]*
     (?:[:=]|(?P<verb>(?i:is|was|equals|comes\ (?:out\ )?to|(?:would|should|must|will)\ be))(?P<negated>\s+not\b|n't\b)?(?!\w))
    """,
    re.VERBOSE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?](?=[\s\"')*\]]|$)|[\n;]")
_OPERATORS = re.compile(r"[\s+*/×x·÷=()$<>{}-]*")  # noqa: RUF001  # those very signs
_WORD = re.compile(r"[^\W\d_]+")
_NEGATED = re.compile(r"\bnot\s+(?:\w+\s+)?\W*\Z")
_INDEX = re.compile(r"\W*\d+[.)]\s+\W*\w")

# Such words may stand before the number that is the answer; others only if they are few and the sentence has no other number.
_HEDGES = re.compile(
    r"(?:\W|_|\b(?:a|about|almost|an|approx|approximately|around|be|clearly|equals?|exactly|hence|indeed|is|it|just|nearly|now|of"
    r"|only|precisely|roughly|simply|so|that|the|then|therefore|thus|to|total|[b-z])\b)*+",
    re.IGNORECASE,
)
_FEW = 6

# No sentence is longer, in characters, before it comes to its answer.
_REACH = 400


def number(text: str) -> str | None:
    """Return the number that a text gives as its answer: the one said to be it, or the only one, or else the last one."""
    if (found := said_number(text) or lone_number(text)) is not None:
        return found
    return next((each.value for each in reversed(numerals(plain(text))) if each.is_number), None)


def said_number(text: str) -> str | None:
    """Return the number that is last said to be the answer; numbers that are merely mentioned behind it do not count."""
    text = plain(text)
    said = (_said(text, cue) for cue in reversed([*_CUE.finditer(text)]))
    return next((value for value in said if value is not None), None)


def lone_number(text: str) -> str | None:
    """Return the only number of a reply that is one line of a few words, such as `It is 42.`; no index of a list."""
    text = plain(text).strip()
    if "\n" in text or len(_WORD.findall(text)) > _FEW or _INDEX.match(text):
        return None
    equations = _equations(text, numerals(text))
    return equations[0] if len(equations) == 1 else None


def _said(text: str, cue: re.Match[str]) -> str | None:
    """Return the number that the sentence behind a cue says is the answer."""
    first = re.compile(r"\w").search(text, cue.end())
    end = _SENTENCE_END.search(text, first.start() if first else cue.end(), cue.end() + _REACH)
    found = numerals(text, cue.end(), end.start() if end else cue.end() + _REACH)
    before = [cue.end(), *(each.end for each in found)]
    # "not 20 but 18", "isn't 20 but 18"
    denied = 1 if cue["negated"] else 0
    meant = [
        each
        for place, each in enumerate(found)
        if place >= denied and _NEGATED.search(text[before[place] : each.start]) is None
    ]
    if not meant or ("\n" in text[cue.end() : meant[0].start] and _INDEX.match(text, meant[0].start)):
        return None
    words = text[cue.end() : meant[0].start]
    equations = _equations(text, meant)
    if cue["negated"] or _HEDGES.fullmatch(words):
        return equations[0]
    return equations[0] if cue["verb"] and len(_WORD.findall(words)) <= _FEW and len(equations) == 1 else None


def _equations(text: str, found: Sequence[Numeral]) -> list[str | None]:
    """Return what each equation, or number by itself, comes to; `None` for one of several numbers and no result."""
    equations: list[list[list[str]]] = []
    for end, each in zip([None, *(each.end for each in found)], found, strict=False):
        between = None if end is None else text[end : each.start]
        if between is None or _OPERATORS.fullmatch(between) is None:
            equations.append([[]])
        elif "=" in between:
            equations[-1].append([])
        equations[-1][-1].append(each.value)
    return [next((side[0] for side in reversed(sides) if len(side) == 1), None) for sides in equations]
