"""Agreement: a layer is enough if its answers agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from langchain_moa.strategies.extract import Extract, tally
from langchain_moa.strategies.inquiry import Compare, Inquiry
from langchain_moa.strategies.similarity import Similarity, mean_to_others
from langchain_moa.strategies.strategy import strategy

if TYPE_CHECKING:
    from langchain_moa.closed_layer import ClosedLayer


@strategy
class Agreement:
    """Stop where enough of a layer's references agree: easy questions end after the first layer, for a part of the price.

    By default references agree that come to the same short answer (`extract`), which is for tasks that have one. With a
    `similarity`, the mean similarity of their texts counts instead. Filters come after the count: one that leaves out
    duplicates does not leave out votes. One reference alone agrees with nobody.

    Attributes:
        threshold: The share of the references that must have the most frequent answer, or the mean similarity, from 0 to 1.
        extract: How the short answer is found, as for `vote`.
        similarity: Compare whole texts instead: `lexical`, LangChain embeddings or their name, or a callable.

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
    extract: Extract = "auto"
    similarity: Similarity | None = None

    def __call__(self, layer: ClosedLayer) -> Inquiry[str | None]:
        """Say whether they agree."""
        texts = [each["text"] for each in layer.unfiltered]
        of = len(texts)
        if of < 2:  # noqa: PLR2004  # it takes two to agree
            return None
        if self.similarity is not None:
            matrix = yield Compare(texts=texts, by=self.similarity)
            means = mean_to_others(matrix)
            mean = sum(means) / len(means)
            return f"the answers of layer {layer.number} are alike ({mean:.2f})" if mean >= self.threshold else None
        counted = tally(texts, self.extract)
        votes = len(counted[0][1]) if counted else 0
        if votes < 2 or votes / of < self.threshold:  # noqa: PLR2004  # as above
            return None
        return f"{votes} of {of} answers of layer {layer.number} agree: {counted[0][0]}"
