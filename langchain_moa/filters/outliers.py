"""Outliers: answers that stand apart from the rest are left out, such as those of a member that deceives."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import Field

from langchain_moa.strategies.inquiry import Compare, Inquiry
from langchain_moa.strategies.registry import strategy
from langchain_moa.strategies.similarity import LEXICAL, Matrix, Similarity

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Outliers"]

_FEWEST = 3
"""Of two answers, neither is the outlier."""


@strategy
class Outliers:
    """Cluster the references in two and keep the larger cluster (after arXiv 2503.05856), if the two are far apart.

    The clusters are joined by mean similarity. The smaller one goes where its mean similarity to the larger one is less than
    `apart` times that within the larger one; clusters of equal size both stay. It tells answers to the question from text
    that is about something else; a well-written wrong answer is not an outlier by its words. Embeddings, given as
    `similarity`, see more than words do; where they fail, all are kept.

    Attributes:
        apart: How far apart is too far, from 0 (nothing goes) to 1 (the smaller cluster goes where it is any less alike).
        similarity: What compares the texts: `lexical` (default), `ordered`, LangChain embeddings or their name, or a callable.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(proposers=["local:smollm2-135m"] * 5, aggregator="local:smollm2-135m", reference_filters=["outliers"])
        ```
    """

    apart: float = Field(default=0.6, ge=0, le=1)
    similarity: Similarity = LEXICAL

    def __call__(self, layer: ClosedLayer) -> Inquiry[list[Reference]]:
        """Return the references that belong together."""
        if len(layer.references) < _FEWEST:
            return list(layer.references)
        matrix = yield Compare(texts=layer.texts, by=self.similarity)
        if matrix is None:
            return list(layer.references)
        return [layer.references[place] for place in sorted(main_cluster(matrix, self.apart))]


def main_cluster(matrix: Matrix, apart: float) -> list[int]:
    """Return the places of the texts that belong together.

    Args:
        matrix: How alike the texts are; at least two.
        apart: Which part of the larger cluster's own similarity the smaller one must reach to stay.
    """
    clusters = [[place] for place in range(len(matrix))]
    while len(clusters) > 2:  # noqa: PLR2004  # the larger and the smaller
        one, other = max(
            combinations(range(len(clusters)), 2),
            key=lambda pair: _between(matrix, clusters[pair[0]], clusters[pair[1]]),
        )
        clusters[one] += clusters.pop(other)
    smaller, larger = sorted(clusters, key=len)
    within = fmean(matrix[i][j] for i, j in combinations(larger, 2)) if len(larger) > 1 else 1.0
    if len(smaller) == len(larger) or _between(matrix, smaller, larger) >= apart * within:
        return [*larger, *smaller]
    return larger


def _between(matrix: Matrix, one: list[int], other: list[int]) -> float:
    return fmean(matrix[i][j] for i in one for j in other)
