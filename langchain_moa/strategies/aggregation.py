"""An aggregation that is a part of the graph: it has nodes of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph.graph import StateGraph

    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.state import MoAContext, MoAState


@runtime_checkable
class Aggregation(Protocol):
    """An aggregation with nodes of its own: everything between the last merge and the end of the graph.

    One that only has to turn references into an answer is simpler written as a function, `(messages, references)` to a text,
    a message or one of the references, or as a Runnable from `{"messages": ..., "references": ...}` to one of these.

    A node finds the references in the state's `merged`. The answer is a message that the last node adds to `messages`; the
    node `Aggregate` has the aggregator write it, with tools, streaming, stand-ins and the account of all calls.

    Attributes:
        models: The models that it calls: a `Proposer` for each of its own, `None` for the aggregator. Default: none.

    Example:
        ```python
        from langgraph.graph import END

        from langchain_moa import ChatMoA
        from langchain_moa.strategies import Aggregate


        class LongestFirst:
            models = (None,)

            def add_to(self, builder, mixture):
                builder.add_node("longest_first", self._sort)
                builder.add_node("aggregator", Aggregate.of(mixture, prompt=mixture.shown))
                builder.add_edge("longest_first", "aggregator")
                builder.add_edge("aggregator", END)
                return "longest_first"

            def _sort(self, state):
                return {"merged": sorted(state["merged"], key=lambda each: -len(each["text"]))}


        moa = ChatMoA.from_preset("local", aggregation=LongestFirst())
        print(moa.invoke("Why is the sky blue?").text)
        ```
    """

    def add_to(self, builder: StateGraph[MoAState, MoAContext], mixture: Mixture) -> str | Sequence[str]:
        """Add the nodes, and the edges between them and to `END`.

        Args:
            builder: The graph.
            mixture: Whose graph it is.

        Returns:
            The node, or the nodes, that read the references first; the graph adds the edges to them.
        """
        ...
