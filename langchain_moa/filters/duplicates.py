"""Duplicates: an answer that says again what another one says is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from langchain_moa.strategies.definition import strategy
from langchain_moa.strategies.inquiry import Compare, Inquiry
from langchain_moa.strategies.similarity import LEXICAL, Similarity

if TYPE_CHECKING:
    from langchain_moa.closed_layer import ClosedLayer
    from langchain_moa.reference import Reference

__all__ = ["Duplicates"]


@strategy
class Duplicates:
    """Keep the first of each set of equal, or nearly equal, references: the next reader pays for each text once.

    Attributes:
        threshold: From which similarity on two texts are the same, from 0 to 1; 1 leaves out equal texts only.
        similarity: What compares the texts: `lexical` (default), LangChain embeddings or their name, or a callable.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(proposers=["local:smollm2-135m"] * 3, aggregator="local:smollm2-135m", reference_filters=["duplicates"])
        ```
    """

    threshold: float = Field(default=0.95, ge=0, le=1)
    similarity: Similarity = LEXICAL

    def __call__(self, layer: ClosedLayer) -> Inquiry[list[Reference]]:
        """Return the references that say something new."""
        texts = layer.texts
        matrix = yield Compare(texts=texts, by=self.similarity)
        spaced = [" ".join(text.split()) for text in texts]
        kept: list[int] = []
        for place in range(len(texts)):
            if not any(spaced[place] == spaced[other] or self._alike(matrix[place][other]) for other in kept):
                kept.append(place)
        return [layer.references[place] for place in kept]

    def _alike(self, similarity: float) -> bool:
        # At 1 the words' order would count for nothing: then only equal texts are duplicates.
        return self.threshold < 1 and similarity >= self.threshold
