"""The graph of a mixture: layers of proposers in parallel, a merge node behind each, the aggregator at the end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from langgraph.graph import END, START, StateGraph

from langchain_moa.graph.builder import MoAGraph
from langchain_moa.mixture.mixture import Mixture
from langchain_moa.mixture.resilience import closings
from langchain_moa.nodes.aggregate import AGGREGATOR
from langchain_moa.nodes.choose import Choose
from langchain_moa.nodes.merge import Merge, stopped_or
from langchain_moa.nodes.names import merge_node, proposer_node
from langchain_moa.nodes.propose import Propose
from langchain_moa.resilience.quorum import Rounds
from langchain_moa.state import MoAContext, MoAState
from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.registry import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from langchain_moa.mixture.lineup import MemberLike
    from langchain_moa.mixture.options import MixtureOptions


class _Stage(NamedTuple):
    """The nodes of a layer: those that come first, and the one that closes it."""

    first: list[str]
    merge: str


def create_moa(
    proposers: Sequence[MemberLike] | Sequence[Sequence[MemberLike]],
    aggregator: MemberLike | None = None,
    **options: Unpack[MixtureOptions],
) -> StateGraph[MoAState, MoAContext]:
    """Create the graph of a Mixture-of-Agents (Wang et al., arXiv 2406.04692, section 2.2).

    The graph comes uncompiled, so that you choose checkpointer, store and cache, or embed it in a graph of yours. Its state
    is `MoAState`: give it `messages`; the last one of the result is the answer, and `references` holds every proposer's.

    Args:
        proposers: One list, the same set in every layer, or a list of lists, a set for each layer. A member is a string
            `provider:model`, a chat model, another Runnable, or a `Proposer`.
        aggregator: The member that writes the final answer; it may be left out where the aggregation asks no model.
        **options: The other fields of `Mixture`: `num_layers` (default 2; the paper counts the aggregator, so its 3-layer
            MoA is `num_layers=2`), `prompt`, `aggregation`, `temperature`, `max_tokens`, `stop`, ...

    Returns:
        The graph: one node for each proposer of each layer, `merge_1`, ..., and the nodes of the aggregation: `aggregator`,
        if it is `synthesize`.

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
    layers = mixture.members.layers
    builder = MoAGraph(width=_width(mixture))
    stages = [_add_layer(builder, mixture, number) for number in range(1, len(layers) + 1)]
    last = _add_aggregation(builder, mixture)
    _connect(builder, START, stages[0].first)
    for stage, following in zip(stages, [*(each.first for each in stages[1:]), last], strict=True):
        builder.add_edge(stage.first, stage.merge)
        if mixture.may_stop and following is not last:
            # The targets are named, so that the drawing shows them.
            builder.add_conditional_edges(stage.merge, stopped_or(last, following), [*following, *last])
        else:
            _connect(builder, stage.merge, following)
    return builder


def build_aggregator(mixture: Mixture) -> StateGraph[MoAState, MoAContext]:
    """Build the graph that ends a mixture's, for references that the state already holds."""
    builder = MoAGraph(width=_width(mixture))
    _connect(builder, START, _add_aggregation(builder, mixture))
    return builder


def _add_layer(builder: StateGraph[MoAState, MoAContext], mixture: Mixture, number: int) -> _Stage:
    """Add the nodes of a layer."""
    layers = mixture.members.layers
    members = layers[number - 1]
    closing = closings(mixture, map(len, layers), enough=mixture.min_references)[number - 1]
    rounds = Rounds(closing) if closing.is_needed else None
    names = []
    for position, member in enumerate(members, start=1):
        node = Propose(
            member,
            layer=number,
            position=position,
            prompt=mixture.shown,
            call_kwargs=mixture.call_kwargs,
            timeout=mixture.proposer_timeout,
            rounds=rounds,
            mixture=mixture,
        )
        names.append(proposer_node(number, position, layers=len(layers), proposers=len(members)))
        builder.add_node(names[-1], node, metadata={"layer": number, "proposer": member.name, "model": member.id})
    merge = merge_node(number, layers=len(layers))
    builder.add_node(merge, Merge(mixture, layer=number, num_layers=len(layers), node=merge), metadata={"layer": number})
    return _Stage(names, merge)


def _add_aggregation(builder: StateGraph[MoAState, MoAContext], mixture: Mixture) -> list[str]:
    """Add what turns the last references into the answer, and return the nodes that come first."""
    aggregation = mixture.strategies.aggregation
    if isinstance(aggregation, Aggregation):
        first = aggregation.add_to(builder, mixture)
        return [first] if isinstance(first, str) else [*first]
    # The name of the user's function, as far as a node can have it.
    name = re.sub(r"\W+", "_", name_of(aggregation)).strip("_")
    node = name if name and name != "lambda" and name not in {*builder.nodes, *MoAState.__annotations__} else AGGREGATOR
    models = [mixture.member(model).id for model in getattr(aggregation, "models", ())]
    builder.add_node(node, Choose(aggregation, mixture, node=node), metadata={"model": models[0]} if models else None)
    builder.add_edge(node, END)
    return [node]


def _connect(builder: StateGraph[MoAState, MoAContext], source: str, targets: Sequence[str]) -> None:
    for target in targets:
        builder.add_edge(source, target)


def _width(mixture: Mixture) -> int:
    return max(len(layer) for layer in mixture.members.layers)
