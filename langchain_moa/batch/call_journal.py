"""The journal of calls: an SQLite database that returns recorded answers, and makes and records the calls it does not have.

Each call is one transaction, so a killed process loses no answered call. A run locks the database while it is open, so a second
run is refused. Batches and evaluations use it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from shutil import disk_usage
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast
from weakref import WeakValueDictionary

from langchain_core.messages import message_to_dict, messages_from_dict

from langchain_moa.batch.limits import BatchError, Budget, Gate, HaltedError
from langchain_moa.data.files import open_private
from langchain_moa.data.usage import cost_of_call, cost_of_messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from langchain_core.messages import AIMessage

    from langchain_moa.batch.calls import CallRequest, QuestionRun


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """The record of an answered call.

    Attributes:
        key: A hash of the member and its input.
        question: The question's id.
        about: A hash of the question's messages.
        epoch: The repetition of the question, from 1.
        place: The member's position: `layer 1, proposer 2`, `aggregator`, ...
        layer: The layer of a proposer; `None` for other members.
        model: The model id.
        origin: A hash of everything besides the question that affects the answer.
        time: The time of the answer, in seconds since 1970.
        seconds: The duration of the call.
        cost_usd: The cost in US dollars; `None` if the price is unknown.
        message: The answer, in LangChain's serialized form.
    """

    key: str
    question: str
    about: str
    epoch: int
    place: str
    layer: int | None
    model: str
    origin: str
    time: float
    seconds: float
    cost_usd: float | None
    message: Mapping[str, Any]

    @property
    def answer(self) -> AIMessage:
        """The answer."""
        return cast("AIMessage", messages_from_dict([dict(self.message)])[0])


# Bytes that are to be free before anything is asked: answers that cannot be written would be paid for again.
_ROOM = 1_000_000

_TABLES = """
CREATE TABLE IF NOT EXISTS calls (row TEXT NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (row, key));
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class CallJournal:
    """An open journal of calls. Use it as a context manager.

    If a call cannot be written, the gate is closed, so that no further call begins. Calls in progress are kept in memory and
    count as spent. `save` and `close` try to write them again.

    Attributes:
        path: The file; `None` for a temporary journal.
        gate: Decides whether calls may begin.
        budget: The spending limit and the amount spent so far.
        made: The number of calls that this process made and that were answered.
        unsaved: Calls that could not be written yet.
    """

    kind: ClassVar[str] = "evaluation"
    """The kind of journal. A file of another kind is refused."""

    shares_calls: ClassVar[bool] = True
    """Whether identical calls of different questions share one answer."""

    tables: ClassVar[str] = ""
    """SQL that creates the tables of a subclass."""

    def __init__(self, path: Path | None, *, max_cost_usd: float | None = None) -> None:
        """Open the journal.

        Args:
            path: The file, which is created if it does not exist. `None` opens a temporary journal.
            max_cost_usd: The spending limit of all runs together, in US dollars. Default: no limit.

        Raises:
            BatchError: Another run has it open, the file is not a journal of this kind, or the disk is full.
            OSError: The file cannot be opened.
        """
        self.path = path
        self.gate = Gate()
        self.budget = Budget(self.gate, most=max_cost_usd)
        self.made = 0
        self.unsaved: list[CallRecord] = []
        # A lock lives as long as a call holds it or waits for it.
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._failed: dict[str, tuple[QuestionRun, Exception]] = {}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if disk_usage(path.parent).free < _ROOM:
                msg = f"the disk has no room for {path}; free some space, or give another --output"
                raise BatchError(msg)
            open_private(path).close()
        # SQLite releases its own locks when the process ends, on every system.
        self._database = sqlite3.connect("" if path is None else path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            # Safe if the process is killed; `sync` protects against a power failure.
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(f"BEGIN EXCLUSIVE; COMMIT; {_TABLES} {self.tables}")
            self.require("kind", self.kind, f"{path} is a journal of something else; give another --output")
            if self.shares_calls:
                self._count_spent("SELECT record FROM calls")
        except sqlite3.Error as error:
            self._database.close()
            raise BatchError(_refusal(path, error)) from error
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open a journal for reading. If the file does not exist, open a temporary journal, so that no file is created.

        Args:
            path: The file.

        Raises:
            BatchError: Another run has it open, or the file is not a journal of this kind.
        """
        return cls(path if path.exists() else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of calls, including those that are not written yet."""
        found = self._database.execute("SELECT COUNT(*) FROM calls").fetchone()
        return int(found[0]) + len(self.unsaved)

    def close(self) -> None:
        """Try to write unsaved calls, and unlock the journal for other runs."""
        self.save()
        self._database.close()

    # --- calls ---

    async def answer(self, call: CallRequest, ask: Callable[[], Awaitable[AIMessage]]) -> CallRecord:
        """Return the record of a call, and make the call if there is none.

        Concurrent identical calls wait for the first one's answer. A shared call that failed in one run is not repeated by the
        next run; its error is raised again.

        Args:
            call: The call.
            ask: Makes it.

        Raises:
            HaltedError: The call is not recorded, and the run is ending.
        """
        place = self._place(call)
        async with self._locks.setdefault(place, asyncio.Lock()):
            if (found := self.find(call)) is not None:
                return found
            run, error = self._failed.get(call.key, (call.run, None))
            if error is not None and run is not call.run:
                raise error
            async with self.budget.spending(call.site.model, call.content, max_tokens=call.max_tokens) as spent:
                began = perf_counter()
                message = await self._asked(call, ask)
                record, line = _recorded(call, message, perf_counter() - began)
                self._keep(record, line)
                spent(record.cost_usd, message)
            self.made += 1
            call.run.made += 1
            return record

    async def _asked(self, call: CallRequest, ask: Callable[[], Awaitable[AIMessage]]) -> AIMessage:
        try:
            return await ask()
        except HaltedError:
            raise
        except Exception as error:
            if self.shares_calls:
                self._failed[call.key] = (call.run, error)
            raise

    def find(self, call: CallRequest) -> CallRecord | None:
        """Return the record of a call, or `None` if there is none."""
        place = self._place(call)
        if (unsaved := next((each for each in self.unsaved if self._place_of(each) == place), None)) is not None:
            return unsaved
        found = self._database.execute("SELECT record FROM calls WHERE row = ? AND key = ?", place).fetchone()
        return None if found is None else CallRecord(**json.loads(found[0]))

    def records(self) -> Iterator[CallRecord]:
        """Yield the records of all calls in the file."""
        for (line,) in self._database.execute("SELECT record FROM calls"):
            yield CallRecord(**json.loads(line))

    def save(self) -> bool:
        """Try to write unsaved calls, and return whether all calls are in the file."""
        try:
            while self.unsaved:
                self._insert(self.unsaved[0], _line(self.unsaved[0]))
                del self.unsaved[0]
        except sqlite3.Error:
            return False
        return True

    def sync(self) -> None:
        """Flush the journal to disk, so that it survives a power failure."""
        with suppress(sqlite3.Error):
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _keep(self, record: CallRecord, line: str) -> None:
        """Write the record of a call. If that fails, keep it in memory and close the gate."""
        self.unsaved.append(record)
        if len(self.unsaved) > 1:
            return  # the gate is closed; `save` writes it later
        try:
            self._insert(record, line)
            self.unsaved.clear()
        except sqlite3.Error as error:
            self.gate.close("write", f"{self.path or 'the journal'} cannot be written ({error}): no further call is made")

    def _insert(self, record: CallRecord, line: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", (*self._place_of(record), line))

    def _place(self, call: CallRequest) -> tuple[str, str]:
        return ("" if self.shares_calls else call.run.question), call.key

    def _place_of(self, record: CallRecord) -> tuple[str, str]:
        return ("" if self.shares_calls else record.question), record.key

    def _count_spent(self, query: str) -> None:
        for (line,) in self._database.execute(query):
            record = CallRecord(**json.loads(line))
            self.budget.count(record.model, record.cost_usd, record.answer)

    # --- facts ---

    def require(self, name: str, value: str, refusal: str) -> None:
        """Check that a fact is the same as in the run that created the journal.

        Args:
            name: The name of the fact.
            value: Its current value, which is stored if there is none yet.
            refusal: The error message.

        Raises:
            BatchError: The stored value differs.
            OSError: The journal cannot be written.
        """
        with self._transaction():
            self._database.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            if self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone() != (value,):
                raise BatchError(refusal)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise OSError(errno.EIO, str(error)) from error


def _refusal(path: Path | None, error: sqlite3.Error) -> str:
    """Return the error message for a journal that cannot be opened."""
    match getattr(error, "sqlite_errorcode", 0):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is in use by another run; wait for its end, or give another --output"
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return f"{path} is not a journal ({error}); give another --output, or remove the file"
    return f"{path} cannot be written ({error}); free some space, check its permissions, or give another --output"


def _recorded(call: CallRequest, message: AIMessage, seconds: float) -> tuple[CallRecord, str]:
    """Return the record of an answer, as it will be read back, and its JSON."""
    usage = message.usage_metadata
    record = CallRecord(
        key=call.key,
        question=call.run.question,
        about=call.run.about,
        epoch=call.run.epoch,
        place=call.site.place,
        layer=call.site.layer,
        model=call.site.model,
        origin=call.site.origin,
        time=round(time(), 3),
        seconds=round(seconds, 6),
        cost_usd=cost_of_call({"model": call.site.model, "usage": usage, "cost_usd": _said_cost(message)}),
        message=message_to_dict(message),
    )
    line = _line(record)
    return replace(record, message=json.loads(line)["message"]), line


def _line(record: CallRecord) -> str:
    # ASCII, because answers may have lone surrogates; `default`, because clients may return objects of any class.
    return json.dumps(asdict(record), default=str, skipkeys=True)


def _said_cost(message: AIMessage) -> float | None:
    """Return the cost that a message states, as recorded ones do, or else the cost by the price of its model."""
    said = message.response_metadata.get("cost_usd")
    return float(said) if isinstance(said, int | float) else cost_of_messages([message])
