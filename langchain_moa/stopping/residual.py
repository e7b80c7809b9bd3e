"""Residual: stop if a layer changes nothing of substance."""

from __future__ import annotations

from itertools import accumulate, pairwise, takewhile
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from langchain_moa.strategies.ballot import Ballot
from langchain_moa.strategies.inquiry import Ask, Compare, Inquiry, decide, reads_json
from langchain_moa.strategies.registry import Model, strategy
from langchain_moa.strategies.similarity import Similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference, Step
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Residual"]

_NAME = "residual"

EXTRACTOR = (
    "You compare two rounds of responses to a conversation's last message. Say whether the later round adds, corrects or takes "
    "back anything against the earlier one. Wording, order and length are no changes; only substance is."
)
"""The instruction of the model that compares two layers."""


class DifferenceVerdict(BaseModel):
    """Whether the later round changes anything."""

    model_config = ConfigDict(extra="forbid")

    changed: bool


@strategy
class Residual:
    """Stop after `layers` consecutive layers that change nothing, as RMoA does (arXiv 2505.24442).

    Each layer is compared with the previous one, once. A model decides whether the layer adds, corrects or takes back
    anything. If its reply cannot be parsed, it is asked once more; if that fails as well, or if the model fails, this counts
    as a change. With `similarity`, no model is called: each reference is compared with the most similar reference of the
    previous layer, and a layer changes nothing if the mean of these similarities reaches `threshold`. If embeddings fail,
    this counts as a change.

    The mixture needs at least `layers + 2` layers: the first layer has no previous one, and after the last one there is
    nothing to stop.

    Attributes:
        layers: How many consecutive layers must change nothing, at least 1. Default: 1.
        model: The model that compares. Default: the mixture's aggregator.
        similarity: Compare texts instead: `lexical`, `ordered`, LangChain embeddings or their name, or a callable. Default:
            ask a model.
        threshold: The mean similarity from which a layer changes nothing, from 0 to 1; used only with `similarity`. Default:
            0.9.
        instruction: The model's system prompt. Default: say whether anything of substance has changed.
        seed: Seed of the order in which the references are shown. Default: 0.

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
    instruction: str = EXTRACTOR
    seed: int = 0

    @property
    def models(self) -> tuple[Proposer | None, ...]:
        """The models that this calls; empty if `similarity` compares the texts."""
        return (self.model,) if self.similarity is None else ()

    @property
    def min_layers(self) -> int:
        """The number of layers from which this condition has an effect."""
        return self.layers + 2

    def __call__(self, layer: ClosedLayer) -> Inquiry[str | None]:
        """Return the reason to stop, if enough consecutive layers changed nothing; otherwise `None`."""
        before = _round(layer, layer.number - 1)
        if layer.num_layers < self.min_layers or not before or not layer.unfiltered:
            return None
        if self.similarity is not None:
            return (yield from self._compared(layer))
        verdict = yield from self._asked(layer, before)
        if verdict is None or verdict.changed or 1 + _unchanged_so_far(layer.steps) < self.layers:
            return None
        if self.layers > 1:
            return f"the last {self.layers} layers change nothing"
        return f"layer {layer.number} changes nothing against layer {layer.number - 1}"

    def _asked(self, layer: ClosedLayer, before: Sequence[Reference]) -> Inquiry[DifferenceVerdict | None]:
        form = 'JSON of the form {"changed": true}'
        later, earlier = Ballot.of(layer.unfiltered, seed=self.seed), Ballot.of(before, seed=self.seed)

        def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
            count = len(later.labels)
            question = (
                f"The responses of the earlier round, between <{earlier.tag}> and </{earlier.tag}>:\n\n"
                f"{earlier.fenced(references[count:])}\n\n"
                f"Do the first responses change anything in substance against these? Reply with {form} alone; `changed` is "
                "false if they change nothing."
            )
            return later.prompt(self.instruction, question)(messages, references[:count])

        ask = Ask(
            messages=layer.messages,
            references=[*later.references, *earlier.references],
            prompt=prompt,
            name=_NAME,
            model=self.model,
            schema=DifferenceVerdict,
        )
        verdict, _ = yield from decide(ask, reads_json(DifferenceVerdict), form=form)
        return verdict

    def _compared(self, layer: ClosedLayer) -> Inquiry[str | None]:
        assert self.similarity is not None  # noqa: S101  # for the type checker: the caller has checked it
        rounds = [_round(layer, number) for number in range(layer.number - self.layers, layer.number)]
        rounds.append(list(layer.unfiltered))
        if not all(rounds):
            return None  # too early: not enough layers have run
        matrix = yield Compare(texts=[each["text"] for references in rounds for each in references], by=self.similarity)
        if matrix is None:
            return None
        starts = [*accumulate(map(len, rounds), initial=0)]
        places = [range(begin, end) for begin, end in pairwise(starts)]
        alike = [fmean(max(matrix[i][j] for j in earlier) for i in later) for earlier, later in pairwise(places)]
        if min(alike) < self.threshold:
            return None
        repeated = f"({min(alike):.2f} alike)"
        if self.layers > 1:
            return f"each of the last {self.layers} layers repeats the one before {repeated}"
        return f"layer {layer.number} repeats the one before {repeated}"


def _round(layer: ClosedLayer, number: int) -> list[Reference]:
    """Return the good references of an earlier layer."""
    return [each for each in layer.earlier if each["layer"] == number]


def _unchanged_so_far(steps: Sequence[Step]) -> int:
    """Return how many consecutive comparisons, counted from the latest, found no change."""
    # The last text of a node counts: the repaired reply if there is one.
    said = {step["node"]: step["text"] for step in steps if step["name"] == _NAME}
    verdicts = map(reads_json(DifferenceVerdict), reversed(said.values()))
    return sum(1 for _ in takewhile(lambda verdict: verdict is not None and not verdict.changed, verdicts))
