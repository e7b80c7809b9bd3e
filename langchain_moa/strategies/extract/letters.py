r"""Normalizing LaTeX and Unicode to plain characters, and extracting the letters of options.

`\dfrac{1}{2}` and `½` become `1/2`, `\$1{,}234` becomes `$1234`, and digits of all scripts become ASCII digits.
"""

from __future__ import annotations

import re
import unicodedata

_WRAPPER = r"\\(?:text(?:bf|it|rm)?|math(?:bf|it|rm)|mbox|operatorname)"

WRAPPED = re.compile(rf"{_WRAPPER}\s*\{{([^{{}}]*)\}}")
r"""A LaTeX command that only changes the font of its argument, such as `\text{...}`."""

_FRACTION = r"\\[cdt]?frac\s*(?:\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d)\s*(\d))"

_LATEX = [
    # After a digit, a fraction is part of a mixed number.
    (re.compile(rf"(?<=\d)\s*{_FRACTION}"), r" \1\3/\2\4"),
    (re.compile(_FRACTION), r"\1\3/\2\4"),
    # A comma in braces belongs to a number, as a thousands separator or a decimal comma.
    (re.compile(r"(?<=\d)\{,\}(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), "."),
    (re.compile(r"(?<=\d)(?:\\[,;: ]|~)(?=\d{3})"), "\u2009"),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),  # noqa: RUF001  # the multiplication sign is meant
    (WRAPPED, r"\1"),
    (re.compile(r"\\(?:f?box(?:ed)?|left|right|q?quad)(?![a-zA-Z])|\\[()\[\]]"), " "),
]

_WIDE = re.compile(r"\s{3,}")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_SUPERSCRIPT = re.compile("(?<=10)([⁺⁻]?[⁰¹²³⁴-⁹]+)")


def plain(text: str) -> str:
    """Return a text with ASCII digits and signs, and without LaTeX around its numbers."""
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


# Bounded, so that a long row of such signs does not take quadratic time.
_BEFORE = r"[\s*_`\"'\u201c\u2018$<{:]{0,40}+"

# A capital that is a word, or begins one, is not an option: "A man", "I think", "It's", "B2", "C++", "E=mc^2", "D's".
_WORD = r"[\w'\u2019+#=&^-]|(?<=[AI])\s++(?!(?:although|and|as|because|but|for|is|not|since|though|while|with)\b)[a-z0-9]"

# Nor is a capital in an enumeration: "A and B", "A, B or C".
_SEVERAL = r"(?:\s*,\s*\(?[A-J]\b\)?){0,9}\s*,?\s*(?:and|&|or)\s+\(?[A-J]\b"

# A letter in brackets in either case, or a capital without brackets. One of the two groups matches the letter.
_OPTION = rf"{_BEFORE}(?:[(\[<{{]\s*([A-Ja-j])\s*[)\]>}}]|([A-J])(?!{_WORD}))(?!{_SEVERAL})"

_FILLERS = (
    r"(?:[\s*_:]++(?:answer|choice|clearly|definitely|indeed|just|letter|likely|most|now|option|probably|simply|the|then"
    r"|therefore|thus)\b){0,12}"
)

_CHOOSE = r"(?:choose|chose|select(?:ed)?|pick(?:ed)?|(?:go|going|went) with|opt for|settle on|vote for)"
_BE = r"(?:is|was|(?:would|should|must|will|has to) be)"

_SAID_TO_BE = (
    rf"(?i:(?<!wrong )(?<!incorrect )(?<!worst )\b(?:answer|choice|option|solution)\b[\s*_]*+"
    rf"(?:{_BE}\b|[:=]|(?=\()|(?<=\n)){_FILLERS}){_OPTION}"
)
# A lowercase letter at the end of a line is not a word.
_SMALL = r"(?im:\banswer\b[\s*_]*+(?:is\s*)?:[\s*_]*+([a-j])()[\s.*_]*+$)"
_CHOSEN = rf"(?i:\b{_CHOOSE}\b{_FILLERS}){_OPTION}"
_MUST_BE = rf"(?i:\b(?:must|has to|have to|should) be\b{_FILLERS}){_OPTION}"
_RIGHT = (
    rf"(?i:\b(?:option|choice|answer|and|because|believe|so|that|therefore|think|thus)\b|(?m:^)|[.!?;,:(]){_OPTION}[).:*]*+"
    r"\s++(?i:(?:is|looks|must be|seems|would be)\s++"
    r"(?:(?:a|clearly|definitely|indeed|most|likely|obviously|only|probably|the)\s++){0,12}(?:answer|best|correct|right|true)\b)"
)
_CONCLUDED = (
    rf"(?i:\b(?:consequently|hence|so|therefore|thus)\b[\s,:]*+(?:(?:it|that|this)(?:['\u2019]s|\s+is)\b)?{_FILLERS}){_OPTION}"
    r"[*_\"']*+\s*(?:[.!,;\n]|\Z)"
)
_NOT_BUT = rf"(?i:\bnot{_FILLERS})\s*\(?[A-J]\b\)?[\s,]*+(?i:but(?:\s+(?:rather|instead))?{_FILLERS}){_OPTION}"

_ASSERTIONS = {
    "The answer is (B); Answer: B; the best choice would be C": _SAID_TO_BE,
    "Answer: b": _SMALL,
    "I choose C; I'd go with (B)": _CHOSEN,
    "So it must be C": _MUST_BE,
    "I think option C is right; B) is the correct answer; but not: vitamin C is right": _RIGHT,
    "Therefore B.; it cannot be A, so it's B": _CONCLUDED,
    "not A but B": _NOT_BUT,
}
_PATTERNS = [re.compile(pattern) for pattern in _ASSERTIONS.values()]

# Before an option: "I would not choose A".
_REFUSED = re.compile(r"(?i)(?:\b(?:not|never|cannot|neither)|n['\u2019]t)(?:\s+\w+)?\s*\Z")

# After an option: "A) is wrong", "option B is also plausible".
_DENIED = re.compile(
    r"(?i)[)\].:*\s]*+(?:(?:is|are|was|looks|seems|sounds)\s+(?:\w+\s+)?(?:also|false|incorrect|never|not|out|wrong)\b"
    r"|(?:is|was)n['\u2019]t\b|can(?:not|['\u2019]t)\b)"
)

_WHOLE = re.compile(r"\W*+(?:(?i:option|answer|choice)\W++)?([A-Ja-j])[\s.,:;!?)\]}>*_`\"'\u201d\u2019$]*+")

# "B) Paris", "(b) Paris", "B. Paris", "B: Paris", "B" on a line of its own; but not "A: 18", nor "I. Introduction".
_IN_FRONT = re.compile(r"[\s*_`\"'#]*+(?:\(([A-Ja-j])\)|(?!I\.)([A-J])(?:[).]|:(?=[\s*]*+[^\W\d])|(?=[*_`]*+\n)))[\s*_`]++\w")
_LABEL = re.compile(r"(?<!\w)([A-J])[).:]\s")


def letter(text: str) -> str | None:
    """Return the option that a text gives as its answer: the last one that it states as the answer, or its only label."""
    return said_letter(text) or lone_letter(text)


def said_letter(text: str) -> str | None:
    """Return the last option that a text states as the answer; options that it rejects or only mentions do not count."""
    text = plain(text)
    said = [
        (match.span(1 if match[1] else 2), match[1] or match[2])
        for pattern in _PATTERNS
        for match in pattern.finditer(text)
        if _REFUSED.search(text[max(0, match.start() - 32) : match.start()]) is None and not _DENIED.match(text, match.end())
    ]
    return max(said)[1].upper() if said else None


def lone_letter(text: str) -> str | None:
    """Return the option that is the whole text, or the label that a text begins with if it has no other labels."""
    text = plain(text).strip()
    if (whole := _WHOLE.fullmatch(text)) is not None:
        return whole[1].upper()
    front = _IN_FRONT.match(text)
    if front is None or _DENIED.match(text, front.end() - 1) is not None:
        return None
    option = (front[1] or front[2]).upper()
    return option if {*_LABEL.findall(text)} <= {option} else None
