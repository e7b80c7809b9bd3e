"""The journal of a batch. In addition to calls, it records the rows that have an answer and the jobs in progress.

The calls of a row are removed when its line is in the output, so the journal stays small. Its memory use does not grow with the
number of rows.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from langchain_moa.batch.call_journal import CallJournal
from langchain_moa.batch.limits import BatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_moa.data.figures import Cost


class OutputLine(NamedTuple):
    """The position of a row's line in the output.

    Attributes:
        row: The row's id.
        start: The offset of its first byte.
        size: Its size in bytes, including the newline.
        failed: Whether it has an error instead of an answer.
        about: A hash of the row's messages.
    """

    row: str
    start: int
    size: int
    failed: bool
    about: str


class Job(NamedTuple):
    """A batch job at a provider.

    Attributes:
        token: Our name for the job.
        provider: The name of the provider.
        endpoint: The endpoint of its lines.
        began: The time of its submission, in seconds since 1970.
        id: The provider's id; `None` if the process ended before it was known.
    """

    token: str
    provider: str
    endpoint: str
    began: float
    id: str | None = None


class JobLine(NamedTuple):
    """A line of a job.

    Attributes:
        id: The id of the line.
        status: The HTTP status of its result, or `None` if there is none yet.
    """

    id: str
    status: int | None


class BatchJournal(CallJournal):
    """The open journal of a batch."""

    kind: ClassVar[str] = "batch"

    # Rows with the same prompt are separate samples.
    shares_calls: ClassVar[bool] = False

    tables: ClassVar[str] = """
CREATE TABLE IF NOT EXISTS jobs (token TEXT PRIMARY KEY, provider TEXT NOT NULL, endpoint TEXT NOT NULL, began REAL NOT NULL,
    job TEXT);
CREATE TABLE IF NOT EXISTS job_lines (id TEXT PRIMARY KEY, key TEXT NOT NULL, token TEXT NOT NULL, status INTEGER, body TEXT);
CREATE INDEX IF NOT EXISTS job_lines_by_key ON job_lines (key);
CREATE INDEX IF NOT EXISTS job_lines_by_token ON job_lines (token);
CREATE TEMP TABLE lines (row TEXT PRIMARY KEY, start INTEGER, size INTEGER, failed INTEGER, about TEXT) WITHOUT ROWID;
CREATE TEMP TABLE seen (row TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID;
"""

    def count_spent(self, answered: Cost) -> None:
        """Set the cost so far.

        Args:
            answered: The cost of the rows in the output. The calls of all other rows are added to it.
        """
        self.budget.cost = answered
        self._count_spent("SELECT record FROM calls WHERE row NOT IN (SELECT row FROM lines)")

    def forget_facts(self) -> None:
        """Let the next run differ in its mixture, `system` and `prompt_field`, if nothing was asked yet."""
        with self._transaction():
            self._database.execute(
                "DELETE FROM facts WHERE name != 'kind' "
                "AND NOT EXISTS (SELECT * FROM calls) AND NOT EXISTS (SELECT * FROM jobs)"
            )

    # --- the rows ---

    def index(self, lines: Iterable[OutputLine]) -> None:
        """Record which rows have a line in the output. If a row has several lines, the last one counts.

        Args:
            lines: The lines.
        """
        with self._transaction():
            self._database.execute("DELETE FROM lines")
            self._database.executemany("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?, ?)", lines)

    def add_line(self, line: OutputLine) -> None:
        """Record that a row has its line in the output.

        Raises:
            BatchError: The folder of temporary files is full.
        """
        with _indexing():
            self._database.execute("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?, ?)", line)

    def line_of(self, row: str) -> OutputLine | None:
        """Return the position of a row's line in the output, or `None` if it has none."""
        found = self._database.execute("SELECT * FROM lines WHERE row = ?", (row,)).fetchone()
        return None if found is None else OutputLine(*found)

    def lines(self) -> Iterator[OutputLine]:
        """Yield the lines of the output, one for each row, in the order in which they were written."""
        for found in self._database.execute("SELECT * FROM lines ORDER BY start"):
            yield OutputLine(*found)

    def lines_in_order(self) -> Iterator[OutputLine]:
        """Yield the lines of the output in the order of the input, followed by those of rows that are not in the input."""
        order = "SELECT lines.* FROM lines LEFT JOIN seen USING (row) ORDER BY seen.line IS NULL, seen.line, lines.start"
        for found in self._database.execute(order):
            yield OutputLine(*found)

    def counted(self) -> tuple[int, int]:
        """Return the number of rows that have a line, and how many of them failed."""
        found = self._database.execute("SELECT COUNT(*), COALESCE(SUM(failed), 0) FROM lines").fetchone()
        return int(found[0]), int(found[1])

    def see(self, row: str, line: int) -> int | None:
        """Record that the input has a row.

        Args:
            row: The row's id.
            line: Its line number.

        Returns:
            The line number of an earlier row with the same id, or `None`.

        Raises:
            BatchError: The folder of temporary files is full.
        """
        with _indexing():
            try:
                self._database.execute("INSERT INTO seen VALUES (?, ?)", (row, line))
            except sqlite3.IntegrityError:
                return int(self._database.execute("SELECT line FROM seen WHERE row = ?", (row,)).fetchone()[0])
        return None

    def forget_seen(self) -> None:
        """Clear the rows that were seen, before the input is read again."""
        self._database.execute("DELETE FROM seen")

    def remove_calls(self, rows: Iterable[str]) -> None:
        """Remove the calls of rows whose answers are in the output.

        Args:
            rows: The ids of the rows.
        """
        with suppress(OSError), self._transaction():  # on a full disk they stay, which does no harm
            self._database.executemany("DELETE FROM calls WHERE row = ?", ((row,) for row in rows))

    def remove_answered(self) -> None:
        """Remove the calls of all answered rows, which a killed process may have left behind."""
        with suppress(sqlite3.Error):
            self._database.execute("DELETE FROM calls WHERE row IN (SELECT row FROM lines WHERE NOT failed)")

    # --- the jobs of `--half-price` ---

    def add_job(self, job: Job, lines: Iterable[tuple[str, str]]) -> None:
        """Record a job before it is submitted, so that it is found again even if the process is killed.

        Args:
            job: The job, without an id.
            lines: The id and the key of each line.

        Raises:
            OSError: The journal cannot be written.
        """
        with self._transaction():
            self._database.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?)", job)
            self._database.executemany(
                "INSERT INTO job_lines VALUES (?, ?, ?, NULL, NULL)", ((line, key, job.token) for line, key in lines)
            )

    def name_job(self, token: str, id_: str) -> None:
        """Record the provider's id of a job.

        Args:
            token: Our name for the job.
            id_: The provider's id.

        Raises:
            OSError: The journal cannot be written.
        """
        with self._transaction():
            self._database.execute("UPDATE jobs SET job = ? WHERE token = ?", (id_, token))

    def jobs(self, provider: str) -> list[Job]:
        """Return the jobs of a provider that have not ended."""
        return [
            Job(*each) for each in self._database.execute("SELECT * FROM jobs WHERE provider = ? ORDER BY began", (provider,))
        ]

    def job_ids(self, provider: str) -> set[str]:
        """Return the ids of a provider's jobs that have not ended, as far as they are known."""
        return {job.id for job in self.jobs(provider) if job.id is not None}

    def job_lines(self, token: str) -> list[str]:
        """Return the ids of the lines of a job that have no result yet."""
        found = self._database.execute("SELECT id FROM job_lines WHERE token = ? AND status IS NULL", (token,))
        return [each[0] for each in found]

    def add_results(self, results: Iterable[tuple[str, int, str]]) -> None:
        """Record the results of lines: the id, the HTTP status and the body.

        Raises:
            OSError: The journal cannot be written.
        """
        with self._transaction():
            self._database.executemany(
                "UPDATE job_lines SET status = ?, body = ? WHERE id = ?",
                ((status, body, line) for line, status, body in results),
            )

    def end_job(self, token: str) -> None:
        """Remove a job whose results are recorded, and its lines without a result."""
        with self._transaction():
            self._database.execute("DELETE FROM jobs WHERE token = ?", (token,))
            self._database.execute("DELETE FROM job_lines WHERE token = ? AND status IS NULL", (token,))

    def job_lines_for(self, key: str) -> list[JobLine]:
        """Return the lines with a key."""
        return [JobLine(*each) for each in self._database.execute("SELECT id, status FROM job_lines WHERE key = ?", (key,))]

    def result(self, line: str) -> tuple[int, str] | None:
        """Return the HTTP status and body of a line's result, or `None` if there is none yet."""
        found = self._database.execute("SELECT status, body FROM job_lines WHERE id = ?", (line,)).fetchone()
        return None if found is None or found[0] is None else (found[0], found[1])

    def remove_job_line(self, line: str) -> None:
        """Remove a line whose result has been recorded as the answer of a call."""
        with suppress(sqlite3.Error):
            self._database.execute("DELETE FROM job_lines WHERE id = ?", (line,))


@contextmanager
def _indexing() -> Iterator[None]:
    """Say what to do where the index of the rows, which SQLite keeps in temporary files, cannot be written."""
    try:
        yield
    except sqlite3.OperationalError as error:
        msg = (
            f"the index of the rows cannot be written ({error}): free some space in the folder of temporary files, or set "
            "TMPDIR to another folder"
        )
        raise BatchError(msg) from error
