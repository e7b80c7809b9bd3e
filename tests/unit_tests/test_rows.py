"""Files of rows, intact and broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.data.rows import RowError, read_rows

if TYPE_CHECKING:
    from pathlib import Path

LIST = '[\n {"a": "x,]\\n"},\n\n {"a": "y"}\n]\n'


def test_lines_and_lists_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(LIST)
    assert [(row.place, row.data) for row in read_rows(file)] == [
        (f"{file}, line 2", {"a": "x,]\n"}),
        (f"{file}, line 4", {"a": "y"}),
    ]
    file.write_text('\ufeff{"a": "one\u2028line"}\n\n{"a": "y"}', encoding="utf-8")
    assert [(row.place, row.data) for row in read_rows(file)] == [
        (f"{file}, line 1", {"a": "one\u2028line"}),
        (f"{file}, line 3", {"a": "y"}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}\n{"a": 1', "line 2: not JSON: "),
        ('{"a": 1}\n\n"text"', "line 3: it is str; it must be an object"),
        ('[{"a": 1},\n{"a" 1}]', "line 2: not JSON: .* at column 6"),
        ('[{"a": 1}\n{"a": 1}]', "line 2: not JSON: a comma or the list's end is missing"),
        ('[{"a": 1}\n', "line 2: not JSON: a comma or the list's end is missing"),
        ('[{"a": 1}]\n{"a": 1}', "line 2: not JSON: there is more after the list's end"),
        ("[1]", "line 1: it is int"),
        ("[]", "has no rows"),
        ("\n", "has no rows"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    with pytest.raises(RowError, match=said):
        read_rows(file)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RowError, match="nowhere cannot be read: No such file"):
        read_rows(tmp_path / "nowhere")
    (tmp_path / "latin").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(RowError, match="latin cannot be read: it is not UTF-8"):
        read_rows(tmp_path / "latin")


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        ("{}", str, "line 1: the field 'a' is missing; there are none"),
        ('{"b": 1, "c": 2}', str, "line 1: the field 'a' is missing; there are 'b', 'c'"),
        ('{"a": 1}', str, "line 1: the field 'a' is int; it must be a text"),
        ('{"a": "1"}', int, "line 1: the field 'a' is str; it must be a whole number"),
        ('{"a": true}', int, "line 1: the field 'a' is bool; it must be a whole number"),
    ],
)
def test_a_field_that_is_missing_or_something_else(tmp_path: Path, data: str, kind: type[Any], said: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(data)
    (row,) = read_rows(file)
    with pytest.raises(RowError, match=said):
        row.get("a", kind)


def test_a_text_says_something(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": " x "}\n{"a": " "}')
    full, empty = read_rows(file)
    assert full.text("a") == " x "
    with pytest.raises(RowError, match="line 2: the field 'a' is empty"):
        empty.text("a")


def test_half_a_character_is_refused_where_it_would_be_sent(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(r'{"a": "An emoji: \ud83d\ude00"}' + "\n" + r'{"a": "Half of it: \ud83d"}')
    whole, half = read_rows(file)
    assert whole.text("a") == "An emoji: \U0001f600"
    with pytest.raises(RowError, match=r"line 2: the field 'a' has an incomplete character, \\ud83d, which cannot be sent"):
        half.text("a")
