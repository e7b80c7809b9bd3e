"""What is plain to see in a mixture's graph for those who know mixtures, made plain for everyone else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_moa.drawing.parts import Edge, Kind, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ENOUGH = "enough"
"""What stands on the edge by which the layers end early."""

_UNTITLED = "Aggregation"


def refined(nodes: Sequence[Node], edges: Sequence[Edge]) -> tuple[list[Node], list[Edge]]:
    """Return a graph's nodes and edges with what can be said of those that belong to mixtures; others are left as they are.

    The edge by which the layers end early bears a word, and the one that goes on is as plain as any. Steps have the names of
    people and not of programs; those that run side by side are a stage; the last one of a mixture without an aggregator is
    marked as the one that gives the answer.

    Args:
        nodes: The nodes.
        edges: The edges.
    """
    inside: dict[str, list[Node]] = {}
    for node in nodes:
        inside.setdefault(_graph_of(node), []).append(node)
    known: dict[str, Node] = {}
    for several in inside.values():
        if any(node.kind is Kind.PROPOSER for node in several):
            known |= _steps({node.id: node for node in several}, edges)
    found = [known.get(node.id, node) for node in nodes]
    return found, _edges({node.id: node for node in found}, edges)


def _graph_of(node: Node) -> str:
    return node.id.rpartition(":")[0]


def _steps(nodes: Mapping[str, Node], edges: Sequence[Edge]) -> dict[str, Node]:
    """Return the steps of one mixture: what stands behind its layers."""
    steps = {name: node for name, node in nodes.items() if node.kind is Kind.STEP and node.layer is None}
    into = {name: frozenset(edge.source for edge in edges if edge.target == name) for name in steps}
    out = {name: frozenset(edge.target for edge in edges if edge.source == name) for name in steps}
    beside: dict[object, list[str]] = {}
    for name in steps:
        beside.setdefault((into[name], out[name]), []).append(name)
    stages = {name: _stage(steps[other].title for other in several) for several in beside.values() for name in several}
    writes = any(node.kind is Kind.AGGREGATOR for node in nodes.values())
    return {
        name: replace(
            node,
            title=node.title.replace("_", " ").strip() or node.title,
            stage=stages[name] if len(beside[into[name], out[name]]) > 1 else None,
            kind=Kind.STEP
            if writes or any(nodes[target].kind is not Kind.END for target in out[name] & nodes.keys())
            else Kind.CHOICE,
        )
        for name, node in steps.items()
    }


def _stage(titles: Iterable[str]) -> str:
    shared = {title.strip("_0123456789").replace("_", " ") for title in titles}
    name = shared.pop() if len(shared) == 1 else ""
    return name[:1].upper() + name[1:] if name else _UNTITLED


def _edges(nodes: Mapping[str, Node], edges: Sequence[Edge]) -> list[Edge]:
    """Return the edges, the two ways behind a layer told apart."""
    goes_on = {edge.source for edge in edges if edge.conditional and nodes[edge.target].kind is Kind.PROPOSER}
    found = []
    for edge in edges:
        if edge.source not in goes_on or nodes[edge.source].kind is not Kind.MERGE or not edge.conditional or edge.label:
            found.append(edge)
        elif nodes[edge.target].kind is Kind.PROPOSER:
            found.append(replace(edge, conditional=False))
        else:
            found.append(replace(edge, label=ENOUGH))
    return found
