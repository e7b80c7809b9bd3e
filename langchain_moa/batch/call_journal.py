"""The journal of calls: what was answered is found again; what is missing is asked, paid for and written down.

It is an SQLite database. Each call is a transaction, so a process that is killed loses no call that was answered. A run locks
it as long as it has it open, so a second run is refused. Batches and evaluations keep their calls in it.
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
from langchain_moa.batch.line_file import open_private
from langchain_moa.data.usage import cost_of_call, cost_of_messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from langchain_core.messages import AIMessage

    from langchain_moa.batch.calls import CallRequest, QuestionRun


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """One call that was answered.

    Attributes:
        key: A hash of what was asked of which member.
        question: The question's id.
        about: A hash of what the question asks.
        epoch: Which time it was asked, from 1.
        place: Who was asked: `layer 1, proposer 2`, `aggregator`, ...
        layer: The layer, whose proposers are asked at the same time; `None` for one that is asked by itself.
        model: The model id.
        origin: A hash of all that affects the answer beside the question.
        time: When it was answered, in seconds since 1970.
        seconds: Wall-clock time of the call.
        cost_usd: US dollars, `None` where the price is not known.
        message: The answer, as LangChain writes messages down.
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
    """A journal of calls that is open. Use it as a context manager.

    If a call cannot be written, the gate is closed, so that no further call begins. The calls under way stay in memory and
    count as spent. `save`, or the end, writes them if the file can be written by then.

    Attributes:
        path: The file; `None` for a temporary journal.
        gate: Lets calls begin.
        budget: What may be spent, and what has been spent.
        made: How many calls this process has made and had answered.
        unsaved: The calls that could not be written yet.
    """

    kind: ClassVar[str] = "evaluation"
    """What the journal is for; a journal of another kind is refused."""

    shares_calls: ClassVar[bool] = True
    """Whether questions that make the same call share its answer."""

    tables: ClassVar[str] = ""
    """The tables beside those of the calls, in SQL."""

    def __init__(self, path: Path | None, *, max_cost_usd: float | None = None) -> None:
        """Open the journal.

        Args:
            path: The file; it is created if it does not exist. `None`: a temporary journal that ends with the process.
            max_cost_usd: US dollars that may be spent, by all runs together. Default: no limit.

        Raises:
            BatchError: Another run has it open, the file is not a journal of this kind, or the disk is full.
            OSError: It cannot be opened.
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
            # A process that is killed loses nothing. `sync` protects what was written against a power failure.
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
        """Open the journal to see what it has; where there is none yet, a temporary one, so that no file is created.

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
        """Return how many calls it has, those that are not written yet included."""
        found = self._database.execute("SELECT COUNT(*) FROM calls").fetchone()
        return int(found[0]) + len(self.unsaved)

    def close(self) -> None:
        """Write what could not be written before, if it can be written now, and let other runs open the journal."""
        self.save()
        self._database.close()

    # --- calls ---

    async def answer(self, call: CallRequest, ask: Callable[[], Awaitable[AIMessage]]) -> CallRecord:
        """Return what was answered to a call; it is made if there is no record of it.

        The same call at the same time waits for the first one's answer. A shared call that failed in one run is not tried again
        by the next one.

        Args:
            call: The call.
            ask: Makes it.

        Raises:
            HaltedError: It would have to be made, and the run is to end.
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
        """Return the record of a call; `None` if it has not been answered."""
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
        """Try again to write the calls that could not be written, and return whether all are in the file."""
        try:
            while self.unsaved:
                self._insert(self.unsaved[0], _line(self.unsaved[0]))
                del self.unsaved[0]
        except sqlite3.Error:
            return False
        return True

    def sync(self) -> None:
        """Have the system write to the disk what it has of the journal, so that it outlives a power failure, too."""
        with suppress(sqlite3.Error):
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _keep(self, record: CallRecord, line: str) -> None:
        """Write a call that was answered now; if that is not possible, it stays in memory, and the gate is closed."""
        self.unsaved.append(record)
        if len(self.unsaved) > 1:
            return  # the gate is closed; what is under way is kept for `save`
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
        """Refuse to go on with something else than the run that began the journal.

        Args:
            name: What is to be the same.
            value: What it is now; kept if nothing is known yet.
            refusal: What the error says.

        Raises:
            BatchError: It was something else before.
            OSError: It cannot be written.
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
    """Return why a journal cannot be opened, and what to do."""
    match getattr(error, "sqlite_errorcode", 0):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is in use by another run; wait for its end, or give another --output"
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return f"{path} is not a journal ({error}); give another --output, or remove the file"
    return f"{path} cannot be written ({error}); free some space, check its permissions, or give another --output"


def _recorded(call: CallRequest, message: AIMessage, seconds: float) -> tuple[CallRecord, str]:
    """Return the record of an answer as it will be read again, and its line."""
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
    # In ASCII, because an answer may hold half a surrogate pair; `default`, because clients return objects of any class.
    return json.dumps(asdict(record), default=str, skipkeys=True)


def _said_cost(message: AIMessage) -> float | None:
    """Return what a message itself says that it cost, a recorded one for example, or what its model's price makes of it."""
    said = message.response_metadata.get("cost_usd")
    return float(said) if isinstance(said, int | float) else cost_of_messages([message])
