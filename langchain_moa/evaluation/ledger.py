"""The ledger of an evaluation: every call that was answered, so that no answer is paid for twice.

It is a JSONL file with a line for each call. Variants that make the same call share its answer. A run that was ended continues
where it was, also inside a question: what is missing is found by the calls themselves.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from langchain_moa.batch.call_log import CallLog, CallRecord
from langchain_moa.batch.limits import Budget, EvaluationError, Gate, HaltedError
from langchain_moa.batch.line_file import LineFile, open_private, write_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from filelock import BaseFileLock
    from langchain_core.messages import AIMessage

    from langchain_moa.batch.calls import CallRequest, QuestionRun


# How each line begins, whole or half.
_BEGINNING = b'{"key": "'


class Ledger(CallLog):
    """A ledger. You can read it at once; to add to it, use it as a context manager, one at a time for each file.

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
        self._file: LineFile | None = None
        self._read()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _file_lock(self.path)
        try:
            # Another run may have added to it since it was read.
            self._file = LineFile(self.path, end=self._read())
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
        return 0 if self._file is None else len(self._file.unsaved)

    def save(self) -> bool:
        """Try again to write the records that could not be written, and return whether all are in the file."""
        return self._file is None or self._file.save()

    @override
    async def answer(self, call: CallRequest, ask: Callable[[], Awaitable[AIMessage]]) -> CallRecord:
        key = call.key
        # The same call at the same time waits for the first one's answer.
        async with self._locks[key]:
            # What failed in one run is not tried again by the next, which has the same call to make.
            run, error = self._failed.get(key, (call.run, None))
            if error is not None and run is not call.run and key not in self.records:
                raise error

            async def asked() -> AIMessage:
                try:
                    return await ask()
                except HaltedError:
                    raise
                except Exception as error:
                    self._failed[key] = (call.run, error)
                    raise

            return await super().answer(call, asked)

    @override
    def find(self, call: CallRequest) -> CallRecord | None:
        return self.records.get(call.key)

    @override
    def keep(self, record: CallRecord, line: bytes) -> None:
        self.records[record.key] = record
        if self._file is None:
            self.gate.close("write", f"{self.path} is not open for writing: no further call is made")
        elif (error := self._file.add(line)) is not None:
            reason = error.strerror or str(error)
            self.gate.close("write", f"{self.path} cannot be written ({reason}): no further call is made")

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
        with open_private(aside, truncate=True) as file:
            write_all(file, data)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


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
