"""The graph of a mixture: layers of proposers in parallel, a merge node behind each, the aggregator at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph

from langchain_moa.aggregate import Aggregate
from langchain_moa.builder import MoAGraph
from langchain_moa.merge import merge_layer
from langchain_moa.mixture import MemberLike, Mixture
from langchain_moa.prompts import resolve_prompt
from langchain_moa.propose import Propose
from langchain_moa.state import MoAContext, MoAState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.member import Member

_AGGREGATOR = "aggregator"


def create_moa(
    proposers: Sequence[MemberLike] | Sequence[Sequence[MemberLike]],
    aggregator: MemberLike,
    **options: Any,
) -> StateGraph[MoAState, MoAContext]:
    """Create the graph of a Mixture-of-Agents (Wang et al., arXiv 2406.04692, section 2.2).

    The graph comes uncompiled, so that you choose checkpointer, store and cache, or embed it in a graph of yours. Its state
    is `MoAState`: give it `messages`; the last one of the result is the answer, and `references` holds every proposer's.

    Args:
        proposers: One list, the same set in every layer, or a list of lists, a set for each layer. A member is a string
            `provider:model`, a chat model, another Runnable, or a `Proposer`.
        aggregator: The member that writes the final answer.
        **options: The other fields of `Mixture`: `num_layers` (default 2; the paper counts the aggregator, so its 3-layer
            MoA is `num_layers=2`), `prompt`, `temperature`, `max_tokens`, `stop`, ...

    Returns:
        The graph: one node for each proposer of each layer, `merge_1`, ..., `aggregator`.

    Raises:
        ValueError: A field is wrong; the text names it and the remedy.
        ImportError: A provider's package is missing; the text has the pip command.

    Example:
        ```python
        from langchain_moa import create_moa

        graph = create_moa(
            proposers=["local:smollm2-135m", "local:gemma3-270m"],
            aggregator="local:smollm2-135m",
            num_layers=1,
        ).compile()
        result = graph.invoke({"messages": [("user", "Why is the sky blue?")]})
        print(result["messages"][-1].text)
        ```
    """
    return build_graph(Mixture(proposers=proposers, aggregator=aggregator, **options))


def build_graph(mixture: Mixture) -> StateGraph[MoAState, MoAContext]:
    """Build the graph that a mixture describes, not yet compiled."""
    builder = MoAGraph(width=max(len(layer) for layer in mixture.members.layers))
    prompt = resolve_prompt(mixture.prompt)
    layers, aggregator = mixture.members
    before = START
    for number, members in enumerate(layers, start=1):
        names = []
        for position, member in enumerate(members, start=1):
            node = Propose(member, layer=number, position=position, prompt=prompt, call_kwargs=mixture.call_kwargs)
            # Padded, because LangGraph applies parallel writes in the order of names.
            layer_width, width = len(str(len(layers))), len(str(len(members)))
            names.append(f"layer_{number:0{layer_width}}_proposer_{position:0{width}}")
            builder.add_node(names[-1], node, metadata={"layer": number, "proposer": member.name, "model": member.id})
            builder.add_edge(before, names[-1])
        before = f"merge_{number:0{len(str(len(layers)))}}"
        builder.add_node(before, merge_layer(number, min_references=mixture.min_references), metadata={"layer": number})
        builder.add_edge(names, before)
    _add_aggregator(builder, mixture, aggregator, before)
    return builder


def build_aggregator(mixture: Mixture) -> StateGraph[MoAState, MoAContext]:
    """Build the graph that ends a mixture's, for references that the state already holds."""
    builder = MoAGraph(width=1)
    _add_aggregator(builder, mixture, mixture.members.aggregator, START)
    return builder


def _add_aggregator(builder: StateGraph[MoAState, MoAContext], mixture: Mixture, member: Member, before: str) -> None:
    node = Aggregate(member, prompt=resolve_prompt(mixture.prompt), call_kwargs=mixture.call_kwargs)
    builder.add_node(_AGGREGATOR, node, metadata={"model": member.id})
    builder.add_edge(before, _AGGREGATOR)
    builder.add_edge(_AGGREGATOR, END)
