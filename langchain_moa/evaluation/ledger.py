"""The ledger of an evaluation: every call that was answered, so that no answer is paid for twice.

It is a JSONL file with a line for each call. Variants that make the same call share its answer. A run that was ended continues
where it was, also inside a question: what is missing is found by the calls themselves.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from io import FileIO
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.messages import message_to_dict, messages_from_dict

from langchain_moa.data.usage import cost_of_call, cost_of_messages
from langchain_moa.evaluation.limits import Budget, EvaluationError, Gate, HaltedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from filelock import BaseFileLock
    from langchain_core.messages import AIMessage

    from langchain_moa.evaluation.calls import CallRequest, QuestionRun


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """One call that was answered.

    Attributes:
        key: What was asked of whom, as a hash.
        question: The question's id.
        about: A hash of what the question asks.
        epoch: Which time it was asked, from 1.
        place: Who was asked: `layer 1, proposer 2`, `aggregator`, ...
        layer: The layer, whose proposers are asked at the same time; `None` for one that is asked by itself.
        model: The model id.
        origin: A hash of all that bears on the call beside the question.
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


# How each line begins, whole or half.
_BEGINNING = b'{"key": "'


class Ledger:
    """A ledger. It can be read without further ado; to add to it, use it as a context manager, one at a time for each file.

    A line that is not complete JSON, which a killed process or a full disk may leave, is skipped and its number kept in
    `skipped`; its call is made again. If a record cannot be written, the gate is closed, so that no further call begins. The
    records of the calls under way stay in memory, count as spent, and are written by `save` or at the end if the file can be
    written by then.

    Attributes:
        records: What was answered, by key.
        made: How many calls this process has made and had answered.
        gate: Lets calls begin.
        budget: What may be spent, and what has been.
        path: The file.
        skipped: The numbers of the lines that hold no complete record.
    """

    def __init__(self, path: Path, *, max_cost_usd: float | None = None) -> None:
        """Read the ledger.

        Args:
            path: The file; it need not exist yet.
            max_cost_usd: US dollars that may be spent, by all runs together. Default: no limit.

        Raises:
            EvaluationError: A line of the file is JSON, but not a record of a ledger.
        """
        self.made = 0
        self.gate = Gate()
        self.path = path
        self._most = max_cost_usd
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failed: dict[str, tuple[QuestionRun, Exception]] = {}
        self._unsaved: list[bytes] = []
        self._file: FileIO | None = None
        self._read()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _file_lock(self.path)
        try:
            # Another run may have added to it since it was read.
            self._end = self._read()
            self._file = _opened(self.path)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.save()
        if self._file is not None:
            self._file.close()
        self._lock.release()

    @property
    def unsaved(self) -> int:
        """How many answers are only in memory, because the file could not be written."""
        return len(self._unsaved)

    def save(self) -> bool:
        """Try again to write the records that could not be written, and return whether all are in the file."""
        try:
            while self._unsaved:
                self._append(self._unsaved[0])
                del self._unsaved[0]
        except OSError:
            return False
        return True

    async def answer(self, call: CallRequest, ask: Callable[[], Awaitable[AIMessage]]) -> CallRecord:
        """Return what was answered to a call; it is made if it is not in the ledger.

        Args:
            call: The call.
            ask: Makes it.

        Raises:
            HaltedError: It would have to be made, and the run is to end.
        """
        key = call.key
        # The same call at the same time waits for the first one's answer.
        async with self._locks[key]:
            if (record := self.records.get(key)) is not None:
                return record
            # What failed in one run is not tried again by the next, which has the same call to make.
            run, error = self._failed.get(key, (call.run, None))
            if error is not None and run is not call.run:
                raise error
            content = json.dumps(call.content, default=str)
            async with self.budget.spending(call.site.model, content, max_tokens=call.max_tokens) as spent:
                began = perf_counter()
                try:
                    message = await ask()
                except HaltedError:
                    raise
                except Exception as error:
                    self._failed[key] = (call.run, error)
                    raise
                record = self._recorded(call, message, perf_counter() - began)
                spent(record.cost_usd, message)
            self.made += 1
            call.run.made += 1
            return record

    def _recorded(self, call: CallRequest, message: AIMessage, seconds: float) -> CallRecord:
        """Write an answer down, and return its record as the file has it."""
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
        # In ASCII, because an answer may hold half a character; and clients leave all kinds of objects in what they return.
        line = json.dumps(asdict(record), default=str, skipkeys=True)
        self._write(line.encode() + b"\n")
        self.records[record.key] = replace(record, message=json.loads(line)["message"])
        return self.records[record.key]

    def _write(self, line: bytes) -> None:
        """Append a line, or keep it in memory and close the gate."""
        self._unsaved.append(line)
        if len(self._unsaved) > 1:
            return  # the gate is closed; what is under way is kept for `save`
        try:
            self._append(line)
            self._unsaved.clear()
        except OSError as error:
            reason = error.strerror or str(error)
            self.gate.close("write", f"{self.path} cannot be written ({reason}): no further call is made")

    def _append(self, line: bytes) -> None:
        """Write a whole line behind the last whole one; nothing is left to a buffer, so a killed process loses nothing."""
        if self._file is None:
            raise OSError(errno.EBADF, "the ledger is not open")
        try:
            # Half a line that a killed process has left is overwritten.
            self._file.truncate(self._end)
            self._file.seek(self._end)
            view = memoryview(line)
            while view:
                view = view[self._file.write(view) or 0 :]
        except ValueError as error:  # closed meanwhile
            raise OSError(errno.EBADF, str(error)) from error
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise
        self._end += len(line)

    def _read(self) -> int:
        """Read all records, and return where the next one belongs: behind the last line that is whole."""
        self.records: dict[str, CallRecord] = {}
        self.skipped: list[int] = []
        self.budget = Budget(self.gate, most=self._most)
        end = 0
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                fields = json.loads(line)
            except ValueError:
                self.skipped.append(number)
                # At the end of the file, the next record is written over it.
                end += len(line) if line.endswith(b"\n") else 0
                continue
            if not line.endswith(b"\n"):
                self.skipped.append(number)
                continue
            try:
                record = CallRecord(**fields)
                self.budget.count(record.model, record.cost_usd, record.answer)
            except (ValueError, TypeError, KeyError) as error:
                msg = f"{self.path}, line {number}: not a record of a ledger; remove the line, or give another --output"
                raise EvaluationError(msg) from error
            self.records[record.key] = record
            end += len(line)
        if self.skipped and not self.records and not lines[0].startswith(_BEGINNING):
            msg = f"{self.path} is not a ledger; give another --output"
            raise EvaluationError(msg)
        return end


def _said_cost(message: AIMessage) -> float | None:
    """Return what a message itself says that it cost, a recorded one for example, or what its model's price makes of it."""
    said = message.response_metadata.get("cost_usd")
    return float(said) if isinstance(said, int | float) else cost_of_messages([message])


def write_whole(path: Path, content: str | bytes, *, errors: str = "strict") -> None:
    """Write a file that only you can read, beside its place first: a reader, or a full disk, never finds half of it.

    Args:
        path: The file.
        content: What it holds; a text is written as UTF-8.
        errors: What is done with half a character in a text, as `str.encode` takes it.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    aside = path.with_name(f".{path.name}.part")
    data = content.encode("utf-8", errors) if isinstance(content, str) else content
    try:
        with _opened(aside, truncate=True) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _opened(path: Path, *, truncate: bool = False) -> FileIO:
    """Open a file for writing, readable for its owner alone."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if truncate else 0) | getattr(os, "O_BINARY", 0), 0o600)
    if hasattr(os, "fchmod"):
        with suppress(OSError):  # somebody else's file that may be written all the same
            os.fchmod(number, 0o600)
    return FileIO(number, "r+")


def _file_lock(path: Path) -> BaseFileLock:
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        msg = 'evaluations take more packages: pip install "langchain-moa[eval]"'
        raise EvaluationError(msg) from error
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        msg = f"{path} is in use by another run; wait for its end, or give another --output"
        raise EvaluationError(msg) from None
    return lock
