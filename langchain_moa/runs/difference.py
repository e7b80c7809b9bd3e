"""What an answer has taken from a reference, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["same", "gone", "new", "note"]

# Comparing takes time that grows with the square of the pieces.
_MOST_PIECES = 2_000


class Piece(NamedTuple):
    """A piece of two texts.

    Attributes:
        kind: `same` in both, `gone` from the reference, `new` in the answer; `note`: what is to be said of the comparison.
        text: The piece, or the note.
    """

    kind: Kind
    text: str


def difference(reference: str, answer: str) -> list[Piece]:
    """Return a reference and an answer as one text: what they share, what only one of them has.

    Args:
        reference: What a proposer said.
        answer: What was made of it.

    Returns:
        The pieces in order: words and the space behind them; lines where a text is too long for that. Of even longer ones the
        first lines, and a note that says so.
    """
    old, new = (re.findall(r"\A\s+|\S+\s*", text) for text in (reference, answer))
    if max(len(old), len(new)) > _MOST_PIECES:
        old, new = reference.splitlines(keepends=True), answer.splitlines(keepends=True)
    is_cut = max(len(old), len(new)) > _MOST_PIECES
    old, new = old[:_MOST_PIECES], new[:_MOST_PIECES]
    pieces: list[Piece] = []
    # The space around a word is not what anyone compares. Words that stand everywhere in a long text begin no match, though
    # they join one: without that, a text of nothing else would take minutes.
    matcher = SequenceMatcher(None, [word.strip() for word in old], [word.strip() for word in new], autojunk=True)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(new[c:d])))
            continue
        pieces += _apart("gone", "".join(old[a:b]))
        pieces += _apart("new", "".join(new[c:d]))
    if is_cut:
        pieces.append(Piece("note", f"Only the first {_MOST_PIECES:,} lines of each are compared."))
    return pieces


def _apart(kind: Kind, text: str) -> list[Piece]:
    """Return a piece and the space behind it, which is not marked."""
    said = text.rstrip()
    return [Piece(kind, said), Piece("same", text[len(said) :])] if said else []
