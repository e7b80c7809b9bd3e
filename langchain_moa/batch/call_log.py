"""The record of calls: what was answered is looked up, and what is missing is asked, paid for and written down."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import message_to_dict, messages_from_dict

from langchain_moa.data.usage import cost_of_call, cost_of_messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain_core.messages import AIMessage

    from langchain_moa.batch.calls import CallRequest
    from langchain_moa.batch.limits import Budget, Gate


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


class CallLog(ABC):
    """A record of calls. `evaluation.Ledger` keeps one in a JSONL file, `batch.Journal` in a database.

    Attributes:
        made: How many calls this process has made and had answered.
        gate: Lets calls begin.
        budget: What may be spent, and what has been.
    """

    gate: Gate
    budget: Budget
    made: int = 0

    @abstractmethod
    def find(self, call: CallRequest) -> CallRecord | None:
        """Return the record of a call; `None` if it has not been answered."""

    @abstractmethod
    def keep(self, record: CallRecord, line: bytes) -> None:
        """Keep the record of a call that was answered now.

        If it cannot be written, it stays in memory, and the gate is closed.

        Args:
            record: The record.
            line: The same as JSON in ASCII, without a line's end.
        """

    async def answer(self, call: CallRequest, ask: Callable[[], Awaitable[AIMessage]]) -> CallRecord:
        """Return what was answered to a call; it is made if there is no record of it.

        Args:
            call: The call.
            ask: Makes it.

        Raises:
            HaltedError: It would have to be made, and the run is to end.
        """
        if (found := self.find(call)) is not None:
            return found
        async with self.budget.spending(call.site.model, call.content, max_tokens=call.max_tokens) as spent:
            began = perf_counter()
            message = await ask()
            record, line = _recorded(call, message, perf_counter() - began)
            self.keep(record, line)
            spent(record.cost_usd, message)
        self.made += 1
        call.run.made += 1
        return record


def _recorded(call: CallRequest, message: AIMessage, seconds: float) -> tuple[CallRecord, bytes]:
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
    # In ASCII, because an answer may hold half a surrogate pair; `default`, because clients return objects of any class.
    line = json.dumps(asdict(record), default=str, skipkeys=True)
    return replace(record, message=json.loads(line)["message"]), line.encode()


def _said_cost(message: AIMessage) -> float | None:
    """Return what a message itself says that it cost, a recorded one for example, or what its model's price makes of it."""
    said = message.response_metadata.get("cost_usd")
    return float(said) if isinstance(said, int | float) else cost_of_messages([message])
