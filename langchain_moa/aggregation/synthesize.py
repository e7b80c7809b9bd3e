"""Synthesize: the aggregator reads all references and writes the answer, as in the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END

from langchain_moa.nodes.aggregate import AGGREGATOR, Aggregate
from langchain_moa.strategies.strategy import strategy

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

    from langchain_moa.mixture.mixture import Mixture


@strategy
class Synthesize:
    """The paper's aggregation, the default: one call of the aggregator with the mixture's `prompt`."""

    models = (None,)

    def add_to(self, builder: StateGraph[Any, Any], mixture: Mixture) -> str:
        """Add the aggregator."""
        member = mixture.members.aggregator
        node = Aggregate.of(mixture, prompt=mixture.shown)
        builder.add_node(AGGREGATOR, node, metadata={"model": member.id})
        builder.add_edge(AGGREGATOR, END)
        return AGGREGATOR
