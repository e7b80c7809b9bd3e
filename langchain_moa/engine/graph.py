"""Builds the graph of a mixture: layers of parallel proposers, a merge node after each layer, and the aggregation."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from langgraph.graph import END, START, StateGraph

from langchain_moa.data.state import MoAContext, MoAState
from langchain_moa.engine.aggregate import AGGREGATOR, Aggregate
from langchain_moa.engine.choose import Choose, Review, is_answered
from langchain_moa.engine.compiled import MoAGraph
from langchain_moa.engine.consultation import Consult
from langchain_moa.engine.merge import Merge, stopped_or
from langchain_moa.engine.node import NodeSettings, merge_node, proposer_node
from langchain_moa.engine.propose import Propose
from langchain_moa.limits.quorum import Closing, quorum_of
from langchain_moa.mixture.lineup import closings
from langchain_moa.mixture.mixture import Mixture
from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.registry import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Unpack

    from langchain_moa.members.member import Member
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.mixture.fields import MemberLike, MixtureOptions
    from langchain_moa.prompting.prompts import PlacedPrompt, Prompt
    from langchain_moa.strategies.inquiry import Inquiry


def create_moa(
    proposers: Mixture | Sequence[MemberLike | Sequence[MemberLike]],
    aggregator: MemberLike | None = None,
    **options: Unpack[MixtureOptions],
) -> StateGraph[MoAState, MoAContext]:
    """Create the graph of a Mixture-of-Agents (Wang et al., arXiv 2406.04692, section 2.2).

    The graph is not compiled: choose the checkpointer, store and cache when you compile it, or embed it in your own graph. Its
    state is `MoAState`. Pass `messages`; in the result, the last message is the answer, and `references` has the answers of
    all proposers.

    Args:
        proposers: The proposers: one list for all layers, or a list of lists, one for each layer. A member is a string
            `provider:model`, a chat model, another Runnable, or a `Proposer`. Alternatively, a `Mixture` or a `ChatMoA`, and
            no other argument.
        aggregator: The member that writes the final answer. Not needed if the aggregation asks no model.
        **options: The other fields of `Mixture`: `num_layers` (default 2; the paper counts the aggregator, so its 3-layer
            MoA is `num_layers=2`), `prompt`, `aggregation`, `temperature`, `max_tokens`, `stop`, ...

    Returns:
        The graph, with one node for each proposer of each layer, the merge nodes `merge_1`, `merge_2` and so on, and the nodes
        of the aggregation: for the default, `synthesize`, a single node `aggregator`.

    Raises:
        ValueError: A field is invalid. The message names the field and the remedy.
        ImportError: A provider's package is missing. The message has the pip command.

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
    if isinstance(proposers, Mixture):
        if aggregator is not None or options:
            msg = "create_moa: a Mixture takes no further fields; change it with `model_copy(update=...)`, or give proposers"
            raise ValueError(msg)
        return build_graph(proposers)
    return build_graph(Mixture(proposers=proposers, aggregator=aggregator, **options))


def build_graph(mixture: Mixture) -> MoAGraph:
    """Build the uncompiled graph of a mixture."""
    layers, settings = mixture.members.layers, NodeSettings.of(mixture)
    builder = MoAGraph(width=max(map(len, layers)))
    rules = closings(mixture, map(len, layers), enough=mixture.min_references)
    stages = [_add_layer(builder, settings, closing) for closing in rules]
    last = _add_aggregation(builder, settings)
    _connect(builder, START, stages[0].first)
    for stage, following in zip(stages, [*(each.first for each in stages[1:]), last], strict=True):
        builder.add_edge(stage.first, stage.merge)
        if mixture.may_stop and following is not last:
            # Without the list of targets, the drawing would show edges to every node.
            builder.add_conditional_edges(stage.merge, stopped_or(last, following), [*following, *last])
        else:
            _connect(builder, stage.merge, following)
    return builder


def build_aggregator(mixture: Mixture) -> MoAGraph:
    """Build the uncompiled graph of a mixture's aggregation only, for references that the state already has."""
    builder = MoAGraph(width=max(map(len, mixture.members.layers)))
    _connect(builder, START, _add_aggregation(builder, NodeSettings.of(mixture)))
    return builder


def build_alone(mixture: Mixture, member: Member) -> StateGraph[MoAState, MoAContext]:
    """Build the uncompiled graph of a single member, whose answer has the same account as a mixture's.

    Args:
        mixture: The mixture whose parameters (`temperature`, `max_tokens`, ...) are sent to the member.
        member: The member that answers.
    """
    settings = NodeSettings.of(mixture)
    members = settings.members._replace(aggregator=member, fallbacks=())
    builder = MoAGraph(width=1)
    alone = replace(settings, members=members, prompt=lambda messages, _: messages, deadline=None, min_references=1)
    builder.add_node(AGGREGATOR, Aggregate(alone, is_alone=True), metadata={"model": member.id})
    _connect(builder, START, [AGGREGATOR])
    builder.add_edge(AGGREGATOR, END)
    return builder


class _LayerNodes(NamedTuple):
    """The node names of a layer: its proposers and its merge node."""

    first: list[str]
    merge: str


def _add_layer(builder: MoAGraph, settings: NodeSettings, closing: Closing) -> _LayerNodes:
    """Add the nodes of a layer."""
    layers, number = settings.members.layers, closing.layer
    members = layers[number - 1]
    names = []
    for position, (member, distinct) in enumerate(zip(members, _distinct_names(members), strict=True), start=1):
        names.append(proposer_node(number, position, layers=len(layers), proposers=len(members)))
        node = Propose(member, layer=number, position=position, node=names[-1], settings=settings, closing=closing)
        metadata = {"layer": number, "proposer": position, "name": distinct, "model": member.id}
        # A name given together with a system prompt is the name of a role.
        if member.spec.system_prompt and member.spec.name:
            metadata["role"] = member.spec.name
        builder.add_node(names[-1], node, metadata=metadata)
    name = merge_node(number, layers=len(layers))
    merge = Merge(settings, layer=number, num_layers=len(layers), node=name, closing=closing)
    rules = _shown_rules(settings, is_last=number == len(layers), closing=closing)
    builder.add_node(name, merge, metadata={"layer": number, **rules})
    return _LayerNodes(names, name)


def _distinct_names(members: Sequence[Member]) -> list[str]:
    """Return unique names of a layer's proposers for the metadata of the nodes. Equal names are numbered: `a #1`, `a #2`."""
    counts, seen, names = Counter(member.name for member in members), Counter[str](), []
    for member in members:
        seen[member.name] += 1
        names.append(f"{member.name} #{seen[member.name]}" if counts[member.name] > 1 else member.name)
    return names


def _shown_rules(settings: NodeSettings, *, is_last: bool, closing: Closing) -> dict[str, Any]:
    """Return the metadata of a merge node for drawings: filters, stop conditions and notes about its layer."""
    strategies = settings.strategies
    filters = [name_of(each) for each in strategies.filters]
    may_stop = [each for each in strategies.filters if getattr(each, "may_stop", False)]
    stops = [name_of(each) for each in (*may_stop, *([strategies.stop_when] if strategies.stop_when is not None else []))]
    if closing.decides is not None:
        stops.append(_decision(strategies.aggregation))
    if settings.max_cost_usd is not None:
        stops.append("max_cost_usd")
    shown: dict[str, Any] = {"filters": filters} if filters else {}
    if stops and not is_last:
        shown["stop_when"] = stops
    notes = ["blind: does not see the layers before"] if closing.layer in settings.blind else []
    if closing.decides is not None and closing.size > 1:
        notes.append(f"ends early: {_decision(strategies.aggregation)}")
    return {**shown, **({"notes": notes} if notes else {})}


def _decision(aggregation: Any) -> str:
    """Return the description of the early decision of an aggregation, for drawings."""
    return str(getattr(aggregation, "decision", f"{name_of(aggregation)} decided"))


def _add_aggregation(builder: MoAGraph, settings: NodeSettings) -> list[str]:
    """Add the nodes of the aggregation, and return the names of its first nodes."""
    aggregation = settings.strategies.aggregation
    if isinstance(aggregation, Aggregation):
        first = aggregation.add_to(GraphEnd(builder, settings))
        return [first] if isinstance(first, str) else [*first]
    # The function's name, with characters that a node's name cannot have replaced.
    name = re.sub(r"\W+", "_", name_of(aggregation)).strip("_")
    node = name if name and name != "lambda" and name not in {*builder.nodes, *MoAState.__annotations__} else AGGREGATOR
    models: Sequence[Proposer | None] = getattr(aggregation, "models", ())
    if getattr(aggregation, "may_pass_on", False):
        return [_add_passing_on(builder, settings, "choose" if node == AGGREGATOR else node, models[0])]
    shown = {"model": settings.member(models[0]).id} if models else None
    builder.add_node(node, Choose(aggregation, settings, node=node), metadata=shown)
    builder.add_edge(node, END)
    return [node]


def _add_passing_on(builder: MoAGraph, settings: NodeSettings, node: str, writer: Proposer | None) -> str:
    """Add an aggregation that may return `Undecided`, with the aggregator that then answers and the check of that answer.

    Returns:
        The name of the aggregation's node.
    """
    aggregation = settings.strategies.aggregation
    builder.add_node(node, Choose(aggregation, settings, node=node))
    member = settings.member(writer)
    members = settings.members if writer is None else settings.members._replace(aggregator=member, fallbacks=())
    builder.add_node(AGGREGATOR, Aggregate(replace(settings, members=members)), metadata={"model": member.id})
    builder.add_conditional_edges(node, lambda state: END if is_answered(state) else AGGREGATOR, [END, AGGREGATOR])
    last = AGGREGATOR
    if settings.strategies.examine is not None:
        last = "verify"
        builder.add_node(last, Review(settings))
        builder.add_edge(AGGREGATOR, last)
    builder.add_edge(last, END)
    return node


def _connect(builder: MoAGraph, source: str, targets: Sequence[str]) -> None:
    for target in targets:
        builder.add_edge(source, target)


class GraphEnd:
    """The end of a mixture's graph, to which an aggregation adds nodes. See `strategies.aggregation.AnswerGraph`."""

    def __init__(self, builder: MoAGraph, settings: NodeSettings) -> None:
        """Wrap the end of a graph.

        Args:
            builder: The graph to extend.
            settings: The settings of the mixture's nodes.
        """
        self._builder = builder
        self._settings = settings

    @property
    def layers(self) -> Sequence[Sequence[Member]]:
        """The proposers of each layer that can be the last."""
        layers = self._settings.members.layers
        return layers if self._settings.mixture.may_stop else layers[-1:]

    def member(self, model: Proposer | None) -> Member:
        """Return the member for one of the aggregation's `models`; `None` is the aggregator."""
        return self._settings.member(model)

    def add_node(self, name: str, action: Callable[[MoAState], Any]) -> None:
        """Add a node that calls no model."""
        self._builder.add_node(name, Consult(action, self._settings, node=name))

    def add_inquiry(
        self,
        name: str,
        work: Callable[[MoAState], Inquiry[Any] | Any],
        *,
        model: Proposer | None = None,
        together: int | None = None,
    ) -> None:
        """Add a node whose function may ask models."""
        closing, mixture = None, self._settings.mixture
        if together is not None:
            closing = Closing(size=together, quorum=quorum_of(mixture.quorum, together), grace=mixture.quorum_grace)
        node = Consult(work, self._settings, node=name, closing=closing)
        self._builder.add_node(name, node, metadata={"model": self.member(model).id})

    def add_aggregator(self, *, prompt: Callable[[MoAState, PlacedPrompt], Prompt] | None = None) -> str:
        """Add the node in which the aggregator writes the answer, and return its name."""
        settings = self._settings
        node = Aggregate(settings, prompt=prompt)
        self._builder.add_node(AGGREGATOR, node, metadata={"model": settings.members.aggregator.id})
        self._builder.add_edge(AGGREGATOR, END)
        return AGGREGATOR

    def add_edge(self, start: str | list[str], end: str) -> None:
        """Add an edge between nodes."""
        self._builder.add_edge(start, end)

    def add_conditional_edges(self, start: str, choose: Callable[[MoAState], str], ends: list[str]) -> None:
        """Add conditional edges."""
        self._builder.add_conditional_edges(start, choose, ends)
