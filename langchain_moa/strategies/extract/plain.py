r"""Plain characters: what LaTeX and other scripts write in several ways, written in one.

`\dfrac{1}{2}` and `½` become `1/2`, `\$1{,}234` becomes `$1234`, and the digits of every script those of ASCII.
"""

from __future__ import annotations

import re
import unicodedata

_WRAPPER = r"\\(?:text(?:bf|it|rm)?|math(?:bf|it|rm)|mbox|operatorname)"

WRAPPED = re.compile(rf"{_WRAPPER}\s*\{{([^{{}}]*)\}}")
r"""A LaTeX command that only sets what it holds in another type: `\text{...}`."""

_FRACTION = r"\\[cdt]?frac\s*(?:\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d)\s*(\d))"

_LATEX = [
    # Behind a digit it is the rest of a mixed number.
    (re.compile(rf"(?<=\d)\s*{_FRACTION}"), r" \1\3/\2\4"),
    (re.compile(_FRACTION), r"\1\3/\2\4"),
    # Braces around a comma say that it belongs to a number: it groups by three, or it is a decimal comma.
    (re.compile(r"(?<=\d)\{,\}(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), "."),
    (re.compile(r"(?<=\d)(?:\\[,;: ]|~)(?=\d{3})"), "\u2009"),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),  # noqa: RUF001  # that very sign
    (WRAPPED, r"\1"),
    (re.compile(r"\\(?:f?box(?:ed)?|left|right|q?quad)(?![a-zA-Z])|\\[()\[\]]"), " "),
]

_WIDE = re.compile(r"\s{3,}")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_SUPERSCRIPT = re.compile("(?<=10)([⁺⁻]?[⁰¹²³⁴-⁹]+)")


def plain(text: str) -> str:
    """Return a text with its numbers and their signs as ASCII writes them, and without the LaTeX around them."""
    if not text.isascii():
        text = _VULGAR.sub(_vulgar, text)
        text = _SUPERSCRIPT.sub(lambda match: "^" + unicodedata.normalize("NFKC", match[1]), text)
        text = "".join(map(_ascii, text))
    if "\\" in text or "{,}" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return _WIDE.sub(lambda match: "\n\n" if "\n" in match[0] else "  ", text)


def _vulgar(match: re.Match[str]) -> str:
    before = match.string[: match.start()][-1:]
    fraction = unicodedata.normalize("NFKC", match[0]).replace("\u2044", "/")
    return f" {fraction}" if before.isdecimal() else fraction


def _ascii(character: str) -> str:
    if character in "\u2212\uff0d":
        return "-"
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)
