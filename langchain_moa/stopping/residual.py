"""Residual: a layer is enough if it changes nothing of substance against the layers before."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from langchain_moa.strategies.ballot import Ballot
from langchain_moa.strategies.decision import decide, reads_json
from langchain_moa.strategies.definition import Model, strategy
from langchain_moa.strategies.inquiry import Ask, Compare, Inquiry
from langchain_moa.strategies.similarity import Similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.closed_layer import ClosedLayer
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.reference import Reference

__all__ = ["Residual"]

EXTRACTOR = (
    "You compare two rounds of responses to a conversation's last message. Say what the later round adds, corrects or takes "
    "back against the earlier one. Wording, order and length are no changes; only substance is."
)
"""What the residual extractor is told it is."""


class Comparison(BaseModel):
    """What the later round changes."""

    model_config = ConfigDict(extra="forbid")

    changed: bool
    what: str = ""


@strategy
class Residual:
    """Stop after `layers` layers without change, as RMoA does (arXiv 2505.24442).

    A model says what the layer changed against the one `layers` before; a reply that cannot be read is asked for once more
    and then counts as a change. With a `similarity` no model is asked: nothing has changed where, in each of the last
    `layers` layers, every reference has on average a reference that alike in the layer before.

    Attributes:
        layers: How many layers must pass without change, at least 1.
        model: Who compares. Default: the mixture's aggregator.
        similarity: Compare texts instead: `lexical`, LangChain embeddings or their name, or a callable.
        threshold: From which similarity on nothing has changed, from 0 to 1.
        seed: Another seed draws other orders of the references.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.stopping.residual import Residual

        moa = ChatMoA(
            proposers=["local:smollm2-135m"] * 3,
            aggregator="local:smollm2-135m",
            num_layers=4,
            stop_when=Residual(similarity="lexical", threshold=0.9),
        )
        ```
    """

    layers: int = Field(default=1, ge=1)
    model: Model = None
    similarity: Similarity | None = None
    threshold: float = Field(default=0.9, ge=0, le=1)
    seed: int = 0

    @property
    def models(self) -> tuple[Proposer | None, ...]:
        """Whom it asks."""
        return (self.model,) if self.similarity is None else ()

    def __call__(self, layer: ClosedLayer) -> Inquiry[str | None]:
        """Return the reason to end here, if nothing has changed for long enough."""
        rounds = [
            [each for each in layer.earlier if each["layer"] == number]
            for number in range(layer.number - self.layers, layer.number)
        ]
        if not (all(rounds) and layer.unfiltered):
            return None  # too early: there are not as many layers behind
        if self.similarity is None:
            return (yield from self._asked(layer, rounds[0]))
        rounds.append(list(layer.unfiltered))
        alike: list[float] = []
        for before, after in pairwise(rounds):
            alike.append((yield from self._alike(before, after)))
        unchanged = min(alike) >= self.threshold
        return f"layer {layer.number} repeats the one before ({min(alike):.2f} alike)" if unchanged else None

    def _asked(self, layer: ClosedLayer, before: Sequence[Reference]) -> Inquiry[str | None]:
        form = 'JSON of the form {"changed": true, "what": "..."}'
        later, earlier = Ballot.of(layer.unfiltered, seed=self.seed), Ballot.of(before, seed=self.seed)

        def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
            count = len(later.labels)
            question = (
                f"The responses of the earlier round, between <{earlier.tag}> and </{earlier.tag}>:\n\n"
                f"{earlier.fenced(references[count:])}\n\n"
                f"What do the first responses change in substance against these? Reply with {form} alone: `changed` is false "
                "if they change nothing, `what` says what they change."
            )
            return later.prompt(EXTRACTOR, question)(messages, references[:count])

        references = [*later.references, *earlier.references]
        ask = Ask(
            messages=layer.messages, references=references, prompt=prompt, name="residual", model=self.model, schema=Comparison
        )
        residual, _ = yield from decide(ask, reads_json(Comparison), form=form)
        unchanged = residual is not None and not residual.changed
        return f"layer {layer.number} changes nothing against layer {before[0]['layer']}" if unchanged else None

    def _alike(self, before: Sequence[Reference], after: Sequence[Reference]) -> Inquiry[float]:
        assert self.similarity is not None  # noqa: S101  # for the type checker: the caller has looked
        matrix = yield Compare(texts=[each["text"] for each in (*after, *before)], by=self.similarity)
        return fmean(max(row[len(after) :]) for row in matrix[: len(after)])
