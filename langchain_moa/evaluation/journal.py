"""The journal of a run: every call that has been answered is kept, so that a run that was killed goes on where it was.

It is a checkpointer's file, because a graph's checkpoints are exactly that: the answers of a layer's proposers are written as
they come, and a graph that is resumed calls only those that have not answered yet.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_moa.evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver


class JournalError(EvaluationError):
    """A journal belongs to another run, or is none; the text says what to do."""


@dataclass(frozen=True)
class Journal:
    """An open journal.

    Attributes:
        saver: The checkpointer of the graph.
    """

    saver: AsyncSqliteSaver

    async def forget_steps(self, thread: str) -> None:
        """Drop all but a thread's last checkpoint: each of them holds every reference so far.

        Args:
            thread: The thread.
        """
        for table in ("checkpoints", "writes"):
            # Checkpoint ids grow with time.
            older = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ?"
            statement = f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id < ({older})"  # noqa: S608  # both texts are ours
            await self._write(statement, (thread, thread))

    async def claim(self, path: Path, made_with: Mapping[str, Any]) -> None:
        """Make sure that the journal belongs to this run, or to none yet.

        Args:
            path: Where it is.
            made_with: As for `opened`.

        Raises:
            JournalError: It belongs to another run, or is none.
        """
        from aiosqlite import DatabaseError

        description = json.dumps(made_with, sort_keys=True, default=str)
        try:
            await self.saver.setup()
            # A killed process loses nothing by it; and a call that took seconds need not wait for the disk.
            await self._write("PRAGMA synchronous=NORMAL")
            await self._write("CREATE TABLE IF NOT EXISTS made_with (description TEXT)")
            found = await (await self.saver.conn.execute("SELECT description FROM made_with")).fetchone()
        except DatabaseError as error:
            msg = f"{path} is no journal of a run; move it away, or give another --output"
            raise JournalError(msg) from error
        if found is None:
            await self._write("INSERT INTO made_with VALUES (?)", (description,))
        elif found[0] != description:
            names = _differing(json.loads(found[0]), json.loads(description))
            msg = f"{path} was begun with another {names}; go on with the same, give another --output, or remove the journal"
            raise JournalError(msg)

    async def _write(self, statement: str, values: tuple[str, ...] = ()) -> None:
        # The saver's lock: one connection has one transaction at a time.
        async with self.saver.lock:
            await self.saver.conn.execute(statement, values)
            await self.saver.conn.commit()


@asynccontextmanager
async def opened(path: Path, made_with: Mapping[str, Any]) -> AsyncIterator[Journal]:
    """Open a journal, made if it is not there.

    Args:
        path: The file.
        made_with: What bears on the answers, as plain data: with something else, a journal would mix two runs.

    Yields:
        The journal.

    Raises:
        JournalError: The journal was made with something else, or the file is no journal.
        ImportError: The `eval` extra is not installed.
    """
    try:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    except ImportError as error:
        msg = 'generating for a benchmark keeps a journal: pip install "langchain-moa[eval]"'
        raise ImportError(msg) from error
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        journal = Journal(saver)
        await journal.claim(path, made_with)
        yield journal


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return ", ".join(sorted(name for name in {*old, *new} if old.get(name) != new.get(name)))
