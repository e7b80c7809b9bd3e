"""Select: a model selects the best reference, which is the answer, unchanged."""

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
"""The ranker's instruction."""


@strategy
class Select:
    """Have a model choose the answer (the LLM ranker of the paper's section 3.3).

    The model reads the references under anonymous labels, in an order drawn from a seed, and names the best. That reference
    is the answer, word for word. If the reply does not name exactly one reference, the model is asked once more. If that
    fails as well, or if the model fails, the medoid is the answer, and `response_metadata["moa"]["selected"]` says why.

    Attributes:
        model: The model that chooses. Default: the mixture's aggregator.
        instruction: The model's system prompt. Default: choose the best response, correctness first.
        seed: Seed of the order in which the references are shown. Default: 0.

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
        """Return the reference that the model names, or the medoid if it names none."""
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
    """Have a model name one reference; fall back to the medoid.

    Args:
        messages: The conversation.
        references: The references to choose from; a single reference is chosen without calling the model.
        instruction: The model's system prompt.
        question: The question at the end of the prompt; `{labels}` is replaced by the labels.
        name: The name of the call in traces and in the account.
        model: The model to ask; `None` is the aggregator.
        seed: Seed of the order in which the references are shown.
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
