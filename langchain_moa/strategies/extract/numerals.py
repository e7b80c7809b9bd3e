"""Numerals: what is read as a number, and in which one form it is written, however it was written.

Read as a number are: thousands in groups of three, set apart by commas, apostrophes or spaces; a decimal point; a decimal comma
where it cannot set thousands apart (`3,5`, `0,125`, `1.234,50`; but `1,234` is more than a thousand); `1e5`, `1.2 x 10^3` and
`5 million`; `3/4` and `2 1/2`; a sign and a currency in either order. Equal numbers are equal texts: `$1,800.00` and `1.8e3`
are `1800`, `1/2` is `0.5`, `2/6` is `1/3`. A percentage is no plain number: `50%`. Units are left out.

Digits that marks join to anything else are one thing, not several numbers, and stay as they are written: a date, a time, a
range, a ratio, a list, a version.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

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
    """,  # noqa: RUF001  # those very signs
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

# Longer ones are no answers, and Python refuses to read much longer ones.
_MOST_DIGITS = 300


class Numeral(NamedTuple):
    """A number in a text, or another thing of digits.

    Attributes:
        start: Where it begins.
        end: Where it ends.
        value: The number in its one form; another thing as it is written.
        is_number: Whether it is a number.
    """

    start: int
    end: int
    value: str
    is_number: bool


def numerals(text: str, begin: int = 0, end: int | None = None) -> list[Numeral]:
    """Return the numbers and the other things of digits in a text, in order.

    Args:
        text: The text, in plain characters.
        begin: Where to begin.
        end: Where to end. Default: at its end.
    """
    return [_read(match) for match in _FOUND.finditer(text, begin, len(text) if end is None else end)]


def read_number(text: str, *, decimal_comma: bool = True) -> str | None:
    """Return the number that a text consists of; `None` if it is anything but one number.

    Args:
        text: The text, in plain characters.
        decimal_comma: Whether `3,5` is a number; in mathematics it is two.
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
    """Return what a number is worth; `None` for what is none, and for a power of anything but 10."""
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
    """Write a number out: as a decimal if that ends, or else as a fraction in its lowest terms."""
    rest, places = value.denominator, 0
    for factor in (10, 5, 2):
        while rest % factor == 0:
            rest, places = rest // factor, places + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = f"{abs(value.numerator) * 10**places // value.denominator:0{places + 1}d}"
    point = len(digits) - places
    return ("-" if value < 0 else "") + digits[:point] + ("." + digits[point:] if places else "")
