"""Text in a drawing: made safe, measured, and fitted into a width."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate
from typing import TYPE_CHECKING

from langchain_moa.visible import replaced

if TYPE_CHECKING:
    from collections.abc import Sequence

ELLIPSIS = "…"

_REPLACEMENT = "\ufffd"

# What XML 1.0 forbids in any form.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Advance widths, in hundredths of the font size: those of Roboto and 3 per cent more, which is about what Inter, Segoe UI and
# San Francisco have.
_ADVANCES: dict[str, int] = {
    **dict.fromkeys("'", 18),
    **dict.fromkeys(",;", 21),
    **dict.fromkeys("ijl|: ", 25),
    **dict.fromkeys("!.[]I-", 28),
    **dict.fromkeys('`"t', 33),
    **dict.fromkeys("(){}rf", 35),
    **dict.fromkeys("/\\^*_", 44),
    **dict.fromkeys("?yv", 49),
    **dict.fromkeys("xzkcs<>", 53),
    **dict.fromkeys("ehnuaJFL=", 56),
    **dict.fromkeys("bdgopq0123456789$Eq+", 58),
    **dict.fromkeys("STYZ", 62),
    **dict.fromkeys("R&B#KPX", 64),
    **dict.fromkeys("ACDGUV~", 68),
    **dict.fromkeys("HNOQ…", 72),
    **dict.fromkeys("w%", 77),
    **dict.fromkeys("mMW@", 91),
}
_ADVANCE = 57  # of any other letter
_WIDE_ADVANCE = 100  # of an ideograph or an emoji
_WIDEST_ADVANCE = 120  # of anything in any font
_BOLD = 1.04  # how much wider the bold letters are

# Where a name may be broken: after a character that separates its parts.
_BREAK = re.compile(r"(?<=[:/@ ])|(?<=[-_.])(?=\w)")
_LONGEST = 120
_PART = re.compile(r"[^-_.:/@ ]+")
_MAJOR = (":", "/", "@", " ")
_SEPARATORS = " -_.:/@"
_SHARE = 0.6  # of what could be kept, if whole parts of a name are to be kept alone


def clean(text: object) -> str:
    """Return `text` on one line, without characters that XML forbids or that cannot be seen."""
    visible = replaced(str(text), lambda _: _REPLACEMENT)
    return " ".join(_ILLEGAL.sub(_REPLACEMENT, visible).split())


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return about how wide `text` is.

    Args:
        text: One line of text.
        size: The font size in pixels.
        bold: Whether the text is set in bold.

    Returns:
        The width in pixels.
    """
    return sum(map(_advance, text)) * size * (_BOLD if bold else 1.0) / 100


def set_length(text: str, size: float, room: float, *, bold: bool = False) -> float | None:
    """Return the length to which a reader's own font is to be set, so that the text fits whatever that font is.

    Args:
        text: One line of text.
        size: The font size in pixels.
        room: The width in pixels that it may take.
        bold: Whether the text is set in bold.

    Returns:
        The width in pixels that the text has been given; `None` for a script whose letters are not known here, which is better
        left as its font has it, as long as it must fit.
    """
    is_known = all(character in _ADVANCES or _is_wide(character) for character in text)
    if not is_known and len(text) * size * _WIDEST_ADVANCE / 100 <= room:
        return None
    return min(width(text, size, bold=bold), room)


def elide(text: str, size: float, limit: float, *, bold: bool = False) -> str:
    """Return `text`, with its middle left out where it is too wide.

    The middle, since the ends are what tells model ids apart: the provider stands first, the size and the version last.

    Args:
        text: One line of text.
        size: The font size in pixels.
        limit: The width in pixels that it may take.
        bold: Whether the text is set in bold.
    """
    if width(text, size, bold=bold) <= limit:
        return text
    # No line of a drawing holds this much, and what follows looks at every pair of parts.
    text = _ends(text, min(len(text), _LONGEST))
    upto = list(accumulate((width(character, size, bold=bold) for character in text), initial=0.0))
    surplus = upto[-1] + width(ELLIPSIS, size, bold=bold) - limit
    cuts = sorted({cut for match in _PART.finditer(text) for cut in match.span()} - {0, len(text)})
    pairs = [(start, end) for start in cuts for end in cuts if start < end and upto[end] - upto[start] >= surplus]
    # As much as can be kept, and of that as much at the one end as at the other.
    start, end = max(pairs, key=lambda pair: (pair[0] - pair[1], -abs(sum(pair) - len(text))), default=(0, len(text)))
    kept = next((kept for kept in range(len(text), 0, -1) if _gap(upto, kept) >= surplus), 0)
    if start + len(text) - end < _SHARE * kept:
        start, end = (kept + 1) // 2, len(text) - kept // 2
    return text[:start].rstrip(_SEPARATORS) + ELLIPSIS + text[end:].lstrip(_SEPARATORS)


def _gap(upto: Sequence[float], kept: int) -> float:
    """Return how wide the middle is of which `kept` characters stand at the two ends."""
    return upto[len(upto) - 1 - kept // 2] - upto[(kept + 1) // 2]


def _ends(text: str, kept: int) -> str:
    """Return the first and the last characters of a text, `kept` of them in all."""
    return text[: (kept + 1) // 2] + text[len(text) - kept // 2 :]


def wrap(text: str, size: float, limit: float, *, bold: bool = False) -> tuple[str, ...]:
    """Return `text` on one line, or on two, broken between the parts of a name.

    Args:
        text: One line of text.
        size: The font size in pixels.
        limit: The width in pixels that a line may take; what is too long for two lines loses its middle.
        bold: Whether the text is set in bold.
    """
    if width(text, size, bold=bold) <= limit:
        return (text,)
    text = _ends(text, min(len(text), _LONGEST))
    heads = [text[: match.start()] for match in _BREAK.finditer(text) if 0 < match.start() < len(text)]
    fitting = [head for head in heads if width(head, size, bold=bold) <= limit]
    if not fitting:
        return (elide(text, size, limit, bold=bold),)
    # A break after the provider or the owner reads best, if the rest then fits, and then the one that halves the text best;
    # if no rest fits, as much as fits on the first line.
    rests = {head: width(text[len(head) :], size, bold=bold) for head in fitting}
    whole = [head for head in fitting if rests[head] <= limit]
    major = [head for head in whole if head.endswith(_MAJOR)]
    head = min(major or whole or fitting[-1:], key=lambda head: max(rests[head], width(head, size, bold=bold)))
    return head.rstrip(), elide(text[len(head) :].lstrip(), size, limit, bold=bold)


def _advance(character: str) -> int:
    if character in _ADVANCES:
        return _ADVANCES[character]
    if unicodedata.combining(character):
        return 0
    return _WIDE_ADVANCE if _is_wide(character) else _ADVANCE


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in {"W", "F"}
