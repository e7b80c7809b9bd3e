"""Parsing numbers in texts and normalizing them, so that equal numbers are equal strings.

Supported are thousands separators (commas, apostrophes or spaces between groups of three digits), decimal points, decimal
commas that cannot be thousands separators (`3,5`, `0,125`, `1.234,50`; but `1,234` is more than a thousand), `1e5`,
`1.2 x 10^3` and `5 million`, `3/4` and `2 1/2`, and a sign and a currency in either order. `$1,800.00` and `1.8e3` become
`1800`, `1/2` becomes `0.5`, and `2/6` becomes `1/3`. A percentage keeps its sign, `50%`, and differs from the plain number.
Units are removed.

Digits that are joined by other marks are a single item and are not changed: dates, times, ranges, ratios, lists and versions.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from langchain_moa.strategies.extract.letters import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = " \u00a0\u2009\u202f"

_FOUND = re.compile(
    rf"""
    (?:(?<![\w.)\]%}}])(?P<sign>-))?
    (?:[$€£¥₹]\s?(?P<inner>-)?|(?<![\w.^]))
    (?P<body>
        [1-9]\d{{0,2}}(?P<gap>[{_GAP}])\d{{3}}(?:(?P=gap)\d{{3}})*(?:[.,]\d+)?(?!(?:[.,:/'\u2019_-]|(?P=gap))?\d)
        |\d+\ \d+/\d+(?![/\d])
        |\d+(?:[.,:/'\u2019_-]\d+)*
        |\.\d+
    )
    (?:(?:[eE]|\s?[x×*·]\s?10\^)[{{(]?(?P<exponent>[+-]?\d+)(?!\w)[)}}]?|\^[{{(]?(?P<power>-?\w+)[)}}]?)?
    (?:\s(?P<scale>(?i:thousand|million|billion|trillion))\b)?
    (?P<percent>\s?(?:%|(?i:percent|per\ cent)\b))?
    (?P<half>\s?(?i:[ap]\.?m\b))?
    """,  # noqa: RUF001  # these characters are meant
    re.VERBOSE,
)

_PLAIN = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_GROUPED = re.compile(rf"[1-9]\d{{0,2}}(?:,\d{{3}})+(?:\.\d+)?|[1-9]\d{{0,2}}(['\u2019{_GAP}])\d{{3}}(?:\1\d{{3}})*(?:\.\d+)?")
_WITH_COMMA = re.compile(
    r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|\d{1,3}(?:\.\d{3})+,\d+|\d+,\d+"
    rf"|[1-9]\d{{0,2}}(['\u2019{_GAP}])\d{{3}}(?:\1\d{{3}})*,\d+"
)
_FRACTION = re.compile(r"(?:(\d+) )?(\d+)/(\d+)")
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_COMMAND = re.compile(r"\\[a-zA-Z]+")  # 2\pi
_TIME = re.compile(r"0?(\d{1,2}:[0-5]\d(?::[0-5]\d)?)")

# Longer numbers are not answers, and Python does not convert much longer ones.
_MOST_DIGITS = 300


class Numeral(NamedTuple):
    """A number in a text, or another item that contains digits, such as a date.

    Attributes:
        start: The index of its first character.
        end: The index after its last character.
        value: The normalized number; the unchanged text of any other item.
        is_number: Whether it is a number.
    """

    start: int
    end: int
    value: str
    is_number: bool


def numerals(text: str, begin: int = 0, end: int | None = None) -> list[Numeral]:
    """Return the numbers and the other items that contain digits in a text, in order.

    Args:
        text: The text, in plain characters.
        begin: The index at which to begin. Default: 0.
        end: The index at which to end. Default: the end of the text.
    """
    return [_read(match) for match in _FOUND.finditer(text, begin, len(text) if end is None else end)]


def read_number(text: str, *, decimal_comma: bool = True) -> str | None:
    """Return the normalized number if a text is a single number, otherwise `None`.

    Args:
        text: The text, in plain characters.
        decimal_comma: Whether `3,5` is a number; in mathematics, it is two numbers. Default: `True`.
    """
    match = _FOUND.fullmatch(text.strip())
    if match is None or match["half"]:
        return None
    found = _read(match)
    is_several = not decimal_comma and "," in match["body"] and _GROUPED.fullmatch(match["body"]) is None
    return found.value if found.is_number and not is_several else None


def _read(match: re.Match[str]) -> Numeral:
    factor = _COMMAND.match(match.string, match.end())
    value = None if factor else _value(match["body"], match["exponent"], match["power"])
    if value is None:
        time = _TIME.fullmatch(match["body"])
        half = (match["half"] or "").strip().lower().replace(".", "")
        itself = f"{time[1]}{half}" if time else match[0].strip() + (factor[0] if factor else "")
        return Numeral(match.start(), match.end(), itself, is_number=False)
    if match["scale"]:
        value *= 10 ** _SCALES[match["scale"].lower()]
    if bool(match["sign"]) != bool(match["inner"]):
        value = -value
    return Numeral(match.start(), match.end(), _written(value) + ("%" if match["percent"] else ""), is_number=True)


def _value(body: str, exponent: str | None, power: str | None) -> Fraction | None:
    """Return the value of a number; `None` for other items and for powers of numbers other than 10."""
    if power is not None:
        body, exponent = ("1", power) if body == "10" else ("", "")
    ten = exponent or "0"
    value = _mantissa(body) if len(body) <= _MOST_DIGITS else None
    if value is None or re.fullmatch(r"[+-]?\d{1,3}", ten) is None or abs(int(ten)) > _MOST_DIGITS:
        return None
    return value * Fraction(10) ** int(ten)


def _mantissa(body: str) -> Fraction | None:
    if _PLAIN.fullmatch(body):
        return Fraction(body)
    if _GROUPED.fullmatch(body):
        return Fraction(re.sub(r"[^\d.]", "", body))
    if _WITH_COMMA.fullmatch(body):
        whole, _, decimals = body.partition(",")
        return Fraction(f"{re.sub(r'[^0-9]', '', whole)}.{decimals or 0}")
    fraction = _FRACTION.fullmatch(body)
    if fraction is None or int(fraction[3]) == 0:
        return None
    part = Fraction(int(fraction[2]), int(fraction[3]))
    if fraction[1] is None:
        return part
    return int(fraction[1]) + part if part < 1 else None


def _written(value: Fraction) -> str:
    """Format a number as a decimal if it has a finite one, otherwise as a fraction in lowest terms."""
    rest, places = value.denominator, 0
    for factor in (10, 5, 2):
        while rest % factor == 0:
            rest, places = rest // factor, places + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = f"{abs(value.numerator) * 10**places // value.denominator:0{places + 1}d}"
    point = len(digits) - places
    return ("-" if value < 0 else "") + digits[:point] + ("." + digits[point:] if places else "")


# Cues for an answer: `#### 18`, `A: 18`, `The answer is 18`, `**Answer:** 18`, or a heading above it.
_CUE = re.compile(
    r"""
    ^\s*\#{4}|^\s*A:
    |^[\#*\s]{0,40}(?i:final\s+)?(?i:answer)[*\s]*$
    |(?i:(?<!wrong\ )(?<!incorrect\ )\banswer)\b[\s*_`"]*
     (?:[:=]|(?P<verb>(?i:is|was|equals|comes\ (?:out\ )?to|(?:would|should|must|will)\ be))(?P<negated>\s+not\b|n't\b)?(?!\w))
    """,
    re.VERBOSE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?](?=[\s\"')*\]]|$)|[\n;]")
_OPERATORS = re.compile(r"[\s+*/×x·÷=()$<>{}-]*")  # noqa: RUF001  # these characters are meant
_WORD = re.compile(r"[^\W\d_]+")
_NEGATED = re.compile(r"\bnot\s+(?:\w+\s+)?\W*\Z")
_INDEX = re.compile(r"\W*\d+[.)]\s+\W*\w")

# These words may come before the answer; other words only if they are few and the sentence has no other number.
_HEDGES = re.compile(
    r"(?:\W|_|\b(?:a|about|almost|an|approx|approximately|around|be|clearly|equals?|exactly|hence|indeed|is|it|just|nearly|now|of"
    r"|only|precisely|roughly|simply|so|that|the|then|therefore|thus|to|total|[b-z])\b)*+",
    re.IGNORECASE,
)
_FEW = 6

_MOST_CUES = 1_000

# The maximum number of characters from a cue to its answer.
_REACH = 400


def number(text: str) -> str | None:
    """Return the number that a text states as its answer; otherwise the only number of a short reply, or the last number."""
    if (found := said_number(text) or lone_number(text)) is not None:
        return found
    matches = reversed([*_FOUND.finditer(plain(text))])
    return next((each.value for each in map(_read, matches) if each.is_number), None)


def said_number(text: str) -> str | None:
    """Return the last number that a text states as the answer; numbers that it only mentions do not count."""
    text = plain(text)
    # The number of cues is limited, since the sentence after each is parsed.
    said = (_said(text, cue) for cue in reversed([*_CUE.finditer(text)][-_MOST_CUES:]))
    return next((value for value in said if value is not None), None)


def lone_number(text: str) -> str | None:
    """Return the only number in a reply of one line and a few words, such as `It is 42.`; indices of lists do not count."""
    text = plain(text).strip()
    if "\n" in text or len(text) > _REACH or len(_WORD.findall(text)) > _FEW or _INDEX.match(text):
        return None
    equations = _equations(text, numerals(text))
    return equations[0] if len(equations) == 1 else None


def _said(text: str, cue: re.Match[str]) -> str | None:
    """Return the number that the sentence after a cue states as the answer."""
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
    """Return the result of each equation or separate number; `None` for an equation of several numbers without a result."""
    equations: list[list[list[str]]] = []
    for end, each in zip([None, *(each.end for each in found)], found, strict=False):
        between = None if end is None else text[end : each.start]
        if between is None or _OPERATORS.fullmatch(between) is None:
            equations.append([[]])
        elif "=" in between:
            equations[-1].append([])
        equations[-1][-1].append(each.value)
    return [next((side[0] for side in reversed(sides) if len(side) == 1), None) for sides in equations]
