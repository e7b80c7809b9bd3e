"""The rows of a batch, read lazily from JSONL, CSV or Parquet, or from any iterable."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage, SystemMessage, convert_to_messages

from langchain_moa.batch.calls import about
from langchain_moa.data.rows import Row, RowError, csv_rows, parse_line, read_rows, unreadable

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

PROMPT_FIELDS = ("prompt", "question", "input", "messages")
"""The columns that may hold the prompt. A row must have exactly one of them."""

_SHOWN = 60


def shown_id(id_: str | int) -> str:
    """Return an id for a message, quoted and shortened."""
    shown = str(id_)
    return repr(shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…")


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """A valid row.

    Attributes:
        id: The row's `id`, or the number of its line or item.
        messages: The messages to send.
        columns: The columns of the row without `id`.
        place: A description of its file and line.
    """

    id: str | int
    messages: list[BaseMessage]
    columns: Mapping[str, Any] = field(repr=False)
    place: str = ""

    @property
    def about(self) -> str:
        """A hash of the messages."""
        return about(self.messages)


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """Converts the rows of a file or an iterable into messages.

    Attributes:
        prompt_field: The column that holds the prompt. Default: the one of the four in `PROMPT_FIELDS` that exists.
        system: The system message of rows without a `system` column. Default: none.
    """

    prompt_field: str | None = None
    system: str | None = None

    def read(self, row: Row) -> BatchRow:
        """Validate a row and convert it.

        Args:
            row: The row.

        Raises:
            RowError: The row is invalid. The message has the place and the remedy.
        """
        columns = {name: value for name, value in row.data.items() if name != "id"}
        given = row.data.get("id")
        if given is None or given == "":
            given = row.line
        if isinstance(given, bool) or not isinstance(given, str | int):
            row.refuse(f"the id is {type(given).__name__}; it must be a text or a whole number")
        row.require_whole(str(given), "the id")
        return BatchRow(id=given, messages=self._messages(row), columns=columns, place=row.place)

    def _messages(self, row: Row) -> list[BaseMessage]:
        name = self._field(row)
        value = row.data[name]
        if name == "messages" or isinstance(value, list):
            messages = _conversation(row, name, value)
        else:
            messages = [HumanMessage(row.text(name))]
        system = row.data.get("system") or self.system
        if system and messages[0].type != "system":
            if not isinstance(system, str):
                row.refuse(f"the column 'system' is {type(system).__name__}; it must be a text")
            row.require_whole(system, "the column 'system'")
            messages.insert(0, SystemMessage(system))
        return messages

    def _field(self, row: Row) -> str:
        """Return the name of the column that holds the prompt."""
        has = ", ".join(map(repr, row.data)) or "none"
        if self.prompt_field is not None:
            if self.prompt_field not in row.data:
                row.refuse(f"there is no column {self.prompt_field!r} (--prompt-field); there are {has}")
            return self.prompt_field
        found = [name for name in PROMPT_FIELDS if row.data.get(name) not in (None, "", [])]
        if len(found) > 1:
            row.refuse(f"several columns could be the prompt: {', '.join(found)}; choose one with --prompt-field")
        if empty := [repr(name) for name in PROMPT_FIELDS if name in row.data and not found]:
            row.refuse(f"no prompt: {', '.join(empty)} {'has' if len(empty) == 1 else 'have'} no value")
        if not found:
            row.refuse(
                f"no prompt: none of {', '.join(PROMPT_FIELDS)} is a column; there are {has}; choose one with --prompt-field"
            )
        return found[0]


def _conversation(row: Row, name: str, value: Any) -> list[BaseMessage]:
    """Read a conversation: a list of messages, or such a list as JSON, as in CSV files."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            row.refuse(f"the column {name!r} is a text, but not JSON; give a list of messages, or use the column prompt")
    if not isinstance(value, list) or not value:
        row.refuse(f"the column {name!r} must be a list of messages that is not empty")
    # Parquet adds missing keys to each message, with the value None.
    plain = [{key: it for key, it in each.items() if it is not None} if isinstance(each, dict) else each for each in value]
    row.require_whole(json.dumps(plain, ensure_ascii=False, default=str), f"the column {name!r}")
    try:
        messages = convert_to_messages(plain)
    except Exception as error:  # noqa: BLE001  # whatever LangChain raises, the row is invalid
        reason = " ".join(str(error).split())
        row.refuse(f"the column {name!r} is not a conversation: {reason[:_SHOWN]}; give messages such as {_EXAMPLE}")
    return list(messages)


_EXAMPLE = '{"role": "user", "content": "Why?"}'


def require_regular(path: Path) -> None:
    """Check that rows can be read from a file twice, which excludes a pipe.

    Args:
        path: The file.

    Raises:
        RowError: The file does not exist, or is a folder or a pipe.
    """
    if not path.is_file():
        problem = "is not a regular file" if path.exists() else "does not exist"
        msg = f"{path} {problem}; give a JSONL, CSV or Parquet file"
        raise RowError(msg)


def rows_in(path: Path) -> Iterator[Row]:
    """Yield the rows of a file lazily.

    Args:
        path: A `.csv` or `.parquet` file; any other is read as JSONL. A file with one JSON list is read at once.

    Raises:
        RowError: The file cannot be read. The message has the line and the remedy.
    """
    require_regular(path)
    match path.suffix.lower():
        case ".csv":
            return csv_rows(path)
        case ".parquet":
            return _parquet(path)
        case ".gz" | ".bz2" | ".xz" | ".zst" | ".zip":
            msg = f"{path} is compressed; decompress it first"
            raise RowError(msg)
        case _:
            return _jsonl(path)


def _jsonl(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            is_first = True
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                if is_first and text.lstrip().startswith("["):
                    for number, row in enumerate(read_rows(path), start=1):
                        yield Row(row.source, number, row.data, "item")
                    return
                is_first = False
                value = parse_line(text, path, line)
                if not isinstance(value, dict):
                    msg = f"{path}, line {line}: it is {type(value).__name__}; it must be an object"
                    raise RowError(msg)
                yield Row(str(path), line, value)
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        msg = f'{path}: Parquet files need another package: pip install "langchain-moa[batch]"'
        raise ImportError(msg) from error
    try:
        with ParquetFile(path) as file:
            number = 0
            for some in file.iter_batches(batch_size=_AT_ONCE):
                for fields in some.to_pylist():
                    number += 1
                    yield Row(str(path), number, fields)
    except (OSError, ArrowException) as error:
        msg = f"{path} cannot be read as Parquet: {error}"
        raise RowError(msg) from error


# The number of rows of a Parquet file in memory at once.
_AT_ONCE = 256


async def rows_of(given: str | Path | Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Row]:
    """Yield the rows of a file or an iterable, one at a time.

    Args:
        given: A file, or a sync or async iterable of mappings or prompt strings.

    Raises:
        RowError: A file cannot be read, or an item has another type.
    """
    if isinstance(given, str | Path):
        for row in rows_in(Path(given)):
            yield row
    elif isinstance(given, AsyncIterable):
        number = 0
        async for item in given:
            number += 1
            yield _row(number, item)
    else:
        for number, item in enumerate(given, start=1):
            yield _row(number, item)


def _row(number: int, item: Any) -> Row:
    if isinstance(item, str):
        item = {"prompt": item}
    if not isinstance(item, Mapping):
        msg = f"rows, item {number}: it is {type(item).__name__}; give mappings with a prompt, or texts"
        raise RowError(msg)
    return Row("rows", number, item, "item")
