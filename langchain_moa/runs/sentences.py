"""Split Markdown into sentences."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_moa.runs.page import LONGEST, is_simple, parsed
from langchain_moa.strategies.similarity import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from markdown_it.token import Token

# The end of a sentence, in scripts with and without spaces between sentences.
_END = re.compile("(?<=[.!?\u2026\u0964])[\"'\u201d\u2019\u00bb)\\]]*\\s+|(?<=[\u3002\uff01\uff1f])")

# Abbreviations that never end a sentence: titles, words before a number or an example.
_ALWAYS = re.compile(
    r"(?:^|[\s(\[\"'\u201c\u2018])"
    r"(?:Dr|Mrs?|Ms|Prof|St|Gen|Sen|Rep|Gov|Lt|Col|Capt|Sgt|Rev|Figs?|Eqs?|Nos?|Nr|Vol|Ch|Sec|Art|p{1,2}|vs|cf|ca|approx|bzw|resp"
    r"|e\.\s?g|i\.\s?e|z\.\s?B|d\.\s?h)\.$"
)
# An initial after another name, or before another initial.
_INITIAL = re.compile(r"(?:^|\b[A-Z][\w\u2019'-]*\s|\b[A-Z]\.\s)[A-Z]\.$")
_INITIALS = re.compile(r"[A-Z]\. [A-Z]\.\s")
# Abbreviations that may end a sentence, depending on the next word.
_AT_TIMES = re.compile(
    r"(?:(?:\w\.\s?)+\w|\b(?:etc|al|Inc|Ltd|Co|Corp|Jr|Sr|usw))\.$|(?:\.\.\.|\u2026)$|[\"'\u201d\u2019\u00bb)\]]$"
)


_LONGEST_ENDING = 60


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text in order, without Markdown markup.

    Headings, list items and lines end a sentence, and each row of a table is one. Code, and parts without a word, are left out.

    Args:
        text: The text, as Markdown.
    """
    lines = _lines(parsed(text)) if is_simple(text) else iter(text[:LONGEST].splitlines())
    return [sentence for line in lines for sentence in _split(line) if words(sentence)]


def _lines(tokens: Sequence[Token]) -> Iterator[str | tuple[str, ...]]:
    """Yield the lines of a text without markup, and the rows of its tables."""
    row: list[str] | None = None
    for token in tokens:
        if token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and row is not None:
            yield tuple(row)
            row = None
        elif token.type == "inline":
            said = _said(token.children or ())
            if row is None:
                yield from said.splitlines()
            else:
                row.append(said)


def _said(tokens: Iterable[Token]) -> str:
    """Return the text of inline Markdown."""
    breaks = {"softbreak": "\n", "hardbreak": "\n"}
    return "".join(breaks.get(token.type, token.content) for token in tokens)


def _split(line: str | tuple[str, ...]) -> Iterator[str]:
    if isinstance(line, tuple):
        yield " | ".join(filter(None, line))
        return
    held = ""
    begin = 0
    for end in [*(match.span() for match in _END.finditer(line)), (len(line), len(line))]:
        # Closing quotes and brackets belong to the sentence before them.
        piece = line[begin : end[1]].strip()
        begin = end[1]
        held = f"{held} {piece}".strip()
        if not _goes_on(held, line[begin:]):
            yield held
            held = ""


def _goes_on(said: str, following: str) -> bool:
    if not following:
        return False
    # Only the last words matter. Without a limit, the time for a long text of abbreviations would be quadratic.
    said = said[-_LONGEST_ENDING:]
    return (
        _ALWAYS.search(said) is not None
        or _INITIAL.search(said) is not None
        or _INITIALS.match(f"{said[-2:]} {following[:3]}") is not None
        or (following[0].islower() and _AT_TIMES.search(said) is not None)
    )
