"""Moderator: a model selects the best answers of a layer and decides whether another layer is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from langchain_moa.strategies.ballot import CONVERGED, NO_FURTHER, PANEL, Ballot
from langchain_moa.strategies.inquiry import decide, reads_json
from langchain_moa.strategies.layer import Filtered
from langchain_moa.strategies.registry import Model, strategy

if TYPE_CHECKING:
    from langchain_moa.strategies.inquiry import Inquiry
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Moderator"]

MODERATOR = (
    f"{PANEL} Choose the responses that are most worth passing on, for their quality and for what each adds to the others, and "
    f"decide {CONVERGED}"
)
"""The moderator's instruction."""


class ModerationVerdict(BaseModel):
    """Which responses to keep, by their labels, and whether the panel can end."""

    model_config = ConfigDict(extra="forbid")

    keep: list[str]
    end: bool


@strategy
class Moderator:
    """SMoA's judge and moderator in one call (arXiv 2411.03284): keep the best references, and stop or continue.

    If a reply does not have the required form, the model is asked once more. If that fails as well, or if the model fails,
    all references are kept and the layers continue. The references stay in the proposers' order.

    Attributes:
        keep: How many references to keep, at least 1. Default: 2, as in SMoA.
        model: The model that moderates. Default: the mixture's aggregator.
        may_stop: Whether the moderator can end the layers early. Default: `True`.
        instruction: The model's system prompt. Default: select the best responses, and decide whether they have converged.
        seed: Seed of the order in which the references are shown. Default: 0.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.filters.moderator import Moderator

        moa = ChatMoA(
            proposers=["local:smollm2-135m"] * 3,
            aggregator="local:smollm2-135m",
            num_layers=2,
            reference_filters=[Moderator(keep=2)],
        )
        ```
    """

    keep: int = Field(default=2, ge=1)
    model: Model = None
    may_stop: bool = True
    instruction: str = MODERATOR
    seed: int = 0

    def __call__(self, layer: ClosedLayer) -> Inquiry[Filtered]:
        """Return the references to keep and, if the moderator ends the layers, the reason."""
        keep = min(self.keep, len(layer.references))
        last = not self.may_stop or layer.number >= layer.num_layers
        if keep == len(layer.references) and last:
            return Filtered(layer.references)
        ballot = Ballot.of(layer.references, seed=self.seed)
        form = f'JSON of the form {{"keep": {ballot.labels[:keep]}, "end": false}}'.replace("'", '"')
        question = (
            f"Name the {keep} responses to keep, and say whether the panel can end here. Reply with {form} alone: `keep` has "
            f"{keep} different labels, `end` is true if no further round is needed."
        )

        def read(reply: str) -> ModerationVerdict | None:
            ruling = reads_json(ModerationVerdict)(reply)
            named = ruling.keep if ruling is not None else []
            return ruling if len(named) == len(set(named)) == keep and set(named) <= ballot.labelled.keys() else None

        ask = ballot.ask(
            layer.messages,
            instruction=self.instruction,
            question=question,
            name="moderator",
            model=self.model,
            schema=ModerationVerdict,
        )
        ruling, _ = yield from decide(ask, read, form=form)
        if ruling is None:
            return Filtered(layer.references)
        stop = NO_FURTHER if ruling.end and self.may_stop else None
        return Filtered(ballot.references_named(ruling.keep, among=layer.references), stop)
