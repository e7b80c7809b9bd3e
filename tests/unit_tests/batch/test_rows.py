"""The rows of a batch are read one at a time; errors name the line and the remedy."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.batch.rows import RowReader, rows_in, rows_of
from langchain_moa.data.rows import Row, RowError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

READER = RowReader()


def _read(path: Path, reader: RowReader = READER) -> list[tuple[Any, list[tuple[str, Any]]]]:
    rows = [reader.read(row) for row in rows_in(path)]
    return [(row.id, [(message.type, message.content) for message in row.messages]) for row in rows]


@pytest.mark.parametrize("column", ["prompt", "question", "input"])
def test_each_of_the_columns_is_asked(column: str) -> None:
    row = READER.read(Row("f", 3, {column: "Why?", "kind": 1, "id": "a"}))
    assert (row.id, row.messages[0].content) == ("a", "Why?")
    assert row.columns == {column: "Why?", "kind": 1}


def test_a_row_without_an_id_has_the_number_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"prompt": "a"}\n\n{"prompt": "b\\u2028c", "id": 7}\n{"prompt": "d"}')
    assert _read(path) == [(1, [("human", "a")]), (7, [("human", "b\u2028c")]), (4, [("human", "d")])]


def test_a_json_list_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"prompt": "a"},\n{"prompt": "b"}]')
    assert _read(path) == [(1, [("human", "a")]), (2, [("human", "b")])]


def test_csv_has_long_fields_line_ends_in_fields_and_conversations(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    talk = json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]).replace('"', '""')
    path.write_text(f'id,prompt,messages\nx,"a\nb{"c" * 200_000}",\ny,,"{talk}"\n')
    first, second = _read(path)
    assert first == ("x", [("human", "a\nb" + "c" * 200_000)])
    assert second == ("y", [("system", "Be brief."), ("human", "Why?")])


def test_parquet_has_ids_columns_and_conversations(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra batch is not installed")
    from pyarrow.parquet import write_table

    path = tmp_path / "rows.parquet"
    talks = [[{"role": "user", "content": f"q{number}", "name": None}] for number in range(700)]
    write_table(pyarrow.table({"id": list(range(700)), "messages": talks}), path)
    assert _read(path) == [(number, [("human", f"q{number}")]) for number in range(700)]


def test_a_system_message_is_the_rows_own_or_that_of_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    talk = [{"role": "system", "content": "Mine."}, {"role": "user", "content": "c"}]
    rows = [{"prompt": "a"}, {"prompt": "b", "system": "Own."}, {"messages": talk}]
    path.write_text("\n".join(map(json.dumps, rows)))
    systems = [messages[0] for _, messages in _read(path, RowReader(system="Be brief."))]
    assert systems == [("system", "Be brief."), ("system", "Own."), ("system", "Mine.")]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            {"text": "a"},
            "none of prompt, question, input, messages is a column; there are 'text'; choose one with --prompt-field",
        ),
        ({}, "there are none"),
        ({"id": 1, "prompt": None, "messages": []}, "no prompt: 'prompt', 'messages' have no value"),
        ({"question": ""}, "no prompt: 'question' has no value"),
        ({"prompt": "a", "input": "b"}, "several columns could be the prompt: prompt, input; choose one with --prompt-field"),
        ({"prompt": 3}, "the field 'prompt' is int; it must be a text"),
        ({"prompt": "  "}, "the field 'prompt' is empty"),
        ({"prompt": "a\ud83d"}, r"the field 'prompt' has an incomplete character, \ud83d"),
        ({"messages": [{"role": "user", "content": "\ud83d"}]}, "the column 'messages' has an incomplete character"),
        ({"messages": "Why?"}, "the column 'messages' is a text, but not JSON"),
        ({"messages": {"role": "user"}}, "must be a list of messages"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "the column 'messages' is not a conversation"),
        ({"messages": [3]}, "the column 'messages' is not a conversation"),
        ({"prompt": "a", "id": 1.5}, "the id is float; it must be a text or a whole number"),
        ({"prompt": "a", "id": True}, "the id is bool"),
        ({"prompt": "a", "system": 3}, "the column 'system' is int; it must be a text"),
    ],
)
def test_what_is_wrong_with_a_row_is_told_with_its_place(data: dict[str, Any], told: str) -> None:
    with pytest.raises(RowError) as error:
        READER.read(Row("rows.jsonl", 4, data))
    assert str(error.value).startswith("rows.jsonl, line 4: ")
    assert told in str(error.value)


def test_a_named_column_has_to_be_there() -> None:
    reader = RowReader(prompt_field="text")
    assert reader.read(Row("f", 1, {"text": "a", "prompt": "b"})).messages[0].content == "a"
    with pytest.raises(RowError, match=r"no column 'text' \(--prompt-field\); there are 'prompt'"):
        reader.read(Row("f", 1, {"prompt": "b"}))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": ', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", b'{"prompt": "a"}\n3', "a.jsonl, line 2: it is int; it must be an object"),
        ("a.jsonl", b'{"prompt": "\xff"}', "a.jsonl cannot be read: it is not UTF-8"),
        ("a.csv", b"prompt\na,b\n", "than the first line names; put a field that contains a comma in quotation marks"),
        ("a.csv", b"id;prompt\n1;a\n", "a.csv, line 1: its columns are separated by ';'; separate them by commas"),
        ("a.csv", b"id\tprompt\n1\ta\n", "a.csv, line 1: its columns are separated by '\\t'; separate them by commas"),
        ("a.csv", b"prompt\n\xff\n", "a.csv cannot be read: it is not UTF-8"),
        (
            "a.csv",
            b'id,prompt\n1,a\n2,"b\n3,c\n',
            "a.csv, line 3: not CSV: unexpected end of data; a quotation mark may be missing",
        ),
        ("a.csv", b"prompt,k,k\na,1,2\n", "a.csv, line 1: two columns are named 'k'; give each column its own name"),
        ("a.jsonl", b'{"x": ' + b"[" * 200_000, "a.jsonl, line 1: its lists and objects are nested too deeply"),
        ("a.jsonl", b'{"x": ' + b"9" * 5000 + b"}", "a.jsonl, line 1: a number has too many digits; write it as a text"),
        ("a.jsonl", b'[{"x": ' + b"9" * 5000 + b"}]", "a.jsonl, line 1: a number has too many digits; write it as a text"),
        ("a.jsonl", b'{"prompt": "a', "not JSON: Unterminated string starting at column 12"),
        ("a.jsonl.gz", b"\x1f\x8b\x08", "a.jsonl.gz is compressed; decompress it first"),
        ("a.parquet", b"no parquet", "a.parquet cannot be read as Parquet"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="the extra batch is not installed")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RowError) as error:
        list(rows_in(tmp_path / name))
    assert told in str(error.value)


def test_the_rows_of_a_list_on_one_line_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('\n[{"prompt": "a"}, {"prompt": "b"}, {"text": "c"}]')
    one, two, three = rows_in(path)
    assert [READER.read(row).id for row in (one, two)] == [1, 2]
    with pytest.raises(RowError, match=r"a\.json, item 3: no prompt"):
        READER.read(three)


def test_a_missing_file_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(RowError, match="is not a regular file; give a JSONL, CSV or Parquet file"):
        rows_in(tmp_path)
    with pytest.raises(RowError, match="does not exist; give a JSONL, CSV or Parquet file"):
        rows_in(tmp_path / "none.jsonl")


def test_rows_of_an_iterable_are_taken_as_they_are_needed() -> None:
    taken = []

    async def endless() -> AsyncIterator[str]:
        number = 0
        while True:
            number += 1
            taken.append(number)
            yield f"q{number}"

    async def first() -> list[Row]:
        found = []
        async for row in rows_of(endless()):
            found.append(row)
            if len(found) == 2:
                break
        return found

    assert [row.data for row in asyncio.run(first())] == [{"prompt": "q1"}, {"prompt": "q2"}]
    assert taken == [1, 2]

    async def wrong() -> list[Row]:
        return [row async for row in rows_of([{"prompt": "a"}, 3])]

    with pytest.raises(RowError, match="rows, item 2: it is int; give mappings with a prompt, or texts"):
        asyncio.run(wrong())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["id", "prompt", "question", "input", "messages", "system", "x"]), _JSON))
def test_whatever_a_row_holds_it_can_be_asked_or_is_refused_with_its_place(data: dict[str, Any]) -> None:
    try:
        row = READER.read(Row("f", 2, data))
    except RowError as error:
        told = str(error)
    else:
        json.dumps([message.content for message in row.messages], ensure_ascii=False).encode()
        assert row.messages
        assert READER.read(Row("f", 2, data)).about == row.about
        return
    assert told.startswith("f, line 2: ")
