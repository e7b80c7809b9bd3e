"""The page on the command line has every command and option, with the text of its help."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli_page import PAGE, cli_page


def test_the_page_is_that_of_the_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == cli_page(), "the help has changed; run: python -m tests.cli_page"


def test_the_page_has_every_environment_variable() -> None:
    sources = (Path(__file__).parents[3] / "langchain_moa").rglob("*.py")
    found = {name for source in sources for name in re.findall(r"LANGCHAIN_MOA_[A-Z]+\b", source.read_text(encoding="utf-8"))}
    assert found
    assert found <= set(re.findall(r"LANGCHAIN_MOA_[A-Z]+\b", cli_page()))
