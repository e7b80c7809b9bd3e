"""Invisible characters are removed from pages, drawings and terminals, except those that words and emoji need."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from langchain_moa.cli.console import printable
from langchain_moa.data.redaction import describe
from langchain_moa.data.sanitizing import shown_line, spelled_out, whole_characters
from langchain_moa.drawing.text import clean

# Signs that enclose a number: visible, although of category Cf.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
JOINERS = {0x200C, 0x200D}
SHAPELESS = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x180E), *range(0xFE00, 0xFE10)}
SHAPELESS |= set(range(0xE0100, 0xE01F0))

HIDDEN = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if (unicodedata.category(chr(code)) in {"Cc", "Cf", "Zl", "Zp"} or code in SHAPELESS) and code not in SEEN
]


def test_every_character_that_cannot_be_seen_is_spelled_out_beside_ascii() -> None:
    kept = [hex(ord(each)) for each in HIDDEN if each not in "\t\n\r" and spelled_out(f"a{each}b") != f"a[U+{ord(each):04X}]b"]
    assert kept == []


def test_a_drawing_and_a_terminal_show_none_of_them_either() -> None:
    assert [hex(ord(each)) for each in HIDDEN if not each.isspace() and clean(f"a{each}b") != "a\ufffdb"] == []
    beside = {"\t", "\n", *map(chr, JOINERS), *map(chr, range(0x180B, 0x180E)), "\u180f", "\ufe0e", "\ufe0f"}
    assert [hex(ord(each)) for each in HIDDEN if each not in beside and printable(f"a{each}b") != "ab"] == []


@pytest.mark.parametrize(
    "text",
    [
        "שלום\tx\ny\r\n",
        "👩\u200d💻 ❤\ufe0f 1\ufe0f\u20e3 ☎\ufe0e",
        "می\u200cخواهم",  # noqa: RUF001  # Persian letters
        "क्\u200dष",
        "ᠮᠣᠩᠭᠣᠯ\u180bᠪ",
        "\u0600123",
        "⠓⠊\u2800⠽⠕⠥",
        "naïve, 模型, e\u0301, non\u00a0breaking",
    ],
)
def test_what_spells_words_and_emoji_stays(text: str) -> None:
    assert spelled_out(text) == text


@pytest.mark.parametrize("run", ["\ufe0f" * 3, "\u200d" * 3, "\u200c\u200d"])
def test_more_than_one_in_a_row_hides_something(run: str) -> None:
    assert spelled_out(f"❤{run}❤").count("[U+") == len(run) - 1


def test_half_a_character_is_spelled_out_or_replaced() -> None:
    assert shown_line("half \ud83d of it") == "half [U+D83D] of it"
    assert whole_characters("half \ud83d of it, and \ud83d\ude00") == "half \ufffd of it, and \U0001f600"
    assert describe(ValueError("half \ud83d of it"))["message"] == "half \ufffd of it"
