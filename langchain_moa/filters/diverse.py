"""Diverse: keep the few answers that differ most from each other."""

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
    """Keep the most diverse references, as RMoA does (arXiv 2505.24442), for shorter prompts with the same content.

    The reference with the lowest mean similarity to the others is chosen first, then repeatedly the one whose highest
    similarity to the chosen references is lowest. Ties go to the first proposer. The chosen references are passed on in the
    proposers' order. If embeddings fail, all references are kept.

    Attributes:
        keep: How many references to keep, at least 1. Default: 3.
        similarity: How the texts are compared: `lexical` (default), `ordered`, LangChain embeddings or their name, or a
            callable.

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
    """Return the indices of the most diverse texts, in the order in which they are chosen.

    Args:
        matrix: The similarities of the texts.
        keep: How many texts to choose, at most their number.
    """
    means = mean_to_others(matrix)
    chosen = [means.index(min(means))]
    while len(chosen) < keep:
        rest = [place for place in range(len(matrix)) if place not in chosen]
        chosen.append(min(rest, key=lambda place: max(matrix[place][other] for other in chosen)))
    return chosen
