"""What a chat has used since it began."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_moa.cli.console import counted
from langchain_moa.cli.spending import Spending

if TYPE_CHECKING:
    from langchain_moa.cli.chat.turn import Turn


@dataclass
class Tally:
    """The sum over all questions, those without an answer included: their references have been paid for, too.

    Attributes:
        questions: How many were asked.
        calls: How many calls are known to have been made.
        spending: What they have used.
    """

    questions: int = 0
    calls: int = 0
    spending: Spending = field(default_factory=Spending)

    def add(self, turn: Turn) -> None:
        """Add what a turn has used."""
        self.questions += 1
        self.calls += turn.moa["calls"]
        self.spending += Spending.of(turn.moa)

    def __str__(self) -> str:
        """Say it in a line."""
        counts = f"{counted(self.questions, 'question')}, {counted(self.calls, 'call')}"
        return " · ".join(part for part in (counts, str(self.spending)) if part)
