"""The budget of a comparison: what calls may cost, and what they are expected to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from langchain_moa.usage import cost_usd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from langchain_core.messages import AIMessage

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


class Budget:
    """What may be spent, and what has been.

    Before a call is made, its cost is reserved: its prompt, and an answer as long as the longest of the model so far, or as
    `max_tokens` allows. A call that the rest of the money is not enough for is never made; it ends the run.

    Attributes:
        spent: US dollars that this run has spent; calls whose price is not known count as nothing.
        exhausted: Set when a call was too dear.
    """

    def __init__(self, most: float | None = None, *, max_tokens: int | None = None) -> None:
        """Make the budget.

        Args:
            most: US dollars. Default: no limit.
            max_tokens: The longest answer of every call. Default: the longest seen so far.
        """
        self.spent = 0.0
        self.exhausted = asyncio.Event()
        self._most = most
        self._max_tokens = max_tokens
        self._reserved = 0.0
        self._longest: dict[str, int] = {}

    @asynccontextmanager
    async def spending(self, model: str, prompt: str) -> AsyncIterator[Callable[[float | None, AIMessage], None]]:
        """Reserve what a call costs while it is made.

        Args:
            model: The model id.
            prompt: What it reads.

        Yields:
            What to tell the cost to, and the answer.
        """
        answer = self._max_tokens or self._longest.get(model, ANSWER_TOKENS)
        reserved = expected_usd(model, prompt=tokens_in(prompt), answer=answer) or 0.0
        if self._most is not None and self.spent + self._reserved + reserved > self._most:
            self.exhausted.set()
            # Whoever raised here would be a member that failed; the run is ended from outside.
            await asyncio.Future()

        def spend(cost: float | None, message: AIMessage) -> None:
            self.spent += cost or 0.0
            if message.usage_metadata is not None:
                written = message.usage_metadata["output_tokens"]
                self._longest[model] = max(written, self._longest.get(model, 0))

        self._reserved += reserved
        try:
            yield spend
        finally:
            self._reserved -= reserved
