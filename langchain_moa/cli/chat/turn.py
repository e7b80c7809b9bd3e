"""One question of a chat, and what has come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_moa.cli.running import Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.cli.running import Outcome
    from langchain_moa.reference import Reference
    from langchain_moa.runs import MoARun


@dataclass(eq=False)
class Turn(Watcher):
    """A question that has been asked; as a watcher it keeps what has been paid for, however the answer ends.

    Attributes:
        question: The question.
        outcome: The answer; `None` if there is none.
        references: The references so far.
        runs: What the recorder has of it, once it has ended.
    """

    question: str
    outcome: Outcome | None = None
    references: Sequence[Reference] = ()
    runs: list[MoARun] = field(default_factory=list)

    def on_references(self, references: Sequence[Reference]) -> None:
        """Keep them."""
        self.references = references
