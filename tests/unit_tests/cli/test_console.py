"""Terminal output is sanitized and fits."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import pytest
from rich.text import Text

from langchain_moa.cli.console import (
    complain,
    elided,
    emit,
    is_terminal,
    note,
    one_line,
    print_list,
    printable,
    require_output,
    say,
    tolerate,
    warn,
    warnings_in_words,
)
from langchain_moa.data.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_escape_sequences_are_taken_out() -> None:
    assert printable("a\x1b]0;title\x07b\x9b31mc\r\nd\te\x7f") == "a]0;titleb31mc\nd\te"


def test_reports_are_one_line_of_bounded_length() -> None:
    assert one_line(" a\n b\t\tc ") == "a b c"
    assert one_line("x" * 5000) == "x" * 299 + "…"


@pytest.mark.parametrize(
    ("cells", "shown"),
    [(26, "together:Qwen/Qwen3-235B-A22B-v2"[:12] + "…" + "-235B-A22B-v2"), (80, "together:Qwen/Qwen3-235B-A22B-v2")],
)
def test_names_keep_their_ends(cells: int, shown: str) -> None:
    assert elided("together:Qwen/Qwen3-235B-A22B-v2", cells=cells).plain == shown


@pytest.mark.parametrize("name", ["模型模型模型模型模型模型", "together:Qwen/Qwen3-235B-A22B-v2"])
@pytest.mark.parametrize("cells", [4, 7, 12, 13])
def test_elided_names_fit(name: str, cells: int) -> None:
    assert elided(name, cells=cells).cell_len <= cells


def test_sentences_are_wrapped_between_words_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "word " * 40 + "end"
    say(sentence)
    assert capsys.readouterr().out == f"{sentence}\n"
    monkeypatch.setenv("COLUMNS", "32")
    monkeypatch.setattr("langchain_moa.cli.console.is_terminal", lambda _: True)
    say(sentence)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert {word for line in lines for word in line.split()} == {"word", "end"}


def test_words_on_standard_error_are_a_line_each_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "a-long-secret-value")
    note("n" * 500)
    warn("w [bold]is no markup[/bold] :smile:")
    complain("e a-long-secret-value \x1b[31m")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"note: {'n' * 500}",
        "warning: w [bold]is no markup[/bold] :smile:",
        "error: e ********** [31m",
    ]


def test_warnings_become_words_and_deprecations_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings_in_words():
        warnings.simplefilter("always")
        warnings.warn("confirm that\n  it is meant", UserWarning, stacklevel=1)
        warnings.warn("gone in 2.0", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: confirm that it is meant\n"


def test_half_an_emoji_does_not_end_the_program() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    tolerate(stream)
    stream.write("a\ud83d")
    stream.flush()
    assert raw.getvalue() == b"a?"
    tolerate(io.StringIO())


def test_a_terminal_is_what_a_person_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not is_terminal(None)
    assert not is_terminal(io.StringIO())
    closed = io.StringIO()
    closed.close()
    assert not is_terminal(closed)


ROWS = [("local:a", Text("yes", "green")), ("local:b", Text("no\nt yet", "yellow"))]


def test_a_script_gets_lines_with_tabs_and_no_headings(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(("model", "here"), ROWS)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "local:a\tyes"
    assert second.startswith("local:b\tno")


def test_a_person_gets_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.cli.console.is_terminal", lambda _: True)
    print_list(("model", "here"), ROWS[:1])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["model", "here"]
    assert row.split() == ["local:a", "yes"]
    assert heading.index("here") == row.index("yes")


def test_no_text_forges_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    warn("slow\nerror: forged\r\nerror: again\u2028error: and again")
    assert capsys.readouterr().err.splitlines() == ["warning: slow", "  error: forged", "  error: againerror: and again"]


def test_results_are_exact_for_a_program_and_printable_for_a_person(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    emit("a\x1b[8mb")
    assert capsys.readouterr().out == "a\x1b[8mb\n"
    monkeypatch.setattr("langchain_moa.cli.console.is_terminal", lambda _: True)
    emit("a\x1b[8mb", end="")
    assert capsys.readouterr().out == "a[8mb"


def test_a_closed_standard_stream_is_no_other_stream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    complain("not for standard output")
    monkeypatch.setattr("sys.stdout", None)
    for write in (require_output, lambda: emit("x")):
        with pytest.raises(OSError, match="standard output is closed"):
            write()
    assert capsys.readouterr() == ("", "")


def test_a_private_file_is_its_owners_and_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "chat.md"
    file.write_text("before", encoding="utf-8")
    file.chmod(0o644)
    write_whole(file, "after \ud83d", errors="replace")
    assert file.read_text(encoding="utf-8") == "after ?"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", "x")
    assert {each.name for each in tmp_path.iterdir()} == {"chat.md", "folder"}
