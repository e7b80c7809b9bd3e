"""Select: a model names the best reference, and that reference is the answer, unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.aggregation.medoid import central
from langchain_moa.strategies.aggregation import Choice
from langchain_moa.strategies.ballot import FAIR, Ballot
from langchain_moa.strategies.inquiry import decide
from langchain_moa.strategies.registry import Model, strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.strategies.inquiry import Inquiry

__all__ = ["Select"]

RANKER = (
    "You judge responses to a conversation's last message. Choose the one that is best: correct first of all, then helpful, "
    f"complete and clear. {FAIR}"
)
"""What the ranker is told it is."""


@strategy
class Select:
    """Have a model choose (the LLM ranker of the paper's section 3.3): what it names is the answer, word for word.

    The references stand under anonymous labels, in an order drawn from a seed. A reply that does not name exactly one of
    them is asked for once more; then, or if the model fails, the medoid is the answer, and the metadata say so.

    Attributes:
        model: Who chooses. Default: the mixture's aggregator.
        instruction: What it is told to look at.
        seed: Another seed draws other orders.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(
            proposers=["local:smollm2-135m", "local:gemma3-270m"],
            aggregator="local:smollm2-135m",
            num_layers=1,
            aggregation="select",
        )
        ```
    """

    model: Model = None
    instruction: str = RANKER
    seed: int = 0

    def __call__(self, messages: Sequence[BaseMessage], references: Sequence[Reference]) -> Inquiry[Choice]:
        """Return the reference that the ranker names, or else the medoid."""
        question = "Which response is best: {labels}? Reply with its label alone, in double brackets, like [[A]]."
        return choose_one(
            messages,
            references,
            instruction=self.instruction,
            question=question,
            name="ranker",
            model=self.model,
            seed=self.seed,
        )


def choose_one(
    messages: Sequence[BaseMessage],
    references: Sequence[Reference],
    *,
    instruction: str,
    question: str,
    name: str,
    model: Proposer | None,
    seed: int,
) -> Inquiry[Choice]:
    """Have a model name one reference; fall back on the medoid.

    Args:
        messages: The conversation.
        references: What to choose from; one alone is chosen without a question.
        instruction: Who the model is to be.
        question: What it is asked in the end; `{labels}` stands for the labels.
        name: What the call is named.
        model: Whom to ask; `None` stands for the aggregator.
        seed: Draws the order.
    """
    if len(references) == 1:
        return Choice(references[0])
    ballot = Ballot.of(references, seed=seed)

    form = f"one label of {', '.join(ballot.labels)} in double brackets, like [[A]]"
    ask = ballot.ask(
        messages,
        instruction=instruction,
        question=question.format(labels=" or ".join(ballot.labels)),
        name=name,
        model=model,
    )
    label, problem = yield from decide(ask, ballot.label_in, form=form)
    if label is None:
        return (yield from central(references, fallback="medoid", because=problem))
    return Choice(ballot.labelled[label])
