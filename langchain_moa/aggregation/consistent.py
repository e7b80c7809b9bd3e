"""Consistent: a model names the reference that most others agree with, whatever their form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.aggregation.select import choose_one
from langchain_moa.strategies.strategy import Model, strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.members.proposer import Proposer
    from langchain_moa.nodes.choose import Choice
    from langchain_moa.reference import Reference
    from langchain_moa.strategies.inquiry import Inquiry


@strategy
class Consistent:
    """Universal Self-Consistency (Chen et al., arXiv 2311.17311): a majority vote where no short answer can be extracted.

    The model says which reference is most consistent with the others; that one is the answer, unchanged. Labels, order,
    repair and fallback are those of `select`.

    Attributes:
        model: Who decides. Default: the mixture's aggregator.
        seed: Another seed draws other orders.
    """

    model: Model = None
    seed: int = 0

    @property
    def models(self) -> tuple[Proposer | None, ...]:
        """Whom it asks."""
        return (self.model,)

    def __call__(self, messages: Sequence[BaseMessage], references: Sequence[Reference]) -> Inquiry[Choice]:
        """Ask for the most consistent reference."""
        return choose_one(
            messages,
            references,
            instruction=(
                "You are given several responses to a conversation's last message. Evaluate these responses, and select the "
                "most consistent response based on majority consensus."
            ),
            question="Which one is the most consistent: {labels}? Reply with its label alone, in double brackets, like [[A]].",
            name="consistency",
            model=self.model,
            seed=self.seed,
        )
