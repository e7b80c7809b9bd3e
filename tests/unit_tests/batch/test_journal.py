"""The journal and the output of a batch: entries are found again, and nothing is lost if the disk is full."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.batch.journal import BatchJournal, OutputLine
from langchain_moa.batch.output import OWN_FIELDS, Output, with_columns
from langchain_moa.batch.rows import RowReader
from langchain_moa.data.rows import Row

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_are_found_again_and_written_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    journal = BatchJournal(None)
    output = Output(path, journal, RowReader())
    for number in range(5):
        error = "no" if number == 2 else None
        output.add(str(number), {"id": number, "prompt": f"p{number}", "answer": "\ud83d", "error": error, "cost_usd": 0.5}, "")
    output.close()
    again = Output(path, journal, RowReader())
    assert again.cost.usd == 2.5
    assert journal.counted() == (5, 1)
    found = journal.line_of("2")
    assert found is not None
    assert found.failed
    assert found.about == RowReader().read(Row("rows", 1, {"prompt": "p2"})).about
    for place, row in enumerate("43210"):
        assert journal.see(row, place) is None
    assert journal.see("4", 9) == 0
    again.rewrite(journal.lines_in_order())
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [4, 3, 2, 1, 0]
    again.drop_failed()
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [4, 3, 1, 0]
    assert journal.line_of("2") is None
    # The positions of the lines are known after that as well.
    for line in journal.lines():
        assert json.loads(path.read_bytes()[line.start : line.start + line.size])["id"] == int(line.row)
    again.close()
    journal.close()


def test_the_files_are_the_owners_alone(tmp_path: Path) -> None:
    journal = BatchJournal(tmp_path / "j")
    Output(tmp_path / "o", journal, RowReader()).close()
    journal.close()
    assert [(tmp_path / name).stat().st_mode & 0o077 for name in "jo"] == [0, 0]


@given(st.lists(st.tuples(st.text(), st.booleans()), unique_by=lambda each: each[0]))
def test_the_index_holds_the_last_line_of_each_row(rows: list[tuple[str, bool]]) -> None:
    journal = BatchJournal(None)
    lines = [OutputLine(row, place, 1, failed, "h") for place, (row, failed) in enumerate(rows)]
    journal.index([*(line._replace(failed=True) for line in lines), *lines])
    assert list(journal.lines()) == lines
    assert journal.counted() == (len(rows), sum(failed for _, failed in rows))
    journal.close()


@given(st.dictionaries(st.sampled_from([*OWN_FIELDS[1:], "input_answer", "input_error", "x"]), st.integers()))
def test_no_column_is_lost_and_none_hides_a_field(columns: dict[str, int]) -> None:
    line = with_columns(columns, {"id": "i", "answer": "a", "error": None})
    assert (line["id"], line["answer"], line["error"]) == ("i", "a", None)
    assert len(line) == len(columns) + 3
    assert sorted(value for name, value in line.items() if name not in {"id", "answer", "error"}) == sorted(columns.values())
