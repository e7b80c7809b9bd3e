"""Moderator: a model decides whether another layer is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from langchain_moa.strategies.ballot import CONVERGED, NO_FURTHER, PANEL, Ballot
from langchain_moa.strategies.inquiry import decide, reads_json
from langchain_moa.strategies.registry import Model, strategy

if TYPE_CHECKING:
    from langchain_moa.strategies.inquiry import Inquiry
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Moderator"]

MODERATOR = f"{PANEL} Decide {CONVERGED}"
"""The moderator's instruction."""


class StopVerdict(BaseModel):
    """Whether the panel can end."""

    model_config = ConfigDict(extra="forbid")

    end: bool


@strategy
class Moderator:
    """Stop if a model finds that the answers have converged (SMoA, arXiv 2411.03284).

    Use this for mixtures that keep all references; the filter `moderator` decides in the same call which references to keep.
    If a reply cannot be parsed, the model is asked once more. If that fails as well, or if the model fails, the layers
    continue.

    Attributes:
        model: The model that moderates. Default: the mixture's aggregator.
        instruction: The model's system prompt. Default: decide whether the panel has converged.
        seed: Seed of the order in which the references are shown. Default: 0.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(proposers=["local:smollm2-135m"] * 3, aggregator="local:smollm2-135m", stop_when="moderator")
        ```
    """

    model: Model = None
    instruction: str = MODERATOR
    seed: int = 0

    def __call__(self, layer: ClosedLayer) -> Inquiry[str | None]:
        """Return the reason to stop; `None` if the moderator wants another layer."""
        form = 'JSON of the form {"end": true}'
        question = f"Can the panel end here? Reply with {form} alone; `end` is false if another round is needed."
        ballot = Ballot.of(layer.references, seed=self.seed)
        ask = ballot.ask(
            layer.messages,
            instruction=self.instruction,
            question=question,
            name="moderator",
            model=self.model,
            schema=StopVerdict,
        )
        ruling, _ = yield from decide(ask, reads_json(StopVerdict), form=form)
        return NO_FURTHER if ruling is not None and ruling.end else None
