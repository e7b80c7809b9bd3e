"""Duplicates: an answer that says again what another one says is left out."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from pydantic import Field

from langchain_moa.strategies.extract import auto
from langchain_moa.strategies.extract.letters import plain
from langchain_moa.strategies.extract.numbers import numerals
from langchain_moa.strategies.inquiry import Compare, Inquiry
from langchain_moa.strategies.registry import strategy
from langchain_moa.strategies.similarity import ORDERED, Similarity

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Duplicates"]

_NEGATION = re.compile(r"\b(?:cannot|neither|never|no|nobody|none|nor|not|nothing|without)\b|n['\u2019]t\b", re.IGNORECASE)


@strategy
class Duplicates:
    """Keep the first of each set of equal, or nearly equal, references: the next reader pays for each text once.

    Texts are compared by the stretches of words that they share in the same order: twice these words, by the words of both.
    What differs in what matters is never a duplicate, however alike it is: texts with different short answers (`auto`, as
    for `vote`), with different numbers anywhere, or with more or fewer negations.

    The default was chosen on recorded answers, question by question. Of six models' 4,830 answers to the instructions of
    AlpacaEval 2.0 it leaves out 51: 45 differ from one that is kept in punctuation, case and spaces at most, 6 by a word or
    two that change nothing. At 0.9 some of those that go say something else. Of four models' 2,640 solutions of GSM8K it
    leaves out 33. Yet one word can make the difference in a long text, and then this does not see it.

    Where embeddings fail, only equal texts go.

    Attributes:
        threshold: The similarity of texts that are the same, from 0 to 1; at 1, only texts that are equal but for spaces.
        similarity: What compares the texts: `ordered` (default), `lexical`, LangChain embeddings or their name, or a
            callable.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(proposers=["local:smollm2-135m"] * 3, aggregator="local:smollm2-135m", reference_filters=["duplicates"])
        ```
    """

    threshold: float = Field(default=0.95, ge=0, le=1)
    similarity: Similarity = ORDERED

    def __call__(self, layer: ClosedLayer) -> Inquiry[list[Reference]]:
        """Return the references that say something new."""
        texts = layer.texts
        matrix = None
        if self.threshold < 1:
            # Without it, equal texts are still equal.
            matrix = yield Compare(texts=texts, by=self.similarity)
        spaced = [" ".join(text.split()) for text in texts]
        points = [_points(text) for text in texts]
        kept: list[int] = []
        for place in range(len(texts)):
            if not any(
                spaced[place] == spaced[other]
                or (matrix and points[place] == points[other] and matrix[place][other] >= self.threshold)
                for other in kept
            ):
                kept.append(place)
        return [layer.references[place] for place in kept]


def _points(text: str) -> tuple[str | None, Counter[str], int]:
    """Return what two texts that say the same have in common: the short answer, the numbers, how often they say no."""
    return auto(text), Counter(each.value for each in numerals(plain(text))), len(_NEGATION.findall(text))
