"""Support: which references an answer's sentences come from, and how much of the answer is whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_moa.runs.sentences import sentences_of
from langchain_moa.strategies.similarity import LEXICAL, between, compare, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.runs.call import Call
    from langchain_moa.runs.run import MoARun

THRESHOLD = 0.5
"""How alike a sentence and one of a reference must be for it to count as support."""

MEASURE = (
    "Two sentences are as alike as the words they share: the cosine of their sets of words, from 0 to 1, without a model and "
    "without regard to order. A reference supports a sentence of the answer if one of its own is at least "
    f"{THRESHOLD:g} like it. A sentence, weighted by its words, counts for the reference that is most like it, and in equal "
    "parts for those that are equally like it. Code is left out, and a row of a table is a sentence. "
    "Shared words show where a sentence may come from, not that it is true."
)
"""The measure in words, for whoever reads the figures."""

# Sentences of a text beyond which a table of them helps nobody; the comparison is quadratic.
MOST_SENTENCES = 300


@dataclass(frozen=True)
class Sentence:
    """A sentence of the answer.

    Attributes:
        text: The sentence.
        scores: How alike each reference is to it, in the references' order: its best sentence counts.
        best: The places of the references that are most like it; none if none supports it.
    """

    text: str
    scores: tuple[float, ...]
    best: tuple[int, ...]

    @property
    def supporters(self) -> list[int]:
        """The places of all references that support it, the most alike first."""
        found = [place for place, score in enumerate(self.scores) if score >= THRESHOLD]
        return sorted(found, key=lambda place: -self.scores[place])


@dataclass(frozen=True)
class Support:
    """How an answer resembles the references that it was written from (compare the paper's section 3.3).

    Attributes:
        references: The references that were read, in the proposers' order; their texts are those that were read.
        sentences: The answer's sentences.
        shares: How much of the answer is each reference's, from 0 to 1.
        likeness: How alike each whole reference is to the whole answer, from 0 to 1.
        is_cut: Whether a text had more sentences than are looked at.
    """

    references: tuple[Call, ...]
    sentences: tuple[Sentence, ...]
    shares: tuple[float, ...]
    likeness: tuple[float, ...]
    is_cut: bool = False

    @property
    def own(self) -> float:
        """How much of the answer no reference supports, from 0 to 1."""
        return max(0.0, 1 - sum(self.shares)) if self.sentences else 0.0


def support_of(run: MoARun) -> Support | None:
    """Return what supports a run's answer; `None` where there is no answer, or nothing that it was written from."""
    references = read_by_aggregator(run)
    if not run.text.strip() or not references:
        return None
    own = sentences_of(run.text)
    theirs = [sentences_of(reference.text_read) for reference in references]
    found = [_sentence(text, [between([text], other[:MOST_SENTENCES])[0] for other in theirs]) for text in own[:MOST_SENTENCES]]
    weights = [len(words(each.text)) for each in found]
    total = sum(weights) or 1
    shares = [
        sum(weight / len(each.best) for each, weight in zip(found, weights, strict=True) if place in each.best) / total
        for place in range(len(references))
    ]
    return Support(
        references=tuple(references),
        sentences=tuple(found),
        shares=tuple(shares),
        likeness=tuple(compare([run.text, each.text_read], LEXICAL)[0][1] for each in references),
        is_cut=any(len(each) > MOST_SENTENCES for each in [own, *theirs]),
    )


def read_by_aggregator(run: MoARun) -> list[Call]:
    """Return the references that the answer was written from, in the proposers' order.

    Where the run does not say so, these are the references that were kept of the last layer that has any.
    """
    if run.read is not None:
        return [call for call in run.calls if call.role == "proposer" and (call.layer, call.proposer) in run.read]
    for layer in reversed(run.layers):
        if good := [call for call in layer if call.status == "ok" and call.kept is not False and call.text]:
            return good
    return []


def _sentence(text: str, alike: Sequence[Sequence[float]]) -> Sentence:
    scores = tuple(max(each, default=0.0) for each in alike)
    most = max(scores, default=0.0)
    best = tuple(place for place, score in enumerate(scores) if score == most) if most >= THRESHOLD else ()
    return Sentence(text, scores, best)
