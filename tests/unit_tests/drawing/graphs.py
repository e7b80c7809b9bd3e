"""Graphs for drawing, built by hand like those of mixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypedDict

from langchain_core.runnables.graph import Graph
from langgraph.graph import END, START, StateGraph

if TYPE_CHECKING:
    from collections.abc import Sequence


class State(TypedDict):
    x: int


Builder: TypeAlias = StateGraph[State, None, State, State]

MODELS = (
    "together:Qwen/Qwen3-235B-A22B-Instruct-2507-tput",
    "together:deepseek-ai/DeepSeek-V3.1",
    "openai:gpt-4.1-mini",
    "anthropic:claude-sonnet-4-5",
    "google_genai:gemini-2.5-flash",
    "together:meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "local:smollm2-135m",
    "local:gemma3-270m",
    "mistralai:mistral-large-latest",
    "together:moonshotai/Kimi-K2-Instruct-0905",
    "groq:openai/gpt-oss-120b",
    "xai:grok-4-fast-reasoning",
)
AGGREGATOR = "openai:gpt-4.1"


def nothing(state: State) -> State:
    return state


def choose(state: State) -> str:
    return str(state)


def mixture(
    layers: Sequence[Sequence[str]],
    *,
    names: Sequence[str] | None = None,
    aggregator: str = AGGREGATOR,
    early_exit: bool = False,
    role: str | None = None,
    filters: Sequence[str] = (),
    stop_when: str | None = None,
) -> Builder:
    """Return a mixture's graph, with the same node names and metadata as `create_moa`."""
    also_proposers = {} if role is None else {"role": role}
    also_merges = {**({"filters": [*filters]} if filters else {}), **({} if stop_when is None else {"stop_when": stop_when})}
    graph: Builder = StateGraph(State)
    before = START
    for number, models in enumerate(layers, start=1):
        width = len(str(len(models)))
        nodes = [f"layer_{number}_proposer_{position:0{width}}" for position in range(1, len(models) + 1)]
        for node, model, name in zip(nodes, models, names or models, strict=True):
            graph.add_node(
                node, nothing, metadata={"layer": number, "proposer": 1, "name": name, "model": model, **also_proposers}
            )
        merge = f"merge_{number}"
        graph.add_node(merge, nothing, metadata={"layer": number, **also_merges})
        for node in nodes:
            graph.add_edge(node, merge)
        if early_exit and before != START:
            graph.add_conditional_edges(before, choose, [*nodes, "aggregator"])
        else:
            for node in nodes:
                graph.add_edge(before, node)
        before = merge
    graph.add_node("aggregator", nothing, metadata={"model": aggregator})
    graph.add_edge(before, "aggregator")
    graph.add_edge("aggregator", END)
    return graph


def hand_made(
    edges: Sequence[tuple[str, str]],
    *,
    labels: Sequence[str | None] = (),
    metadata: dict[str, dict[str, object]] | None = None,
    proposer: str | None = None,
) -> Graph:
    """Return a graph with any edges, loops included; with `proposer`, it is a mixture's."""
    graph = Graph()
    given = {**(metadata or {}), **({} if proposer is None else {proposer: {"layer": 1, "proposer": 1, "name": proposer}})}
    nodes = {
        name: graph.add_node(None, id=name, metadata=given.get(name))
        for name in dict.fromkeys(name for edge in edges for name in edge)
    }
    for index, (source, target) in enumerate(edges):
        label = labels[index] if index < len(labels) else None
        graph.add_edge(nodes[source], nodes[target], label, conditional=label is not None)
    return graph
