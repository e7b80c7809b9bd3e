"""Shuffled: no proposer's place in the list is worth anything."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

from langchain_moa.strategies.registry import strategy

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Shuffled"]


@strategy
class Shuffled:
    """Show the references in an order drawn from a seed, another one for each conversation and layer.

    Models favour what stands first or last; in the proposers' order that is always the same proposer. The order depends on
    the seed, the conversation and the layer alone: a run can be repeated, a proposer that fails leaves the others' order as
    it is, and no proposer can choose its place by what it writes. `response_metadata["moa"]["passed_on"]` has the order, and
    so has the event `merged`. Name it last: the filters after it, and votes that end in a tie, go by this order too.

    Attributes:
        seed: Another seed draws other orders.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.filters.shuffled import Shuffled

        moa = ChatMoA(
            proposers=["local:smollm2-135m"] * 3,
            aggregator="local:smollm2-135m",
            num_layers=1,
            reference_filters=["outliers", Shuffled(seed=7)],
        )
        ```
    """

    seed: int = 0

    def __call__(self, layer: ClosedLayer) -> list[Reference]:
        """Return the references in the order that was drawn."""
        said = [(message.type, str(message.text)) for message in layer.messages]
        # Not the ids of the messages, which are drawn anew for every question.
        drawn = sha256(json.dumps([self.seed, layer.number, said]).encode()).hexdigest()

        def lot(reference: Reference) -> bytes:
            return sha256(f"{drawn} {reference['layer']} {reference['proposer']}".encode()).digest()

        return sorted(layer.references, key=lot)
