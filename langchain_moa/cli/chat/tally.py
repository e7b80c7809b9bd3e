"""What a chat has used since it began."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_moa.cli.console import counted

if TYPE_CHECKING:
    from langchain_moa.cli.chat.turn import Turn


@dataclass
class Tally:
    """The sum over all questions, those without an answer included: their references have been paid for, too.

    Attributes:
        questions: How many were asked.
        calls: How many calls are known to have been made.
        tokens_in: Tokens read, as far as providers counted them.
        tokens_out: Tokens written.
        cost_usd: Dollars; `None` once there was a call whose price is not known.
    """

    questions: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0

    def add(self, turn: Turn) -> None:
        """Add what a turn has used."""
        from langchain_moa.usage import account, total_usage

        moa = account(turn.references, None, stopped=None) if turn.outcome is None else turn.outcome.moa
        usage = total_usage(moa)
        self.questions += 1
        self.calls += moa["calls"]
        if usage is not None:
            self.tokens_in += usage["input_tokens"]
            self.tokens_out += usage["output_tokens"]
        cost = moa.get("cost_usd")
        self.cost_usd = None if cost is None or self.cost_usd is None else self.cost_usd + cost

    def __str__(self) -> str:
        """Say it in a line."""
        tokens = f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out" if self.tokens_in or self.tokens_out else ""
        cost = f"${self.cost_usd:.4f}" if self.cost_usd else ""
        counts = f"{counted(self.questions, 'question')}, {counted(self.calls, 'call')}"
        return " · ".join(part for part in (counts, tokens, cost) if part)
