"""The output of a batch: a JSONL file with a line for each row, as the answers come."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_moa.batch.journal import BatchJournal, OutputLine
from langchain_moa.batch.limits import BatchError
from langchain_moa.batch.line_file import LineFile, open_private, write_all
from langchain_moa.data.rows import Row, RowError
from langchain_moa.runs.figures import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from langchain_moa.batch.rows import RowReader

OWN_FIELDS = ("id", "answer", "error", "cost_usd", "tokens", "degraded", "references")
"""What a line says beside the columns of its row."""


def with_columns(columns: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line: what it says itself, and the columns of its row.

    Args:
        columns: The columns. One with the name of a field of the line, such as the right `answer` of a benchmark, is called
            `input_answer` there.
        own: The fields of the line; `id` is the first, and the others follow the columns.
    """
    carried = {}
    for name, value in columns.items():
        kept = name
        while kept in OWN_FIELDS or (kept != name and kept in columns):
            kept = f"input_{kept}"
        carried[kept] = value
    rest = {name: value for name, value in own.items() if name != "id"}
    return {"id": own["id"], **carried, **rest}


class Output:
    """The output file of a run that has its journal open.

    Attributes:
        path: The file.
        cost: What the answers in it have cost.
        skipped: The numbers of its lines that are not complete; their rows are asked again.
    """

    def __init__(self, path: Path, journal: BatchJournal, reader: RowReader) -> None:
        """Read the file, one line at a time, and open it for writing.

        Args:
            path: The file; it need not be there yet.
            journal: The journal, which records which rows have a line.
            reader: What the columns of a line have asked.

        Raises:
            BatchError: The file is something else than the output of a batch.
            OSError: It cannot be read or written.
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
        """How many lines are only in memory, because the file could not be written."""
        return len(self._file.unsaved)

    def add(self, row: str, line: Mapping[str, Any], about: str) -> None:
        """Write a row's line. If it cannot be written, it stays in memory and the gate is closed.

        Args:
            row: The row's id.
            line: What it says.
            about: A hash of what was asked.
        """
        # In ASCII, because an answer may hold half a surrogate pair; `default`, because columns may hold dates.
        data = json.dumps(line, default=str, skipkeys=True).encode()
        start = self._file.end
        error = self._file.add(data)
        if error is not None:
            self._journal.gate.close("write", f"{self.path} cannot be written ({error.strerror}): no further call is made")
        if self._file.unsaved:
            return
        failed = line["error"] is not None
        self._journal.add_line(OutputLine(row, start, len(data) + 1, failed, about))
        if not failed:
            self._unsynced.append(row)

    async def sync(self) -> None:
        """Have what was written outlive a power failure; only then are the calls of these rows removed from the journal.

        Raises:
            OSError: It cannot be written.
        """
        rows, self._unsynced = self._unsynced, []
        await asyncio.to_thread(self._file.sync)
        self._journal.remove_calls(rows)

    def save(self) -> bool:
        """Try again to write what could not be written, and return whether all is in the file."""
        return self._file.save()

    def close(self) -> None:
        """Close the file."""
        if self.save():
            with suppress(OSError):
                self._file.sync()
                self._journal.remove_calls(self._unsynced)
        self._file.close()

    def drop_failed(self) -> None:
        """Remove the lines of rows that have failed, so that they are asked again."""
        if self._journal.counted()[1]:
            self.rewrite(line for line in self._journal.lines() if not line.failed)

    def rewrite(self, lines: Iterable[OutputLine]) -> None:
        """Write the file again with these of its lines, in this order: aside first and then renamed.

        Args:
            lines: The lines.

        Raises:
            OSError: It cannot be written; the file is unchanged.
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
        """Yield its lines, and find its end."""
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
                    # Half a line at the end is overwritten; one in the middle stays.
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
        """Return a hash of what a row has asked; empty where its line does not have it."""
        try:
            return self._reader.read(Row(str(self.path), 0, line)).about
        except RowError:
            return ""


def _is_line(line: Any) -> bool:
    return isinstance(line, dict) and {"id", "answer", "error", "cost_usd"} <= line.keys()
