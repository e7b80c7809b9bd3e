"""What a run over many prompts may spend, and what ends it early: the budget, the gate before every call, repeated failures."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from langchain_moa.data.usage import cost_usd
from langchain_moa.members.member import NoAggregator
from langchain_moa.runs.figures import Cost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from langchain_core.messages import AIMessage

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


class BatchError(ValueError):
    """A run over many prompts cannot begin or go on as it was asked for; the text says why, and the remedy."""


class EvaluationError(BatchError):
    """The questions, the scorer or what was recorded cannot be used; the text says where and what would do."""


Reason = Literal["cost", "failures", "signal", "write"]
"""Why a run ends early: the money is not enough, nothing but failures comes, a signal came, or a file cannot be written."""


class HaltedError(Exception):
    """A call was to begin after the gate had been closed; what it was for has no answer."""


class StoppedError(BatchError):
    """A run has ended early; what was answered until then is kept.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Reason, why: str) -> None:
        """Make the error.

        Args:
            reason: Why.
            why: The same in a sentence.
        """
        super().__init__(why)
        self.reason = reason


class Gate:
    """Lets calls begin until it is closed."""

    def __init__(self) -> None:
        self._stopped: StoppedError | None = None

    @property
    def reason(self) -> Reason | None:
        """Why it is closed; `None` while it is open."""
        return None if self._stopped is None else self._stopped.reason

    def is_open(self) -> bool:
        """Tell whether calls may begin."""
        return self._stopped is None

    @property
    def why(self) -> str:
        """The same in a sentence; empty while it is open."""
        return "" if self._stopped is None else str(self._stopped)

    def close(self, reason: Reason, why: str) -> None:
        """Let no further call begin; of several reasons the first one counts.

        Args:
            reason: Why.
            why: The same in a sentence.
        """
        if self._stopped is None:
            self._stopped = StoppedError(reason, why)

    def check(self) -> None:
        """Refuse a call that is about to begin.

        Raises:
            HaltedError: The gate is closed.
        """
        if self._stopped is not None:
            raise HaltedError(str(self._stopped))

    def require_open(self) -> None:
        """Refuse to return a result of a run that has ended early.

        Raises:
            StoppedError: The gate is closed.
        """
        if self._stopped is not None:
            raise self._stopped


_MOST = 8


class CircuitBreaker:
    """Closes the gate when a member or the mixture fails again and again, with an expired key for example.

    Failures are counted for each member: a mixture answers without a member that fails, and would then be another mixture.
    """

    def __init__(self, gate: Gate, *, concurrency: int) -> None:
        """Make it.

        Args:
            gate: What is closed.
            concurrency: How many questions are under way at once, which all may fail for one reason.
        """
        self._gate = gate
        self._most = max(_MOST, concurrency)
        self._failures: Counter[str] = Counter()

    def count(self, who: str, error: str | None) -> None:
        """Count an answer or its lack.

        Args:
            who: Who was asked.
            error: Why there is no answer; `None` if there is one, after which the count begins anew.
        """
        if error is None:
            self._failures[who] = 0
            return
        self._failures[who] += 1
        if self._failures[who] >= self._most:
            self._gate.close(
                "failures", f"{who} failed {self._most} times in a row, and the run was given up; the last: {error}"
            )


ANSWER_TOKENS = 300
"""Tokens of an answer of which nothing is known yet."""

_CHARACTERS = 4


def tokens_in(text: str) -> int:
    """Return about how many tokens a text has, four characters each."""
    return -(-len(text) // _CHARACTERS)


def expected_usd(model: str, *, prompt: int, answer: int) -> float | None:
    """Return what a call will cost, in US dollars; `None` where the price is not known.

    Args:
        model: The model id.
        prompt: Tokens that it reads.
        answer: Tokens that it writes.
    """
    return cost_usd(model, {"input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer})


def callable_members(mixture: Mixture, *, with_proposers: bool = True) -> list[Member]:
    """Return the members that a mixture may call.

    Args:
        mixture: The mixture.
        with_proposers: Whether the proposers are called, beside the aggregator, its fallbacks, and the models of strategies.
    """
    members = mixture.members if with_proposers else mixture.members._replace(layers=())
    return [member for member in members.everyone if not isinstance(member.runnable, NoAggregator)]


def unpriced(members: Iterable[Member]) -> list[str]:
    """Return the models whose price is not known: with one of them, no limit in dollars can be kept.

    Args:
        members: The members that may be called.
    """
    return sorted({member.id for member in members if expected_usd(member.id, prompt=1, answer=1) is None})


class Budget:
    """What may be spent, and what has been.

    Before a call is made, its cost is reserved: its prompt, and an answer as long as it may be, or as the longest of its model
    so far. A call that does not fit beside those under way waits for them, since most cost less than was reserved. One that
    would not fit after them, either, is never made, and closes the gate.

    Attributes:
        cost: What the calls have cost, those of earlier runs included.
    """

    def __init__(self, gate: Gate, *, most: float | None = None) -> None:
        """Make the budget.

        Args:
            gate: What is closed when the money is not enough.
            most: US dollars. Default: no limit.
        """
        self.cost = Cost()
        self._gate = gate
        self._most = most
        self._reserved = 0.0
        self._longest: dict[str, int] = {}
        self._under_way: Counter[str] = Counter()
        self._released = asyncio.Event()

    @property
    def spent(self) -> float:
        """US dollars; calls whose price is not known count as nothing."""
        return self.cost.usd

    def count(self, model: str, cost: float | None, message: AIMessage) -> None:
        """Count an answer.

        Args:
            model: Whose it is.
            cost: US dollars.
            message: The answer.
        """
        self.cost += Cost.of([cost])
        if message.usage_metadata is not None:
            self._longest[model] = max(message.usage_metadata["output_tokens"], self._longest.get(model, 0))

    @asynccontextmanager
    async def spending(
        self, model: str, content: Any, *, max_tokens: int | None
    ) -> AsyncIterator[Callable[[float | None, AIMessage], None]]:
        """Reserve what a call costs while it is made.

        Args:
            model: The model id.
            content: What it reads, as plain data.
            max_tokens: The longest that its answer may be, in tokens.

        Yields:
            A function that takes the cost in US dollars, and the answer.

        Raises:
            HaltedError: The money is not enough, or the run is to end.
        """
        reserved = await self._reserve(model, content, max_tokens)
        self._reserved += reserved
        self._under_way[model] += 1
        try:
            yield lambda cost, message: self.count(model, cost, message)
        finally:
            self._reserved -= reserved
            self._under_way[model] -= 1
            # All calls that wait check again; those that wait after that have a new event.
            self._released.set()
            self._released = asyncio.Event()

    async def _reserve(self, model: str, content: Any, max_tokens: int | None) -> float:
        if self._most is None:
            self._gate.check()
            return 0.0
        prompt = tokens_in(json.dumps(content, default=str))
        while True:
            self._gate.check()
            answer = max_tokens or self._longest.get(model, ANSWER_TOKENS)
            reserved = expected_usd(model, prompt=prompt, answer=answer) or 0.0
            if self.spent + reserved > self._most:
                left = max(0.0, self._most - self.spent)
                why = f"--max-cost-usd {self._most:g}: ${left:.4f} is left, and the next call may cost ${reserved:.4f}"
                self._gate.close("cost", why)
            # The length of a model's answers is not known before the first one: other calls wait for it.
            is_known = max_tokens is not None or model in self._longest or not self._under_way[model]
            if is_known and self.spent + self._reserved + reserved <= self._most:
                return reserved
            if self._gate.reason is None:
                await self._released.wait()
