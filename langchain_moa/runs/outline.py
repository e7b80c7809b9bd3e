"""The outline of a graph: its nodes and edges as plain data, from which its drawing can be made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.runnables.graph import Edge, Graph, Node
from pydantic import BaseModel, ConfigDict, JsonValue

if TYPE_CHECKING:
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.runs.plain import Plain


class OutlinedNode(BaseModel):
    """A node: its id, its name, and what its metadata say: `layer`, `proposer`, `model`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    id: str
    name: str
    metadata: dict[str, JsonValue] = {}


class OutlinedEdge(BaseModel):
    """An edge, and whether it is taken only sometimes."""

    model_config = ConfigDict(frozen=True)

    source: str
    target: str
    label: str | None = None
    conditional: bool = False


class Outline(BaseModel):
    """A graph as plain data.

    Attributes:
        nodes: Its nodes.
        edges: Its edges.
    """

    model_config = ConfigDict(frozen=True)

    nodes: list[OutlinedNode]
    edges: list[OutlinedEdge]

    @classmethod
    def of(cls, mixture: Mixture, plain: Plain) -> Outline:
        """Return the outline of a mixture's graph.

        Args:
            mixture: The mixture.
            plain: Makes plain data, without secrets.
        """
        from langchain_moa.engine.graph import build_graph

        graph = build_graph(mixture).compile().get_graph()
        return cls(
            nodes=[
                OutlinedNode(id=node.id, name=plain.text(node.name), metadata=plain.mapping(node.metadata))
                for node in graph.nodes.values()
            ],
            edges=[
                OutlinedEdge(
                    source=edge.source,
                    target=edge.target,
                    label=None if edge.data is None else plain.text(edge.data),
                    conditional=edge.conditional,
                )
                for edge in graph.edges
            ],
        )

    def graph(self) -> Graph:
        """Return the graph, as the drawing functions take it."""
        nodes = {node.id: Node(node.id, node.name, None, dict(node.metadata) or None) for node in self.nodes}
        return Graph(nodes, [Edge(each.source, each.target, each.label, each.conditional) for each in self.edges])
