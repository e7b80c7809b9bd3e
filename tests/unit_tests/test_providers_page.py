"""The table on the page about providers matches the dialects."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from langchain_moa.data.media import AUDIO, FILE, IMAGE
from langchain_moa.members.dialects import dialect_of_class

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
ROW = re.compile(
    r"^\| [^|]+ \| `(?P<class>\w+)` \| [^|]+ \| (?P<own>[^|]+) \| (?P<media>[^|]+ \| [^|]+ \| [^|]+) \|$", re.MULTILINE
)
ROWS = {row["class"]: row for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def test_the_table_has_every_provider() -> None:
    assert len(ROWS) == 12


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_is_sent(name: str) -> None:
    base = "BaseChatOpenAI" if name == "ChatOpenAI" else name
    dialect = dialect_of_class(type(base, (), {}))
    row = ROWS[name]
    assert (row["own"] == "as they were") is dialect.own_thoughts
    said = [cell.strip() for cell in row["media"].split("|")]
    for kind, word in zip((IMAGE, FILE, AUDIO), said, strict=True):
        assumed = dialect.takes(kind, None)
        asked = dialect.takes(kind, {"image_inputs": True, "pdf_inputs": True, "audio_inputs": True})
        assert word == ("yes" if assumed else "if the profile says so" if asked else "note")
