"""Shuffled: show the references in a random but repeatable order, against position bias."""

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
    """Show the references in an order that is drawn from a seed for each conversation and layer.

    Models favor the first or last reference (position bias), which in the proposers' order is always the same proposer's. The
    order depends only on the seed, the conversation and the layer: a run can be repeated, a failed proposer does not change
    the order of the others, and no proposer can affect its position by what it writes. The order is recorded in
    `response_metadata["moa"]["passed_on"]` and in the event `merged`. List this filter last: filters after it, and votes that
    end in a tie, use the shuffled order.

    Attributes:
        seed: Seed of the order. Default: 0.

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
        """Return the references in the drawn order."""
        said = [(message.type, str(message.text)) for message in layer.messages]
        # Message ids are left out, since they are new in every run.
        drawn = sha256(json.dumps([self.seed, layer.number, said]).encode()).hexdigest()

        def lot(reference: Reference) -> bytes:
            return sha256(f"{drawn} {reference['layer']} {reference['proposer']}".encode()).digest()

        return sorted(layer.references, key=lot)
