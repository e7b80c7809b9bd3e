"""Medoid: the answer is the reference that is most like all the others; no model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_moa.strategies.aggregation import Choice
from langchain_moa.strategies.inquiry import Compare, Inquiry
from langchain_moa.strategies.registry import strategy
from langchain_moa.strategies.similarity import LEXICAL, Similarity, mean_to_others, medoid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference

__all__ = ["Medoid"]


@strategy
class Medoid:
    """Answer with the most central reference, unchanged; of equally central ones, with the first proposer's.

    Where embeddings fail, the texts are compared by their words, and the metadata say so.

    Attributes:
        similarity: What compares the texts: `lexical` (default), `ordered`, LangChain embeddings or their name, or a callable.

    Example:
        ```python
        from langchain_moa import create_moa

        graph = create_moa(["local:smollm2-135m"] * 5, num_layers=1, aggregation="medoid").compile()
        ```
    """

    similarity: Similarity = LEXICAL

    def __call__(self, messages: Sequence[BaseMessage], references: Sequence[Reference]) -> Inquiry[Choice]:  # noqa: ARG002  # an aggregation's arguments
        """Return the most central reference."""
        return central(references, similarity=self.similarity)


def central(references: Sequence[Reference], *, similarity: Similarity = LEXICAL, **why: Any) -> Inquiry[Choice]:
    """Choose the medoid, which is also what others fall back on when they cannot decide.

    Args:
        references: What to choose from.
        similarity: What compares.
        **why: Further plain data for the answer's metadata.
    """
    texts = [each["text"] for each in references]
    matrix = yield Compare(texts=texts, by=similarity)
    if matrix is None:
        why = {"fallback": LEXICAL, "because": "the embeddings failed", **why}
        matrix = yield Compare(texts=texts, by=LEXICAL)
    place = medoid(matrix)
    return Choice(references[place], {**why, "mean_similarity": round(mean_to_others(matrix)[place], 4)})
