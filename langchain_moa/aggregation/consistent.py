"""Consistent: a model selects the reference that agrees with most of the others, even if they are worded differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.aggregation.select import choose_one
from langchain_moa.strategies.registry import Model, strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.aggregation import Choice
    from langchain_moa.strategies.inquiry import Inquiry

__all__ = ["Consistent"]


CONSISTENCY = (
    "You are given several responses to a conversation's last message. Evaluate these responses, and select the most "
    "consistent response based on majority consensus."
)
"""The model's instruction, in the words of the paper."""


@strategy
class Consistent:
    """Universal Self-Consistency (Chen et al., arXiv 2311.17311): a majority vote for answers that are not short.

    A model names the reference that is most consistent with the others. This reference is the answer, unchanged. Labels,
    order, repair and fallback work as in `select`.

    Attributes:
        model: The model that decides. Default: the mixture's aggregator.
        instruction: The model's system prompt. Default: the paper's words.
        seed: Seed of the order in which the references are shown. Default: 0.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA.self_moa("local:smollm2-135m", samples=5, aggregation="consistent")
        ```
    """

    model: Model = None
    instruction: str = CONSISTENCY
    seed: int = 0

    def __call__(self, messages: Sequence[BaseMessage], references: Sequence[Reference]) -> Inquiry[Choice]:
        """Return the reference that the model finds most consistent, or the medoid if it names none."""
        return choose_one(
            messages,
            references,
            instruction=self.instruction,
            question="Which one is the most consistent: {labels}? Reply with its label alone, in double brackets, like [[A]].",
            name="consistency",
            model=self.model,
            seed=self.seed,
        )
