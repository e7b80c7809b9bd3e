"""Text in a drawing: sanitized, measured without a font, and fitted into a width."""

from __future__ import annotations

import re
import unicodedata

from langchain_moa.data.sanitizing import replaced

ELLIPSIS = "…"

_REPLACEMENT = "\ufffd"
_MOST_MARKS = 4  # combining marks per letter; no script needs more
_LONGEST = 160  # in characters; no place in a drawing has room for more

# Characters that XML 1.0 does not allow.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Parts of a name, each with its separator, after which a line may break.
_BEST = ":/@ "
_PIECE = re.compile(r"[^-_.:/@ ]*[-_.:/@ ]*")

# Advance widths in hundredths of the font size: those of Roboto plus 3%, which are about those of Inter, Segoe UI and San
# Francisco.
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
_WIDEST_ADVANCE = 120  # an upper bound for any letter in any font
_BOLD = 1.04  # the factor for bold text


def clean(text: object) -> str:
    """Return a text on one line, without invisible characters and those that XML does not allow."""
    visible = _ILLEGAL.sub(_REPLACEMENT, replaced(str(text), lambda _: _REPLACEMENT))
    kept, marks = [], 0
    for character in visible:
        # Many combining marks on one letter would cover the lines above and below.
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return " ".join("".join(kept).split())


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the approximate width of a line of text in pixels.

    Args:
        text: The line.
        size: The font size in pixels.
        bold: Whether the text is bold.
    """
    return sum(map(_advance, text)) * size * (_BOLD if bold else 1.0) / 100


def set_length(text: str, size: float, room: float, *, bold: bool = False) -> float | None:
    """Return the `textLength` with which a line fits into a width in any font.

    Args:
        text: The line.
        size: The font size in pixels.
        room: The available width in pixels.
        bold: Whether the text is bold.

    Returns:
        The length in pixels, or `None` if the widths of its letters are unknown and the line fits in any font.
    """
    is_known = all(character in _ADVANCES or _is_wide(character) for character in text)
    if not is_known and len(text) * size * _WIDEST_ADVANCE / 100 <= room:
        return None
    return min(width(text, size, bold=bold), room)


def elide(text: str, size: float, limit: float, *, bold: bool = False) -> str:
    """Shorten a line of text in the middle if it is too wide: model ids differ at their ends.

    Args:
        text: The line.
        size: The font size in pixels.
        limit: The maximum width in pixels.
        bold: Whether the text is bold.
    """
    kept, shown = min(len(text), _LONGEST), text
    while kept and (len(shown) > _LONGEST or width(shown, size, bold=bold) > limit):
        kept -= 1
        shown = text[: (kept + 1) // 2].rstrip() + ELLIPSIS + text[len(text) - kept // 2 :].lstrip()
    return shown


def wrap(text: str, size: float, limit: float, *, lines: int = 2, bold: bool = False) -> tuple[str, ...]:
    """Wrap a text to as few lines as possible, preferably between the parts of a name.

    Args:
        text: The text.
        size: The font size in pixels.
        limit: The maximum width of a line in pixels.
        lines: The maximum number of lines. The last one is shortened if the text is too long.
        bold: Whether the text is bold.
    """
    found: list[str] = []
    # Limit the length, because the loop below is quadratic; no drawing has room for more.
    half = lines * _LONGEST // 2
    rest = text if len(text) <= 2 * half else text[:half] + ELLIPSIS + text[-half:]
    while len(found) < lines - 1 and width(rest, size, bold=bold) > limit:
        end = _end_of_line(rest, size, limit, bold=bold)
        found.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return (*found, elide(rest, size, limit, bold=bold))


def _end_of_line(text: str, size: float, limit: float, *, bold: bool) -> int:
    """Return the number of characters for the first line of a text that is too wide, at least one."""
    fitting = 1
    while fitting < len(text) and width(text[: fitting + 1], size, bold=bold) <= limit:
        fitting += 1
    ends = [piece.end() for piece in _PIECE.finditer(text[: fitting + 1]) if 0 < piece.end() <= fitting]
    rests = {end: width(text[end:], size, bold=bold) for end in ends}
    whole = [end for end in ends if rests[end] <= limit]
    if not whole:
        return (ends or [fitting])[-1]
    # Prefer a break after the provider or the owner, and lines of similar width.
    best = [end for end in whole if text[end - 1] in _BEST]
    return min(best or whole, key=lambda end: max(rests[end], width(text[:end], size, bold=bold)))


def _advance(character: str) -> int:
    if character in _ADVANCES:
        return _ADVANCES[character]
    if unicodedata.combining(character):
        return 0
    return _WIDE_ADVANCE if _is_wide(character) else _ADVANCE


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in {"W", "F"}
