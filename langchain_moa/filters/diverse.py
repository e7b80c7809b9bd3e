"""Diverse: the few answers that differ most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from langchain_moa.strategies.inquiry import Compare, Inquiry
from langchain_moa.strategies.registry import strategy
from langchain_moa.strategies.similarity import LEXICAL, Matrix, Similarity, mean_to_others

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Diverse"]


@strategy
class Diverse:
    """Keep the most diverse references, as RMoA does (arXiv 2505.24442): shorter prompts that say as much.

    The one with the lowest mean similarity to the others comes first; then, again and again, the one whose highest similarity
    to those chosen is lowest. Of equals the first proposer's is chosen. They are passed on in the proposers' order. Where
    embeddings fail, all are kept.

    Attributes:
        keep: How many to keep, at least 1.
        similarity: What compares the texts: `lexical` (default), `ordered`, LangChain embeddings or their name, or a callable.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.filters.diverse import Diverse

        moa = ChatMoA(
            proposers=["local:smollm2-135m"] * 5,
            aggregator="local:smollm2-135m",
            num_layers=1,
            reference_filters=[Diverse(keep=3)],
        )
        ```
    """

    keep: int = Field(default=3, ge=1)
    similarity: Similarity = LEXICAL

    def __call__(self, layer: ClosedLayer) -> Inquiry[list[Reference]]:
        """Return the references that differ most."""
        if len(layer.references) <= self.keep:
            return list(layer.references)
        matrix = yield Compare(texts=layer.texts, by=self.similarity)
        if matrix is None:
            return list(layer.references)
        return [layer.references[place] for place in sorted(most_diverse(matrix, self.keep))]


def most_diverse(matrix: Matrix, keep: int) -> list[int]:
    """Return the places of the most diverse texts, in the order in which they are chosen.

    Args:
        matrix: How alike the texts are.
        keep: How many to choose; no more than there are.
    """
    means = mean_to_others(matrix)
    chosen = [means.index(min(means))]
    while len(chosen) < keep:
        rest = [place for place in range(len(matrix)) if place not in chosen]
        chosen.append(min(rest, key=lambda place: max(matrix[place][other] for other in chosen)))
    return chosen
