"""Lists: a table for a person, lines with tabs for a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from langchain_moa.cli.listing import print_list

if TYPE_CHECKING:
    import pytest

ROWS = [("local:a", Text("yes", "green")), ("local:b", Text("no\nt yet", "yellow"))]


def test_a_script_gets_lines_with_tabs_and_no_headings(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(("model", "here"), ROWS)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "local:a\tyes"
    assert second.startswith("local:b\tno")


def test_a_person_gets_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.cli.listing.is_terminal", lambda _: True)
    print_list(("model", "here"), ROWS[:1])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["model", "here"]
    assert row.split() == ["local:a", "yes"]
    assert heading.index("here") == row.index("yes")
