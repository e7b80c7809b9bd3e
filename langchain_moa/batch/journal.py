"""The journal of a batch: beside the calls, which rows have their answers, and which jobs are under way.

The calls of a row are removed when its line is in the output, so the journal stays small. It keeps nothing in memory that grows
with the number of rows.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from langchain_moa.batch.call_journal import CallJournal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_moa.runs.figures import Cost


class OutputLine(NamedTuple):
    """Where a row's line is in the output.

    Attributes:
        row: The row's id.
        start: Its first byte.
        size: How many bytes it has, its end included.
        failed: Whether it has an error in place of an answer.
        about: A hash of what was asked.
    """

    row: str
    start: int
    size: int
    failed: bool
    about: str


class Job(NamedTuple):
    """A job at a provider.

    Attributes:
        token: A name that we have given it.
        provider: Whose it is.
        endpoint: What its lines are sent to.
        began: When it was submitted, in seconds since 1970.
        id: The id that the provider has given it; `None` if the process ended before that was known.
    """

    token: str
    provider: str
    endpoint: str
    began: float
    id: str | None = None


class JobLine(NamedTuple):
    """A line of a job.

    Attributes:
        id: Its id.
        status: The HTTP status of its result; `None` if there is none yet.
    """

    id: str
    status: int | None


class BatchJournal(CallJournal):
    """The journal of a batch, open."""

    kind: ClassVar[str] = "batch"

    # Two rows that ask the same are two samples.
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
        """Count what was spent until now.

        Args:
            answered: What the rows in the output have cost; to these come the calls of rows without a line in it.
        """
        self.budget.cost = answered
        self._count_spent("SELECT record FROM calls WHERE row NOT IN (SELECT row FROM lines)")

    # --- the rows ---

    def index(self, lines: Iterable[OutputLine]) -> None:
        """Record which rows have a line in the output; of several lines of a row, the last one counts.

        Args:
            lines: The lines.
        """
        with self._transaction():
            self._database.execute("DELETE FROM lines")
            self._database.executemany("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?, ?)", lines)

    def add_line(self, line: OutputLine) -> None:
        """Record that a row has its line in the output."""
        self._database.execute("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?, ?)", line)

    def line_of(self, row: str) -> OutputLine | None:
        """Return where a row's line is in the output; `None` if it has none."""
        found = self._database.execute("SELECT * FROM lines WHERE row = ?", (row,)).fetchone()
        return None if found is None else OutputLine(*found)

    def lines(self) -> Iterator[OutputLine]:
        """Yield the lines of the output, one for each row, in the order in which they were written."""
        for found in self._database.execute("SELECT * FROM lines ORDER BY start"):
            yield OutputLine(*found)

    def lines_in_order(self) -> Iterator[OutputLine]:
        """Yield the lines of the output in the order in which their rows were seen in the input; the others follow."""
        order = "SELECT lines.* FROM lines LEFT JOIN seen USING (row) ORDER BY seen.line IS NULL, seen.line, lines.start"
        for found in self._database.execute(order):
            yield OutputLine(*found)

    def counted(self) -> tuple[int, int]:
        """Return how many rows have a line, and how many of these failed."""
        found = self._database.execute("SELECT COUNT(*), COALESCE(SUM(failed), 0) FROM lines").fetchone()
        return int(found[0]), int(found[1])

    def see(self, row: str, line: int) -> int | None:
        """Record that the input has a row.

        Args:
            row: Its id.
            line: The number of its line.

        Returns:
            The line of a row with the same id that was seen before; `None` if it is new.
        """
        try:
            self._database.execute("INSERT INTO seen VALUES (?, ?)", (row, line))
        except sqlite3.IntegrityError:
            return int(self._database.execute("SELECT line FROM seen WHERE row = ?", (row,)).fetchone()[0])
        return None

    def forget_seen(self) -> None:
        """Forget which rows were seen, before the input is read again."""
        self._database.execute("DELETE FROM seen")

    def remove_calls(self, rows: Iterable[str]) -> None:
        """Remove the calls of rows whose answers are in the output.

        Args:
            rows: Their ids.
        """
        with suppress(OSError), self._transaction():  # on a full disk they stay, which is no harm
            self._database.executemany("DELETE FROM calls WHERE row = ?", ((row,) for row in rows))

    def remove_answered(self) -> None:
        """Remove the calls of all rows that have an answer, which a process that was killed may have left."""
        with suppress(sqlite3.Error):
            self._database.execute("DELETE FROM calls WHERE row IN (SELECT row FROM lines WHERE NOT failed)")

    # --- the jobs of `--half-price` ---

    def add_job(self, job: Job, lines: Iterable[tuple[str, str]]) -> None:
        """Write down a job that is about to be submitted, so that it is found even if the process is killed meanwhile.

        Args:
            job: The job, without its id.
            lines: The id of each line, and the hash of what it asks.

        Raises:
            OSError: It cannot be written.
        """
        with self._transaction():
            self._database.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?)", job)
            self._database.executemany(
                "INSERT INTO job_lines VALUES (?, ?, ?, NULL, NULL)", ((line, key, job.token) for line, key in lines)
            )

    def name_job(self, token: str, id_: str) -> None:
        """Write down the id that the provider has given to a job.

        Args:
            token: Our name of the job.
            id_: The id.

        Raises:
            OSError: It cannot be written.
        """
        with self._transaction():
            self._database.execute("UPDATE jobs SET job = ? WHERE token = ?", (id_, token))

    def jobs(self, provider: str) -> list[Job]:
        """Return the jobs of a provider that are not over."""
        return [
            Job(*each) for each in self._database.execute("SELECT * FROM jobs WHERE provider = ? ORDER BY began", (provider,))
        ]

    def job_lines(self, token: str) -> list[str]:
        """Return the ids of a job's lines that have no result yet."""
        found = self._database.execute("SELECT id FROM job_lines WHERE token = ? AND status IS NULL", (token,))
        return [each[0] for each in found]

    def add_results(self, results: Iterable[tuple[str, int, str]]) -> None:
        """Write down the results of lines: the id, the HTTP status and the body.

        Raises:
            OSError: They cannot be written.
        """
        with self._transaction():
            self._database.executemany(
                "UPDATE job_lines SET status = ?, body = ? WHERE id = ?",
                ((status, body, line) for line, status, body in results),
            )

    def end_job(self, token: str) -> None:
        """Forget a job whose results are written down, and its lines that have none."""
        with self._transaction():
            self._database.execute("DELETE FROM jobs WHERE token = ?", (token,))
            self._database.execute("DELETE FROM job_lines WHERE token = ? AND status IS NULL", (token,))

    def job_lines_for(self, key: str) -> list[JobLine]:
        """Return the lines that ask something, by its hash."""
        return [JobLine(*each) for each in self._database.execute("SELECT id, status FROM job_lines WHERE key = ?", (key,))]

    def result(self, line: str) -> tuple[int, str] | None:
        """Return the HTTP status and the body of a line's result; `None` if it has none yet."""
        found = self._database.execute("SELECT status, body FROM job_lines WHERE id = ?", (line,)).fetchone()
        return None if found is None or found[0] is None else (found[0], found[1])

    def remove_job_line(self, line: str) -> None:
        """Forget a line whose result has become a call's answer."""
        with suppress(sqlite3.Error):
            self._database.execute("DELETE FROM job_lines WHERE id = ?", (line,))
