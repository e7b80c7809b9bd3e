"""The output of a batch: a JSONL file with one line per row, written as the answers complete."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_moa.batch.journal import BatchJournal, OutputLine
from langchain_moa.batch.limits import BatchError
from langchain_moa.batch.line_file import LineFile
from langchain_moa.data.figures import Cost
from langchain_moa.data.files import open_private, write_all
from langchain_moa.data.rows import Row, RowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from langchain_moa.batch.rows import RowReader

OWN_FIELDS = ("id", "answer", "error", "cost_usd", "tokens", "degraded", "references")
"""The fields of a line that do not come from the columns of its row."""


def with_columns(columns: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the output: the id, the columns of the row, and the other fields.

    Args:
        columns: The columns of the row. A column with the name of a field, such as the correct `answer` of a benchmark, is
            renamed to `input_answer`.
        own: The fields of the line, including `id`.
    """
    carried = {}
    for name, value in columns.items():
        kept = name
        while kept in OWN_FIELDS or (kept != name and kept in columns):
            kept = f"input_{kept}"
        carried[kept] = value
    rest = {name: value for name, value in own.items() if name != "id"}
    return {"id": own["id"], **carried, **rest}


def renamed(name: str, line: Mapping[str, Any]) -> str:
    """Return the name that a column has in a line, as `with_columns` has given it.

    Args:
        name: The name of the column in the input.
        line: The line.
    """
    if name in OWN_FIELDS:
        while f"input_{name}" in line:
            name = f"input_{name}"
    return name


def _plain(value: Any) -> Any:
    """Return a value as JSON can have it: numbers that are not finite are null."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [*map(_plain, value)]
    return value


class Output:
    """The output file of a run.

    Attributes:
        path: The file.
        cost: The cost of the answers in the file.
        skipped: The numbers of incomplete lines. Their rows are asked again.
    """

    def __init__(self, path: Path, journal: BatchJournal, reader: RowReader) -> None:
        """Read the file, one line at a time, and open it for writing.

        Args:
            path: The file, which may not exist yet.
            journal: The open journal, which records which rows have a line.
            reader: Reads the messages of a row from the columns of its line.

        Raises:
            BatchError: The file is not the output of a batch.
            OSError: The file cannot be read or written.
        """
        self.path = path
        self.cost = Cost()
        self.skipped: list[int] = []
        self._journal = journal
        self._reader = reader
        self._end = 0
        journal.index(self._read())
        journal.remove_answered()
        self._file = LineFile(path, end=self._end)
        self._unsynced: list[str] = []

    @property
    def unsaved(self) -> int:
        """The number of lines that are only in memory, because writing failed."""
        return len(self._file.unsaved)

    def add(self, row: str, line: Mapping[str, Any], about: str) -> None:
        """Write a row's line. If that fails, keep it in memory and close the gate.

        Args:
            row: The row's id.
            line: The line.
            about: A hash of the row's messages.
        """
        # ASCII, because answers may have lone surrogates; `default`, because columns may have dates.
        try:
            data = json.dumps(line, default=str, skipkeys=True, allow_nan=False).encode()
        except ValueError:
            data = json.dumps(_plain(line), default=str, skipkeys=True).encode()
        start = self._file.end
        error = self._file.add(data)
        if error is not None:
            self._journal.gate.close("write", f"{self.path} cannot be written ({error.strerror}): no further call is made")
        if self._file.unsaved:
            return
        failed = line["error"] is not None
        try:
            self._journal.add_line(OutputLine(row, start, len(data) + 1, failed, about))
        except BatchError as unindexed:  # the line is in the file; the next run finds it there
            self._journal.gate.close("write", str(unindexed))
        if not failed:
            self._unsynced.append(row)

    async def sync(self) -> None:
        """Flush the file to disk, and then remove the calls of the written rows from the journal.

        Raises:
            OSError: The file cannot be written.
        """
        rows, self._unsynced = self._unsynced, []
        await asyncio.to_thread(self._file.sync)
        self._journal.remove_calls(rows)

    def save(self) -> bool:
        """Try to write unsaved lines, and return whether all lines are in the file."""
        return self._file.save()

    def close(self) -> None:
        """Close the file."""
        if self.save():
            with suppress(OSError):
                self._file.sync()
                self._journal.remove_calls(self._unsynced)
        self._file.close()

    def drop_failed(self) -> None:
        """Remove the lines of failed rows, so that they are asked again."""
        if self._journal.counted()[1]:
            self.rewrite(line for line in self._journal.lines() if not line.failed)

    def rewrite(self, lines: Iterable[OutputLine]) -> None:
        """Atomically rewrite the file with some of its lines, in a given order.

        Args:
            lines: The lines to keep.

        Raises:
            OSError: Writing failed; the file is unchanged.
        """
        aside = self.path.with_name(f".{self.path.name}.part")
        try:
            with self.path.open("rb") as before, open_private(aside, truncate=True) as file:
                for line in lines:
                    before.seek(line.start)
                    write_all(file, before.read(line.size))
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        self._file.close()
        try:
            aside.replace(self.path)
        finally:
            self.cost, self._end, self.skipped = Cost(), 0, []
            self._journal.index(self._read())
            self._file = LineFile(self.path, end=self._end)

    def _read(self) -> Iterator[OutputLine]:
        """Yield the lines of the file, and set the offset of its end."""
        if not self.path.exists():
            return
        found = False
        with self.path.open("rb") as file:
            for number, data in enumerate(file, start=1):
                start = self._end
                try:
                    line = json.loads(data) if data.endswith(b"\n") else None
                except ValueError:
                    line = None
                if line is None:
                    # A partial line at the end is overwritten; an invalid one in the middle stays.
                    self.skipped.append(number)
                    self._end += len(data) if data.endswith(b"\n") else 0
                    continue
                if not _is_line(line):
                    msg = f"{self.path}, line {number}: not a line of a batch's output; give another --output"
                    raise BatchError(msg)
                found = True
                # Of a row that failed, it is not known whether anything was paid for.
                if line["error"] is None or line["cost_usd"] is not None:
                    self.cost += Cost.of([line["cost_usd"]])
                self._end += len(data)
                yield OutputLine(str(line["id"]), start, len(data), line["error"] is not None, self._about(line))
        if self.skipped and not found:
            msg = f"{self.path} is not the output of a batch; give another --output"
            raise BatchError(msg)

    def _about(self, line: Mapping[str, Any]) -> str:
        """Return a hash of the row's messages; empty if its line does not have them."""
        if (asked := self._reader.prompt_field) is not None:
            line = {**line, asked: line.get(renamed(asked, line))}
        try:
            return self._reader.read(Row(str(self.path), 0, line)).about
        except RowError:
            return ""


def _is_line(line: Any) -> bool:
    return isinstance(line, dict) and {"id", "answer", "error", "cost_usd"} <= line.keys()
