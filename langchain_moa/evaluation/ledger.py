"""The ledger of an evaluation: every call that was answered, so that no answer is paid for twice.

It is a JSONL file with a line for each call. Variants that make the same call share its answer, and a run that was ended
goes on where it was, inside a question, too: what is missing is found by the calls themselves.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.messages import message_to_dict, messages_from_dict

from langchain_moa.data.usage import cost_of_call, cost_of_messages
from langchain_moa.evaluation.budget import Budget
from langchain_moa.evaluation.errors import EvaluationError
from langchain_moa.evaluation.gate import Gate, HaltedError
from langchain_moa.evaluation.lock import acquire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from langchain_core.messages import AIMessage

    from langchain_moa.evaluation.call import Call, Run


@dataclass(frozen=True, kw_only=True)
class Entry:
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


class Ledger:
    """A ledger. It can be read as it is; to add to it, use it as a context manager, of which there is one at a time.

    Attributes:
        entries: What was answered, by key.
        made: How many calls this process has made and had answered.
        gate: Lets calls begin.
        budget: What may be spent, and what has been.
    """

    def __init__(self, path: Path, *, max_cost_usd: float | None = None) -> None:
        """Read the ledger.

        Args:
            path: The file; it need not be there yet.
            max_cost_usd: US dollars that may be spent, by all runs together. Default: no limit.

        Raises:
            EvaluationError: A line of the file is none of a ledger's.
        """
        self.made = 0
        self.gate = Gate()
        self.path = path
        self._most = max_cost_usd
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failed: dict[str, tuple[Run, Exception]] = {}
        self._read()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        if not acquire(self._file):
            self._file.close()
            msg = f"{self.path} is in use by another run; wait for its end, or give another --output"
            raise EvaluationError(msg)
        # Another run may have added to it since, and half a line is what a killed process has left.
        self._file.truncate(self._read())
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    async def answer(self, call: Call, ask: Callable[[], Awaitable[AIMessage]]) -> Entry:
        """Return what was answered to a call; it is made if it is not in the ledger.

        Args:
            call: The call.
            ask: Makes it.

        Raises:
            HaltedError: It would have to be made, and the run is to end.
        """
        key = call.key
        # Who makes the same call at the same time waits for its answer.
        async with self._locks[key]:
            if (entry := self.entries.get(key)) is not None:
                return entry
            # What failed in one run is not tried again by the next, which has the same call to make.
            run, error = self._failed.get(key, (call.run, None))
            if error is not None and run is not call.run:
                raise error
            content = json.dumps(call.content, default=str)
            async with self.budget.spending(call.part.model, content, max_tokens=call.max_tokens) as spent:
                began = perf_counter()
                try:
                    message = await ask()
                except HaltedError:
                    raise
                except Exception as error:
                    self._failed[key] = (call.run, error)
                    raise
                entry = self._written(call, message, perf_counter() - began)
                spent(entry.cost_usd, message)
            self.made += 1
            call.run.made += 1
            return entry

    def _written(self, call: Call, message: AIMessage, seconds: float) -> Entry:
        """Write an answer down, and return it as the file has it."""
        usage = message.usage_metadata
        entry = Entry(
            key=call.key,
            question=call.run.question,
            about=call.run.about,
            epoch=call.run.epoch,
            place=call.part.place,
            layer=call.part.layer,
            model=call.part.model,
            origin=call.part.origin,
            time=round(time(), 3),
            seconds=round(seconds, 6),
            cost_usd=cost_of_call({"model": call.part.model, "usage": usage, "cost_usd": cost_of_messages([message])}),
            message=message_to_dict(message),
        )
        # In ASCII, because an answer may hold half a character; and clients leave all kinds of objects in what they return.
        line = json.dumps(asdict(entry), default=str, skipkeys=True)
        self._file.write(line.encode() + b"\n")
        # A killed process loses nothing that it has handed over.
        self._file.flush()
        self.entries[entry.key] = replace(entry, message=json.loads(line)["message"])
        return self.entries[entry.key]

    def _read(self) -> int:
        """Read all whole lines, and return how long they are together."""
        self.entries: dict[str, Entry] = {}
        self.budget = Budget(self.gate, most=self._most)
        whole = 0
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = Entry(**json.loads(line))
                self.budget.count(entry.model, entry.cost_usd, entry.answer)
            except (ValueError, TypeError, KeyError) as error:
                msg = f"{self.path}, line {number}: no entry of a ledger; mend or remove the line, or give another --output"
                raise EvaluationError(msg) from error
            self.entries[entry.key] = entry
            whole += len(line)
        return whole
