"""Vote: the answer is the one that most references come to; no model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.aggregation.medoid import central
from langchain_moa.strategies.aggregation import Choice
from langchain_moa.strategies.extract import Extract, tally
from langchain_moa.strategies.registry import strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.inquiry import Inquiry

__all__ = ["Vote"]


@strategy
class Vote:
    r"""Answer with a reference of the majority, for tasks whose answers are short: a number, a letter, an expression.

    The short answer is extracted from each reference; references without one have no vote. The answer is the first of the
    references that have the most frequent short answer, unchanged. A tie goes to the short answer that comes first in the
    proposers' order, so name the proposer that you trust most first. Where no reference has a short answer, the medoid is
    the answer.

    Attributes:
        extract: What the short answer of a text is. `number`: the number said to be the answer, or else the last one.
            `letter`: the option last said to be the answer. `boxed`: what is in the last `\boxed{...}`. `said`: whichever of
            them the text presents as its answer, in a box, in words (`The answer is 18`) or by itself. `auto` (default): the
            same, or else the last number. Or a callable from a text to its short answer or `None`.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.aggregation.vote import Vote

        moa = ChatMoA(proposers=["local:smollm2-135m"] * 5, num_layers=1, aggregation=Vote(extract="number"))
        ```
    """

    extract: Extract = "auto"

    def __call__(
        self,
        messages: Sequence[BaseMessage],  # noqa: ARG002  # an aggregation's arguments
        references: Sequence[Reference],
    ) -> Inquiry[Choice] | Choice:
        """Return the first reference of the majority, or else the medoid."""
        counted = tally((each["text"] for each in references), self.extract)
        if not counted:
            return central(references, fallback="medoid", because="no reference has an answer that can be counted")
        (answer, places), *others = counted
        tied = bool(others) and len(others[0][1]) == len(places)
        return Choice(
            references[places[0]],
            {"answer": answer, "votes": len(places), "of": len(references), **({"tie": True} if tied else {})},
        )
