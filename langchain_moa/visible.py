"""What people are shown holds nothing that they cannot see: it could hide instructions, or turn the order of what they read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# All control and format characters of Unicode but tab, the ends of lines, the joiners, and signs of Arabic and Kaithi numbers,
# which are seen; separators of lines and paragraphs; letters and marks without a shape of their own; variation selectors.
_ALWAYS = (
    "\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)

# These spell words in Persian, in the scripts of India and Mongolia, and make one sign of several in emoji: they are left where
# they can do so. Beside ASCII, or several of them in a row, they only hide something.
_SOMETIMES = (
    "(?<![^\0-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\0-\x7f])|(?<=[\u200c\u200d])[\u200c\u200d]+"
    "|(?<![\u1800-\u18af])[\u180b-\u180d\u180f]"
    "|(?<![^\0-\x7f\ufe0e\ufe0f])(?:(?<![0-9#*])[\ufe0e\ufe0f]|[\ufe0e\ufe0f](?!\u20e3))"
)

_UNSEEN = re.compile(f"[{_ALWAYS}]|{_SOMETIMES}")
_UNSEEN_IN_PIECES = re.compile(f"[{_ALWAYS}\r]")


def spelled_out(text: str) -> str:
    """Return a text in which every character that cannot be seen is spelled out: `[U+202E]`."""
    return replaced(text, lambda character: f"[U+{ord(character):04X}]")


def replaced(text: str, by: Callable[[str], str]) -> str:
    """Return a text in which every character that cannot be seen is replaced.

    Args:
        text: Any text.
        by: From such a character to what is shown in its place.
    """
    return _UNSEEN.sub(lambda match: "".join(map(by, match[0])), text)


def left_out(piece: str) -> str:
    """Return a piece of a text without the characters that cannot be seen, nor any that would steer a terminal.

    What tells whether a joiner has its place may stand in the next piece, so that joiners stay.

    Args:
        piece: As much of a text as is there.
    """
    return _UNSEEN_IN_PIECES.sub("", piece)
