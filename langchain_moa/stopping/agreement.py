"""Agreement: a layer is enough if its answers agree."""

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
            "'auto' takes the last number of any text, and texts on different things may well share that one; "
            "give 'said', or 'number' if every answer is one"
        )
        raise ValueError(msg)
    return value


@strategy
class Agreement:
    """Stop where enough of the answers agree: easy questions end after the first layer, for a part of the price.

    Answers agree that come to the same short answer (`extract`); this is for tasks that have one. By default it must be said
    to be the answer (`The answer is 18`), in a box, or alone: numbers that a text merely holds are no answers, so three lists
    of three points each do not agree. With a `similarity`, the mean similarity of the texts counts instead.

    Proposers that have failed agree with no other: the share is that of all of the layer's proposers. Answers that a filter has
    left out count as well. One answer alone is no agreement. Where embeddings fail, the layers go on.

    Independent answers add up: where a layer does not see the earlier ones (`prompt="blind"`), the answers of all layers so far
    count. Together with `aggregation={"vote": {"over": "all"}}` this is a cascade: two models, and a third where they disagree.

    With `vote`, a layer also ends as soon as the vote is decided, whatever the threshold: the calls that cannot change it any
    more are cancelled, and further layers are not asked. The cancelled calls are recorded with the status `cancelled`.

    Attributes:
        threshold: The share of the proposers asked that must give the most frequent answer, or the mean similarity, from 0 to
            1.
        over: Whose answers count: those of the `layer`, or of `all` layers so far. Default: all where the layer is blind, else
            the layer.
        extract: How the short answer is found, as for `vote`, `auto` excepted. Default: `said`.
        similarity: Compare whole texts instead: `lexical`, `ordered`, LangChain embeddings or their name, or a callable.

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
    """A vote that is decided ends the layers."""

    def __call__(self, layer: ClosedLayer) -> Inquiry[str | None]:
        """Return how many answers agree, if they are enough."""
        is_over_all = layer.is_blind if self.over is None else self.over == "all"
        counted_references = [*(layer.earlier if is_over_all else ()), *layer.unfiltered]
        texts = [each["text"] for each in counted_references]
        of = max(layer.asked if is_over_all else layer.width, len(texts))
        whose = "so far" if is_over_all and layer.earlier else f"of layer {layer.number}"
        if len(texts) < 2:  # noqa: PLR2004  # it takes two to agree
            return None
        if self.similarity is not None:
            matrix = yield Compare(texts=texts, by=self.similarity)
            if matrix is None:
                return None
            # A failed proposer is like no other.
            mean = (sum(map(sum, matrix)) - len(texts)) / (of * (of - 1))
            return f"the answers {whose} are alike ({mean:.2f})" if mean >= self.threshold else None
        counted = tally(texts, self.extract)
        votes = len(counted[0][1]) if counted else 0
        if votes < 2 or votes / of < self.threshold:  # noqa: PLR2004  # one answer agrees with nothing
            return None
        return f"{votes} of {of} answers {whose} agree: {counted[0][0]}"
