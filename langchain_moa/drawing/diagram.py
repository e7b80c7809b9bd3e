"""The diagram: what a graph says about a mixture, before anything has a place or a colour."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from langchain_core.runnables.graph import Graph

from langchain_moa.drawing.parts import Diagram, Edge, Group, Kind, Node
from langchain_moa.drawing.refine import refined
from langchain_moa.drawing.text import clean
from langchain_moa.engine.graph import build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.runnables import RunnableConfig
    from langchain_core.runnables.graph import Node as GraphNode

_MERGE = re.compile(r"merge_\d+")
_UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Drawable(Protocol):
    """Whatever shows its own graph: a compiled LangGraph graph, a `RemoteGraph`, any Runnable."""

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Return the graph."""
        ...


@runtime_checkable
class Compilable(Protocol):
    """A graph that is still to be compiled: LangGraph's `StateGraph`."""

    def compile(self) -> Drawable:
        """Return the compiled graph."""
        ...


@runtime_checkable
class Described(Protocol):
    """The description of a mixture, which makes its graph."""

    def to_graph(self) -> Compilable:
        """Return the graph, not yet compiled."""
        ...


Source: TypeAlias = Graph | Drawable | Compilable | Described


def read(source: Source) -> Diagram:
    """Read a diagram out of a graph.

    Args:
        source: A `langchain_core` graph, a compiled graph, a graph that is still to be compiled, or a mixture.

    Raises:
        TypeError: If `source` is none of these.
        ValueError: If the graph has no nodes.
    """
    graph = _graph_of(source)
    if not graph.nodes:
        msg = "graph: it has no nodes, so there is nothing to draw; add nodes to it first"
        raise ValueError(msg)
    edges = [
        Edge(edge.source, edge.target, clean(edge.data) or None if edge.data is not None else None, edge.conditional)
        for edge in graph.edges
        if edge.source in graph.nodes and edge.target in graph.nodes
    ]
    nodes, edges = refined([_node(node) for node in graph.nodes.values()], edges)
    entries = [(_path(node), drawn) for node, drawn in zip(graph.nodes.values(), nodes, strict=True)]
    return Diagram(Group("", _nested(entries, edges)), tuple(edges))


def _graph_of(source: Source) -> Graph:
    if isinstance(source, Graph):
        return source
    shown: object = source
    # A mixture before anything else: ChatMoA is a Runnable too, and as such would draw itself as one box.
    if isinstance(shown, Described) and not isinstance(shown, type):
        shown = build_graph(shown)
    if isinstance(shown, Compilable) and not isinstance(shown, type):
        shown = shown.compile()
    get_graph = None if isinstance(shown, type) else getattr(shown, "get_graph", None)
    if not callable(get_graph):
        what = f"the class {source.__name__}" if isinstance(source, type) else type(source).__name__
        msg = f"graph: {what} cannot be drawn; pass a StateGraph, a compiled graph, what its get_graph() returns, or a mixture"
        raise TypeError(msg)
    graph: Graph = get_graph()
    return graph


def _path(node: GraphNode) -> tuple[str, ...]:
    """Return the subgraphs that a node stands in, the outermost first, and its own name."""
    parts = tuple(node.id.split(":"))
    # LangGraph joins the names of opened subgraphs with colons; what only looks like that is a name.
    return parts if all(parts) else (node.id,)


def _node(node: GraphNode) -> Node:
    name = _path(node)[-1]
    metadata: Mapping[str, Any] = node.metadata or {}
    model = clean(metadata["model"]) if metadata.get("model") else None
    layer = clean(metadata["layer"]) if metadata.get("layer") is not None else None
    title = clean(node.name if _UUID.fullmatch(name) else name) or "(unnamed)"
    match name:
        case "__start__":
            kind, title = Kind.START, "start"
        case "__end__":
            kind, title = Kind.END, "end"
        case "aggregator":
            kind, title = Kind.AGGREGATOR, "Aggregator"
        case _ if metadata.get("proposer"):
            kind, title = Kind.PROPOSER, clean(metadata["proposer"]) or title
        case _ if layer is not None and _MERGE.fullmatch(name):
            kind, title = Kind.MERGE, "merge"
        case _:
            kind = Kind.STEP
    return Node(node.id, kind, title, model, layer)


def _nested(entries: Sequence[tuple[tuple[str, ...], Node]], edges: Sequence[Edge], depth: int = 0) -> tuple[Node | Group, ...]:
    """Put the nodes of one subgraph into groups: those of deeper subgraphs, of layers, and of stages behind the layers."""
    here = [node for path, node in entries if len(path) == depth + 1]
    after_merge = _after_merge(here, edges)
    members: dict[tuple[str, bool], list[tuple[tuple[str, ...], Node]]] = {}
    order: list[Node | tuple[str, bool]] = []
    for path, node in entries:
        if len(path) > depth + 1:
            key = (path[depth], False)
        elif node.layer is not None and node.id not in after_merge:
            key = (f"Layer {node.layer}", True)
        elif node.stage is not None:
            key = (node.stage, True)
        else:
            order.append(node)
            continue
        if key not in members:
            order.append(key)
        members.setdefault(key, []).append((path, node))
    return tuple(_group(item, members[item], edges, depth) if isinstance(item, tuple) else item for item in order)


def _group(key: tuple[str, bool], entries: Sequence[tuple[tuple[str, ...], Node]], edges: Sequence[Edge], depth: int) -> Group:
    name, is_layer = key
    if is_layer:
        return Group(name, tuple(node for _, node in entries), layer=True)
    return Group(clean(name), _nested(entries, edges, depth + 1))


def _after_merge(nodes: Sequence[Node], edges: Sequence[Edge]) -> set[str]:
    """Return the merges, and what of their layers comes after them: these stand outside of the layer's box."""
    layers = {node.id: node.layer for node in nodes if node.layer is not None}
    found = {node.id for node in nodes if node.kind is Kind.MERGE}
    waiting = list(found)
    while waiting:
        source = waiting.pop()
        for edge in edges:
            inside = edge.source == source and layers.get(edge.target) == layers[source]
            # A way back to a proposer is a loop, not a next step.
            if inside and edge.target not in found and not _proposes(edge.target, nodes):
                found.add(edge.target)
                waiting.append(edge.target)
    return found


def _proposes(node_id: str, nodes: Sequence[Node]) -> bool:
    return any(node.id == node_id and node.kind is Kind.PROPOSER for node in nodes)
