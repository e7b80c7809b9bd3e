"""Agreement: stop if the answers of a layer agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from langchain_moa.strategies.extract import Extract, tally
from langchain_moa.strategies.inquiry import Compare, Inquiry
from langchain_moa.strategies.registry import strategy
from langchain_moa.strategies.similarity import Similarity

if TYPE_CHECKING:
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Agreement"]


def _not_any_number(value: Extract) -> Extract:
    if value == "auto":
        msg = (
            "'auto' falls back to the last number of a text, which unrelated texts can share; give 'said', or 'number' if all "
            "answers are numbers"
        )
        raise ValueError(msg)
    return value


@strategy
class Agreement:
    """Stop if enough answers agree: easy questions end after the first layer, at a fraction of the cost.

    Answers agree if they have the same short answer (`extract`), so this is for tasks with short answers. By default, a text
    must state its answer in words (`The answer is 18`), in a box, or alone. Other numbers in a text do not count, so three
    lists of three points each do not agree. With `similarity`, the mean similarity of the texts counts instead.

    A failed proposer agrees with no other proposer: shares are of all proposers of the layer. Answers that a filter dropped
    count as well. A single answer is no agreement. If embeddings fail, the layers continue.

    If a layer does not see the earlier layers (`prompt="blind"`), the answers are independent, and those of all layers so far
    count. Together with `aggregation={"vote": {"over": "all"}}`, this is a cascade: two models, and a third one if they
    disagree.

    With `vote`, a layer also ends as soon as the vote is decided, whatever the threshold: calls that can no longer change it
    are cancelled and recorded with the status `cancelled`, and no further layer runs.

    Attributes:
        threshold: The share of the proposers that must give the most frequent answer, or the required mean similarity, from
            0 to 1. Default: 0.75.
        over: Which answers count: those of the `layer`, or of `all` layers so far. Default: `all` in blind layers, otherwise
            `layer`.
        extract: How short answers are found, as in `vote`, except `auto`. Default: `said`.
        similarity: Compare whole texts instead: `lexical`, `ordered`, LangChain embeddings or their name, or a callable.
            Default: compare short answers.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.stopping.agreement import Agreement

        moa = ChatMoA(
            proposers=["local:smollm2-135m"] * 3,
            aggregator="local:smollm2-135m",
            num_layers=3,
            stop_when=Agreement(threshold=0.75, extract="number"),
        )
        ```
    """

    threshold: float = Field(default=0.75, ge=0, le=1)
    over: Literal["layer", "all"] | None = None
    extract: Annotated[Extract, AfterValidator(_not_any_number)] = "said"
    similarity: Similarity | None = None

    ends_decided = True
    """A decided vote ends the layers."""

    def __call__(self, layer: ClosedLayer) -> Inquiry[str | None]:
        """Return how many answers agree, as the reason to stop; `None` if too few agree."""
        is_over_all = layer.is_blind if self.over is None else self.over == "all"
        counted_references = [*(layer.earlier if is_over_all else ()), *layer.unfiltered]
        texts = [each["text"] for each in counted_references]
        of = max(layer.asked if is_over_all else layer.width, len(texts))
        whose = "so far" if is_over_all and layer.earlier else f"of layer {layer.number}"
        if len(texts) < 2:  # noqa: PLR2004  # a single answer is no agreement
            return None
        if self.similarity is not None:
            matrix = yield Compare(texts=texts, by=self.similarity)
            if matrix is None:
                return None
            # A failed proposer has the similarity 0 to all others.
            mean = (sum(map(sum, matrix)) - len(texts)) / (of * (of - 1))
            return f"the answers {whose} are alike ({mean:.2f})" if mean >= self.threshold else None
        counted = tally(texts, self.extract)
        votes = len(counted[0][1]) if counted else 0
        if votes < 2 or votes / of < self.threshold:  # noqa: PLR2004  # a single answer is no agreement
            return None
        return f"{votes} of {of} answers {whose} agree: {counted[0][0]}"
