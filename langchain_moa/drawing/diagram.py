"""The diagram of a mixture, columns of boxes with arrows between them, read from a graph's nodes, edges and metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from langchain_core.runnables.graph import Graph

from langchain_moa.drawing.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig
    from langchain_core.runnables.graph import Node

_START, _END, _AGGREGATOR = "__start__", "__end__", "aggregator"
# The provider, the owner and the model's own name. Any later colon belongs to the name, as in "ollama:gpt-oss:20b".
_MODEL = re.compile(r"([a-z_]+:)?(.*/)?(.*)", re.DOTALL)
# The name of a proposer with the number that the engine appends if several proposers of a layer have the same name.
_NUMBERED = re.compile(r"(.+)( #\d+)", re.DOTALL)
# The prefix of the model id of a nested mixture; the id of its aggregator follows.
_NESTED_MIXTURE = "moa:moa/"


class Kind(Enum):
    """The kind of a node. `ANSWER` nodes return the answer: the aggregator, or a node that selects a reference."""

    START = "start"
    END = "end"
    PROPOSER = "proposer"
    MERGE = "merge"
    STEP = "step"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Box:
    """One node of the graph.

    Attributes:
        id: The node's id in the graph.
        kind: The kind of the node.
        label: The name to show.
        sublabel: The text below the name, usually the model or its provider, or `None`.
        notes: Further lines, such as the role.
        model: The id of the model that the node calls, or `None`.
    """

    id: str
    kind: Kind
    label: str
    sublabel: str | None = None
    notes: tuple[str, ...] = ()
    model: str | None = None

    @property
    def name(self) -> str:
        """The node's name on one line: the full model id if the node is named after its model."""
        label, number = _numbered(self.label)
        if self.model is not None and self.sublabel != self.model and self.model.endswith(label):
            return f"{self.model}{number}"
        return self.label

    @property
    def full_name(self) -> str:
        """All text of the box on one line."""
        is_whole = self.model is None or _numbered(self.name)[0] == self.model
        return ", ".join([self.name if is_whole else f"{self.name}: {self.model}", *self.notes])


@dataclass(frozen=True, slots=True)
class Stage:
    """Columns that belong together: the proposers and the merge of a layer, or steps that run in parallel.

    Attributes:
        title: The title of the frame around the columns; empty for no frame.
        columns: The boxes, by column from left to right, each column from top to bottom.
        layer: The number of the layer; `None` for other stages.
        notes: Descriptions of the layer's merge, such as its filters.
    """

    title: str
    columns: tuple[tuple[Box, ...], ...]
    layer: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrow:
    """One edge of the graph.

    Attributes:
        source: The id of the source node.
        target: The id of the target node.
        label: The text on the arrow, or `None`.
        conditional: Whether the edge is conditional. Such arrows are dashed.
    """

    source: str
    target: str
    label: str | None = None
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Diagram:
    """The diagram of a mixture.

    Attributes:
        stages: The stages, from left to right.
        arrows: The edges, in the graph's order.
    """

    stages: tuple[Stage, ...]
    arrows: tuple[Arrow, ...]

    def boxes(self) -> Iterator[Box]:
        """Yield every box, from left to right and from top to bottom."""
        for stage in self.stages:
            for column in stage.columns:
                yield from column


class Drawable(Protocol):
    """A compiled LangGraph graph, or anything else with `get_graph()`."""

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Return the graph's nodes and edges."""
        ...


@runtime_checkable
class Compilable(Protocol):
    """An uncompiled graph: LangGraph's `StateGraph`."""

    def compile(self) -> Drawable:
        """Return the compiled graph."""
        ...


Source: TypeAlias = Graph | Drawable | Compilable


def graph_of(source: Source) -> Graph:
    """Return the nodes and edges of a graph in any supported form.

    Args:
        source: A compiled graph, a `StateGraph`, or the `Graph` that `get_graph()` returns.

    Raises:
        TypeError: `source` is none of these.
        ValueError: The graph has no nodes.
    """
    shown: object = source
    if not isinstance(shown, (Graph, type)):
        if isinstance(shown, Compilable):
            shown = shown.compile()
        get_graph = getattr(shown, "get_graph", None)
        shown = get_graph() if callable(get_graph) else shown
    if not isinstance(shown, Graph):
        what = f"the class {source.__name__}" if isinstance(source, type) else f"an object of type {type(source).__name__}"
        msg = f"graph: {what} cannot be drawn; pass a StateGraph, a compiled graph, or what its get_graph() returns"
        raise TypeError(msg)
    if not shown.nodes:
        msg = "graph: it has no nodes, so there is nothing to draw; add nodes first"
        raise ValueError(msg)
    return shown


def is_mixture(graph: Graph) -> bool:
    """Return whether a graph is that of a mixture: it has proposers in layers, and no expanded subgraphs."""
    # LangGraph joins the names of expanded subgraphs with colons, which node names must not contain.
    return any(map(_proposes, graph.nodes.values())) and not any(":" in node for node in graph.nodes)


def read(source: Source) -> Diagram:
    """Read the diagram of a mixture from its graph.

    The layout follows the edges. These keys of a node's metadata are used: `layer` (the number of its layer), `proposer` (the
    proposer's number), `name` (its name), `model` (a model id), `role` (the name of a role), `filters` (the names of a merge's
    reference filters, in order), `stop_when` (the name of a merge's stop condition) and `notes` (further remarks on a merge's
    layer).

    Args:
        source: A mixture's graph: compiled, uncompiled, or what `get_graph()` returns.

    Raises:
        TypeError: `source` has no graph.
        ValueError: The graph has no nodes, or is not that of a mixture.
    """
    graph = graph_of(source)
    if not is_mixture(graph):
        msg = (
            "graph: this is not the graph of a mixture: it has no proposers, or its subgraphs are opened (xray); "
            "draw any other graph with LangGraph: graph.get_graph().draw_mermaid()"
        )
        raise ValueError(msg)
    nodes = {**{id_: node for id_, node in graph.nodes.items() if id_ == _START}, **graph.nodes}
    arrows = _arrows(graph)
    answers = _answering(nodes, arrows)
    boxes = {id_: _box(node, answers=id_ in answers) for id_, node in nodes.items()}
    return Diagram(tuple(_stages(nodes, boxes, arrows)), tuple(_labelled(nodes, boxes, arrows)))


def _arrows(graph: Graph) -> list[Arrow]:
    """Return the edges as arrows. Several edges between the same two nodes become one arrow."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    conditional: dict[tuple[str, str], bool] = {}
    for edge in graph.edges:
        ends = (edge.source, edge.target)
        if graph.nodes.keys() >= {*ends}:
            labels.setdefault(ends, {}).update(dict.fromkeys(_listed(edge.data)))
            conditional[ends] = edge.conditional and conditional.get(ends, True)
    return [Arrow(*ends, " / ".join(several) or None, conditional[ends]) for ends, several in labels.items()]


def _metadata(node: Node) -> Mapping[str, Any]:
    return node.metadata or {}


def _proposes(node: Node) -> bool:
    metadata = _metadata(node)
    return metadata.get("layer") is not None and bool(metadata.get("proposer"))


def _listed(value: object) -> list[str]:
    """Return the names in a metadata value, which may be one name, a list of names, or `None`."""
    several: Iterable[object] = value if isinstance(value, (list, tuple)) else [value]
    return [clean(each) for each in several if each is not None and clean(each)]


def _answering(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> set[str]:
    """Return the nodes that return the answer: the aggregator, or otherwise the nodes that lead only to the end."""
    if _AGGREGATOR in nodes:
        return {_AGGREGATOR}
    steps = {id_ for id_, node in nodes.items() if "layer" not in _metadata(node) and id_ not in {_START, _END}}
    onwards = {arrow.source for arrow in arrows if arrow.target not in {_END, arrow.source}}
    return {arrow.source for arrow in arrows if arrow.source in steps - onwards and arrow.target == _END}


def _box(node: Node, *, answers: bool) -> Box:
    metadata = _metadata(node)
    model = clean(metadata["model"]) or None if metadata.get("model") else None
    match node.id:
        case "__start__":
            return Box(node.id, Kind.START, "start")
        case "__end__":
            return Box(node.id, Kind.END, "end")
        case _ if _proposes(node):
            kind, name = Kind.PROPOSER, clean(metadata.get("name") or metadata["proposer"])
        case _ if metadata.get("layer") is not None and re.fullmatch(r"merge_\d+", node.id):
            return Box(node.id, Kind.MERGE, "merge")
        case "aggregator":
            kind, name = Kind.ANSWER, "Aggregator"
        case _:
            kind, name = Kind.ANSWER if answers else Kind.STEP, clean(node.id.replace("_", " "))
    label, sublabel = _caption(name or "(unnamed)", model) if kind is Kind.PROPOSER else (name or "(unnamed)", model)
    notes = tuple(f"role: {role}" for role in _listed(metadata.get("role")) if role != label)
    return Box(node.id, kind, label, sublabel, notes, model)


def _caption(name: str, model: str | None) -> tuple[str, str | None]:
    """Return the two lines of a box: the name and the model. If the name is a model id: the model's name and its provider."""
    own_name, number = _numbered(name)
    if model is not None and model.startswith(_NESTED_MIXTURE):
        writer = f"by {model.removeprefix(_NESTED_MIXTURE)}"
        return (f"mixture{number}", writer) if own_name == model else (name, f"mixture {writer}")
    provider, owner, own = _MODEL.fullmatch(model or "").groups(default="")  # type: ignore[union-attr]  # the pattern matches any text
    if own and own_name in {model, own}:
        return f"{own}{number}", f"{provider}{owner}".rstrip(":/") or None
    return name, model


def _numbered(name: str) -> tuple[str, str]:
    """Split a name into the name without its number, and the number as written; empty if there is none."""
    found = _NUMBERED.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")


def _labelled(nodes: Mapping[str, Node], boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> Iterator[Arrow]:
    """Yield the arrows with labels on early exits and loops, and solid arrows from a merge to the next layer."""
    goes_on = {arrow.source for arrow in arrows if arrow.conditional and boxes[arrow.target].kind is Kind.PROPOSER}
    for arrow in arrows:
        if arrow.label or not arrow.conditional:
            yield arrow
        elif arrow.source == arrow.target:
            yield replace(arrow, label="repeat")
        elif boxes[arrow.source].kind is not Kind.MERGE or arrow.source not in goes_on:
            yield arrow
        elif boxes[arrow.target].kind is Kind.PROPOSER:
            yield replace(arrow, conditional=False)
        else:
            conditions = _listed(_metadata(nodes[arrow.source]).get("stop_when"))
            yield replace(arrow, label=f"stop: {', '.join(conditions)}" if conditions else "early exit")


def _stages(nodes: Mapping[str, Node], boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> Iterator[Stage]:
    """Yield the stages: nodes in columns by their ranks, adjacent columns of a layer grouped together."""
    layers = {
        id_: clean(layer) for id_, node in nodes.items() if (layer := _metadata(node).get("layer")) is not None and clean(layer)
    }
    before = _before(arrows, layers)
    ranks = _ranks(list(nodes), [arrow for arrow in arrows if not _starts_over(arrow, boxes, layers, before)])
    columns: dict[tuple[int, str | None], list[Box]] = {}
    for id_ in sorted(nodes, key=lambda id_: (ranks[id_], id_ in layers)):
        columns.setdefault((ranks[id_], layers.get(id_)), []).append(boxes[id_])
    for layer, several in groupby(columns.items(), key=lambda item: item[0][1]):
        found = tuple(tuple(column) for _, column in several)
        if layer is not None:
            merges = [nodes[box.id] for column in found for box in column if box.kind is Kind.MERGE]
            filters = [name for merge in merges for name in _listed(_metadata(merge).get("filters"))]
            notes = [f"filters: {', '.join(filters)}"] if filters else []
            notes += [note for merge in merges for note in _listed(_metadata(merge).get("notes"))]
            yield Stage(f"Layer {layer}", found, layer, tuple(notes))
        else:
            for column in found:
                yield Stage(_title(column) if len(column) > 1 else "", (column,))


def _before(arrows: Sequence[Arrow], layers: Mapping[str, str]) -> set[str]:
    """Return the start, and the nodes that can be reached from it without passing a layer."""
    found, waiting = {_START}, [_START]
    while waiting:
        source = waiting.pop()
        new = {arrow.target for arrow in arrows if arrow.source == source} - found - layers.keys()
        found |= new
        waiting += new
    return found


def _starts_over(arrow: Arrow, boxes: Mapping[str, Box], layers: Mapping[str, str], before: set[str]) -> bool:
    """Return whether an arrow leads back to a proposer: its source is neither before the layers nor in a lower layer."""
    if boxes[arrow.target].kind is not Kind.PROPOSER or arrow.source in before:
        return False
    layer, lower = layers[arrow.target], layers.get(arrow.source)
    return lower is None or (len(lower), lower) >= (len(layer), layer)


def _title(column: Sequence[Box]) -> str:
    """Return the common name of parallel steps: "Rank" for "rank 1" and "rank 2"."""
    shared = {box.id.strip("_0123456789").replace("_", " ") for box in column}
    name = clean(shared.pop()) if len(shared) == 1 else ""
    return name[:1].upper() + name[1:] if name else "In parallel"


def _ranks(nodes: Sequence[str], arrows: Sequence[Arrow]) -> dict[str, int]:
    """Return the column of each node: the length of its longest path from the start, ignoring arrows that lead back."""
    following: dict[str, list[str]] = {node: [] for node in nodes}
    for arrow in arrows:
        following[arrow.source].append(arrow.target)
    finished: list[str] = []
    seen: set[str] = set()
    # Depth-first search without recursion, because a chain may be longer than Python's recursion limit.
    stack = [(node, False) for node in reversed(nodes)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            finished.append(node)
        elif node not in seen:
            seen.add(node)
            stack += [(node, True), *((target, False) for target in reversed(following[node]) if target not in seen)]
    places = {node: place for place, node in enumerate(reversed(finished))}
    # The first column has only the start, the last one only the end.
    ranks = {node: -1 if node == _START else 0 for node in nodes}
    for node, place in places.items():
        for target in following[node]:
            if places[target] > place:
                ranks[target] = max(ranks[target], ranks[node] + 1)
    if _END in ranks:
        ranks[_END] = max(ranks.values()) + 1
    return ranks
