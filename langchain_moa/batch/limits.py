"""Limits of a run over many prompts: the budget, the gate before each call, and the circuit breaker."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from langchain_moa.data.figures import Cost
from langchain_moa.data.usage import cost_usd
from langchain_moa.members.member import NoAggregator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from langchain_core.messages import AIMessage

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


class BatchError(ValueError):
    """A run over many prompts cannot start or continue. The message has the reason and the remedy."""


class EvaluationError(BatchError):
    """The questions, the scorer or the recorded answers cannot be used. The message says where, and has the remedy."""


Reason = Literal["cost", "failures", "signal", "write"]
"""Why a run ends early: the budget is used up, too many failures in a row, a signal, or a file that cannot be written."""


class HaltedError(Exception):
    """A call was not made because the gate is closed."""


class StoppedError(BatchError):
    """A run ended early. The answers until then are kept.

    Attributes:
        reason: The reason.
    """

    def __init__(self, reason: Reason, why: str) -> None:
        """Create the error.

        Args:
            reason: The reason.
            why: The reason as a sentence.
        """
        super().__init__(why)
        self.reason = reason


class Gate:
    """Allows calls to begin until it is closed."""

    def __init__(self) -> None:
        self._stopped: StoppedError | None = None

    @property
    def reason(self) -> Reason | None:
        """The reason it is closed, or `None` while it is open."""
        return None if self._stopped is None else self._stopped.reason

    def is_open(self) -> bool:
        """Return whether calls may begin."""
        return self._stopped is None

    @property
    def why(self) -> str:
        """The reason as a sentence; empty while the gate is open."""
        return "" if self._stopped is None else str(self._stopped)

    def close(self, reason: Reason, why: str) -> None:
        """Let no further call begin. If it is called several times, the first reason is kept.

        Args:
            reason: The reason.
            why: The reason as a sentence.
        """
        if self._stopped is None:
            self._stopped = StoppedError(reason, why)

    def check(self) -> None:
        """Check that a call may begin.

        Raises:
            HaltedError: The gate is closed.
        """
        if self._stopped is not None:
            raise HaltedError(str(self._stopped))

    def require_open(self) -> None:
        """Check that the run has not ended early.

        Raises:
            StoppedError: The gate is closed.
        """
        if self._stopped is not None:
            raise self._stopped


_MOST = 8


class CircuitBreaker:
    """Closes the gate when a member or the mixture fails many times in a row, for example because of an expired key.

    Failures are counted per member, because a mixture that answers without a failing member is a different mixture.
    """

    def __init__(self, gate: Gate, *, concurrency: int) -> None:
        """Create the breaker.

        Args:
            gate: The gate to close.
            concurrency: The number of concurrent questions, all of which may fail for the same reason.
        """
        self._gate = gate
        self._most = max(_MOST, concurrency)
        self._failures: Counter[str] = Counter()

    def count(self, who: str, error: str | None) -> None:
        """Count an answer or a failure.

        Args:
            who: The member, or the mixture.
            error: The error, or `None` for an answer, which resets the count.
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
"""The expected length of an answer while nothing is known about the model, in tokens."""

_CHARACTERS = 4


def tokens_in(text: str) -> int:
    """Return the estimated number of tokens of a text, at four characters per token."""
    return -(-len(text) // _CHARACTERS)


def expected_usd(model: str, *, prompt: int, answer: int) -> float | None:
    """Return the expected cost of a call in US dollars, or `None` if the price is unknown.

    Args:
        model: The model id.
        prompt: The number of input tokens.
        answer: The number of output tokens.
    """
    return cost_usd(model, {"input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer})


def callable_members(mixture: Mixture, *, with_proposers: bool = True) -> list[Member]:
    """Return the members that a mixture may call.

    Args:
        mixture: The mixture.
        with_proposers: Whether to include the proposers, in addition to the aggregator, its fallbacks and strategy models.
    """
    members = mixture.members if with_proposers else mixture.members._replace(layers=())
    return [member for member in members.everyone if not isinstance(member.runnable, NoAggregator)]


def unpriced(members: Iterable[Member]) -> list[str]:
    """Return the models with an unknown price, which make a spending limit impossible.

    Args:
        members: The members that may be called.
    """
    return sorted({member.id for member in members if expected_usd(member.id, prompt=1, answer=1) is None})


class Budget:
    """The spending limit of a run.

    Before a call is made, its expected cost is reserved: that of its prompt and of an answer of `max_tokens`, or else of the
    longest answer of its model so far. A call that does not fit beside the reservations of calls in progress waits for them,
    because most calls cost less than was reserved. A call that does not fit into the remaining budget closes the gate.

    Attributes:
        cost: The cost of all calls, including those of earlier runs.
    """

    def __init__(self, gate: Gate, *, most: float | None = None) -> None:
        """Create the budget.

        Args:
            gate: The gate to close when the budget is used up.
            most: The limit in US dollars. Default: no limit.
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
            model: The model id.
            cost: The cost in US dollars, or `None` if it is unknown.
            message: The answer.
        """
        self.cost += Cost.of([cost])
        if message.usage_metadata is not None:
            self._longest[model] = max(message.usage_metadata["output_tokens"], self._longest.get(model, 0))

    @asynccontextmanager
    async def spending(
        self, model: str, content: Any, *, max_tokens: int | None
    ) -> AsyncIterator[Callable[[float | None, AIMessage], None]]:
        """Reserve the expected cost of a call while it is made.

        Args:
            model: The model id.
            content: The input of the call, as JSON-like data.
            max_tokens: The limit of output tokens, or `None`.

        Yields:
            A function to call with the actual cost in US dollars and the answer.

        Raises:
            HaltedError: The call does not fit into the budget, or the run is ending.
        """
        reserved = await self._reserve(model, content, max_tokens)
        self._reserved += reserved
        self._under_way[model] += 1
        try:
            yield lambda cost, message: self.count(model, cost, message)
        finally:
            self._reserved -= reserved
            self._under_way[model] -= 1
            # Wake all waiting calls to check again; later ones wait for a new event.
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
            # Until a model's first answer, the length of its answers is unknown: further calls wait.
            is_known = max_tokens is not None or model in self._longest or not self._under_way[model]
            if is_known and self.spent + self._reserved + reserved <= self._most:
                return reserved
            if self._gate.reason is None:
                await self._released.wait()
