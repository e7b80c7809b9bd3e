"""The budget of an evaluation: what calls may cost, and what they are expected to."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from langchain_moa.data.usage import cost_usd
from langchain_moa.members.member import Nobody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from langchain_core.messages import AIMessage

    from langchain_moa.evaluation.gate import Gate
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

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


def everyone(mixture: Mixture, *, with_proposers: bool = True) -> list[Member]:
    """Return whoever a mixture may call.

    Args:
        mixture: The mixture.
        with_proposers: Whether the proposers are called, beside the aggregator, its stand-ins, and the models of strategies.
    """
    members = mixture.members
    proposers = [member for layer in members.layers for member in layer] if with_proposers else []
    each = [*proposers, members.aggregator, *members.fallbacks, *(other for _, other in members.others)]
    return [member for member in each if not isinstance(member.runnable, Nobody)]


def unpriced(members: Iterable[Member]) -> list[str]:
    """Return the models whose price is not known: with one of them, no limit in dollars can be kept.

    Args:
        members: Whoever may be called.
    """
    return sorted({member.id for member in members if expected_usd(member.id, prompt=1, answer=1) is None})


class Budget:
    """What may be spent, and what has been.

    Before a call is made, its cost is reserved: its prompt, and an answer as long as it may be, or as the longest of its model
    so far. A call that does not fit beside those under way waits for them, since most cost less than was reserved. One that
    would not fit after them, either, is never made, and closes the gate.

    Attributes:
        spent: US dollars, those of earlier runs too; calls whose price is not known count as nothing.
    """

    def __init__(self, gate: Gate, *, most: float | None = None) -> None:
        """Make the budget.

        Args:
            gate: What is closed when the money is not enough.
            most: US dollars. Default: no limit.
        """
        self.spent = 0.0
        self._gate = gate
        self._most = most
        self._reserved = 0.0
        self._longest: dict[str, int] = {}
        self._under_way: Counter[str] = Counter()
        self._released = asyncio.Event()

    def count(self, model: str, cost: float | None, message: AIMessage) -> None:
        """Count an answer.

        Args:
            model: Whose it is.
            cost: US dollars.
            message: The answer.
        """
        self.spent += cost or 0.0
        if message.usage_metadata is not None:
            self._longest[model] = max(message.usage_metadata["output_tokens"], self._longest.get(model, 0))

    @asynccontextmanager
    async def spending(
        self, model: str, prompt: str, *, max_tokens: int | None
    ) -> AsyncIterator[Callable[[float | None, AIMessage], None]]:
        """Reserve what a call costs while it is made.

        Args:
            model: The model id.
            prompt: What it reads.
            max_tokens: The longest that its answer may be.

        Yields:
            What to tell the cost to, and the answer.

        Raises:
            HaltedError: The money is not enough, or the run is to end.
        """
        reserved = await self._reserve(model, tokens_in(prompt), max_tokens)
        self._reserved += reserved
        self._under_way[model] += 1
        try:
            yield lambda cost, message: self.count(model, cost, message)
        finally:
            self._reserved -= reserved
            self._under_way[model] -= 1
            # Whoever waits looks again; the next to wait has an event of their own.
            self._released.set()
            self._released = asyncio.Event()

    async def _reserve(self, model: str, prompt: int, max_tokens: int | None) -> float:
        while True:
            self._gate.check()
            answer = max_tokens or self._longest.get(model, ANSWER_TOKENS)
            reserved = expected_usd(model, prompt=prompt, answer=answer) or 0.0
            if self._most is None:
                return reserved
            if self.spent + reserved > self._most:
                left = max(0.0, self._most - self.spent)
                why = f"--max-cost-usd {self._most:g}: ${left:.4f} is left, and the next call may cost ${reserved:.4f}"
                self._gate.close("cost", why)
            # Nobody knows how long a model's answers are before the first one: that one is waited for.
            is_known = max_tokens is not None or model in self._longest or not self._under_way[model]
            if is_known and self.spent + self._reserved + reserved <= self._most:
                return reserved
            if self._gate.reason is None:
                await self._released.wait()
