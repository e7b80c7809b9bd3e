"""Synthesize: the aggregator reads all references and writes the answer, as in the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.registry import strategy

if TYPE_CHECKING:
    from langchain_moa.strategies.aggregation import AnswerGraph

__all__ = ["Synthesize"]


@strategy
class Synthesize(Aggregation):
    """The paper's aggregation, and the default: the aggregator reads all references in the mixture's `prompt`.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(
            proposers=["local:smollm2-135m", "local:gemma3-270m"],
            aggregator="local:smollm2-135m",
            num_layers=1,
            aggregation="synthesize",
        )
        ```
    """

    models = (None,)

    @override
    def add_to(self, graph: AnswerGraph) -> str:
        return graph.add_aggregator()
