"""Medoid: the answer is the reference that is most similar to all others; no model is called."""

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
    """Answer with the most central reference, unchanged.

    If several references are equally central, the first proposer's is the answer. If embeddings fail, the texts are compared
    by their words (`lexical`), and `response_metadata["moa"]["selected"]` reports the fallback.

    Attributes:
        similarity: How the texts are compared: `lexical` (default), `ordered`, LangChain embeddings or their name, or a
            callable.

    Example:
        ```python
        from langchain_moa import create_moa

        graph = create_moa(["local:smollm2-135m"] * 5, num_layers=1, aggregation="medoid").compile()
        ```
    """

    similarity: Similarity = LEXICAL

    def __call__(self, messages: Sequence[BaseMessage], references: Sequence[Reference]) -> Inquiry[Choice]:  # noqa: ARG002  # the signature of an aggregation
        """Return the most central reference."""
        return central(references, similarity=self.similarity)


def central(references: Sequence[Reference], *, similarity: Similarity = LEXICAL, **why: Any) -> Inquiry[Choice]:
    """Choose the medoid; other aggregations use this as their fallback when they cannot decide.

    Args:
        references: The references to choose from.
        similarity: How the texts are compared.
        **why: Additional plain data for the answer's metadata.
    """
    texts = [each["text"] for each in references]
    matrix = yield Compare(texts=texts, by=similarity)
    if matrix is None:
        why = {"fallback": LEXICAL, "because": "the embeddings failed", **why}
        matrix = yield Compare(texts=texts, by=LEXICAL)
    place = medoid(matrix)
    return Choice(references[place], {**why, "mean_similarity": round(mean_to_others(matrix)[place], 4)})
