"""The page on the command line has every command and option, with the text of its help."""

from __future__ import annotations

from tests.cli_page import PAGE, cli_page


def test_the_page_is_that_of_the_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == cli_page(), "the help has changed; run: python -m tests.cli_page"
