"""The outline of a graph: its nodes and edges as plain data, without what the nodes do."""

from __future__ import annotations

from langchain_core.runnables.graph import Edge, Graph, Node
from pydantic import BaseModel, ConfigDict, JsonValue


class OutlinedNode(BaseModel):
    """A node of a graph: its id, its name, and its metadata (`layer`, `proposer`, `model`)."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    id: str
    name: str
    metadata: dict[str, JsonValue] = {}


class OutlinedEdge(BaseModel):
    """An edge of a graph, and whether it is conditional."""

    model_config = ConfigDict(frozen=True)

    source: str
    target: str
    label: str | None = None
    conditional: bool = False


class Outline(BaseModel):
    """A graph as plain data: its nodes and edges.

    Attributes:
        nodes: The nodes.
        edges: The edges.
    """

    model_config = ConfigDict(frozen=True)

    nodes: list[OutlinedNode]
    edges: list[OutlinedEdge]

    def graph(self) -> Graph:
        """Return the outline as a LangChain `Graph`, which can be drawn."""
        nodes = {node.id: Node(node.id, node.name, None, dict(node.metadata) or None) for node in self.nodes}
        return Graph(nodes, [Edge(each.source, each.target, each.label, each.conditional) for each in self.edges])
