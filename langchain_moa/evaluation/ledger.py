"""The ledger of a comparison: every call that was answered, so that no answer is paid for twice.

It is a JSONL file with a line for each call. Variants that make the same call share its answer, and a run that was ended
goes on where it was, inside a question, too: what is missing is found by the calls themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.messages import message_to_dict, messages_from_dict

from langchain_moa.evaluation.errors import EvaluationError
from langchain_moa.usage import cost_usd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from langchain_core.messages import AIMessage

    from langchain_moa.evaluation.budget import Budget


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One call that was answered.

    Attributes:
        key: What was asked of whom, as a hash.
        question: The question's id.
        epoch: The how-manieth time it was asked, from 1.
        place: Who was asked: `layer 1, proposer 2`, `aggregator`, ...
        model: The model id.
        seconds: Wall-clock time of the call.
        cost_usd: US dollars, `None` where the price is not known.
        message: The answer, as LangChain writes messages down.
    """

    key: str
    question: str
    epoch: int
    place: str
    model: str
    seconds: float
    cost_usd: float | None
    message: Mapping[str, Any]

    @property
    def answer(self) -> AIMessage:
        """The answer."""
        return cast("AIMessage", messages_from_dict([dict(self.message)])[0])


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that is to be made, unless the ledger has its answer.

    Attributes:
        question: The question's id.
        epoch: The how-manieth time it is asked.
        place: Who is asked.
        model: The model id.
        content: Everything that bears on the answer, as plain data.
        repeat: The how-manieth such call of the run it is, from 1; samples of one prompt are as many calls.
        run: The run that makes it; what failed in one run is not tried again by the next, which has the same call to make.
    """

    question: str
    epoch: int
    place: str
    model: str
    content: Any
    repeat: int = 1
    run: object

    @property
    def key(self) -> str:
        """The hash of what is asked of whom."""
        asked = [self.epoch, self.place, self.model, self.content, self.repeat]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:32]


class Ledger:
    """An open ledger. Use it as a context manager.

    Attributes:
        entries: What was answered, by key.
        made: How many calls this process has made and had answered.
    """

    def __init__(self, path: Path, *, budget: Budget) -> None:
        """Read the ledger.

        Args:
            path: The file; it need not be there yet.
            budget: What may be spent.

        Raises:
            EvaluationError: A line of the file is none of a ledger's.
        """
        self.made = 0
        self._path = path
        self._budget = budget
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failed: dict[str, tuple[object, Exception]] = {}
        self.entries: dict[str, Entry] = {}
        self._whole = 0
        self._read()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        # Half a line is what a killed process has left.
        self._file.truncate(self._whole)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    async def answer(self, call: Call, ask: Callable[[], Awaitable[AIMessage]]) -> Entry:
        """Return what was answered to a call; it is made if it is not in the ledger.

        Args:
            call: The call.
            ask: Makes it.
        """
        key = call.key
        # Who makes the same call at the same time waits for its answer.
        async with self._locks[key]:
            if (entry := self.entries.get(key)) is not None:
                return entry
            run, error = self._failed.get(key, (call.run, None))
            if error is not None and run is not call.run:
                raise error
            async with self._budget.spending(call.model, json.dumps(call.content, default=str)) as spent:
                began = perf_counter()
                try:
                    message = await ask()
                except Exception as error:
                    self._failed[key] = (call.run, error)
                    raise
                entry = self._entry(call, message, perf_counter() - began)
                spent(entry.cost_usd, message)
            self._write(entry)
            return entry

    def _entry(self, call: Call, message: AIMessage, seconds: float) -> Entry:
        usage = message.usage_metadata
        return Entry(
            key=call.key,
            question=call.question,
            epoch=call.epoch,
            place=call.place,
            model=call.model,
            seconds=round(seconds, 6),
            cost_usd=None if usage is None else cost_usd(call.model, usage),
            message=message_to_dict(message),
        )

    def _write(self, entry: Entry) -> None:
        self.entries[entry.key] = entry
        self.made += 1
        self._file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
        # A killed process loses nothing that it has handed over.
        self._file.flush()

    def _read(self) -> None:
        if not self._path.exists():
            return
        for number, line in enumerate(self._path.read_bytes().splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError) as error:
                msg = f"{self._path}, line {number}: no entry of a ledger; mend or remove the line, or give another --output"
                raise EvaluationError(msg) from error
            self.entries[entry.key] = entry
            self._whole += len(line)
