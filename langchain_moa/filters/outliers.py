"""Outliers: drop answers that differ from the rest, such as those of a deceptive member."""

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
"""The smallest number of answers that can have an outlier."""


@strategy
class Outliers:
    """Split the references into two clusters and keep the larger one if they are far apart (after arXiv 2503.05856).

    The references are clustered by mean similarity. The smaller cluster is dropped if its mean similarity to the larger one is
    less than `apart` times the mean similarity within the larger one; clusters of equal size are both kept.

    This separates answers to the question from text about something else. By its words, a well-written wrong answer is not an
    outlier; embeddings as `similarity` detect more than words do. If embeddings fail, all references are kept.

    Attributes:
        apart: The fraction of the larger cluster's own similarity that the smaller cluster must reach, from 0 (nothing is
            dropped) to 1 (the smaller cluster is dropped if it is any less similar). Default: 0.6.
        similarity: How the texts are compared: `lexical` (default), `ordered`, LangChain embeddings or their name, or a
            callable.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(proposers=["local:smollm2-135m"] * 5, aggregator="local:smollm2-135m", reference_filters=["outliers"])
        ```
    """

    apart: float = Field(default=0.6, ge=0, le=1)
    similarity: Similarity = LEXICAL

    def __call__(self, layer: ClosedLayer) -> Inquiry[list[Reference]]:
        """Return the references of the main cluster."""
        if len(layer.references) < _FEWEST:
            return list(layer.references)
        matrix = yield Compare(texts=layer.texts, by=self.similarity)
        if matrix is None:
            return list(layer.references)
        return [layer.references[place] for place in sorted(main_cluster(matrix, self.apart))]


def main_cluster(matrix: Matrix, apart: float) -> list[int]:
    """Return the indices of the texts in the main cluster, or of all texts if the clusters are not far apart.

    Args:
        matrix: The similarities of the texts, of which there must be at least two.
        apart: The fraction of the larger cluster's own similarity that the smaller cluster must reach to be kept.
    """
    clusters = [[place] for place in range(len(matrix))]
    while len(clusters) > 2:  # noqa: PLR2004  # two clusters
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
