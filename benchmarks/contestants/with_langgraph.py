"""The mixture's graph written by hand: the overhead of LangGraph for the same nodes, edges and merges."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from common import AGGREGATOR, LAYERS, PROPOSERS, system_with
from langchain_core.messages import AIMessageChunk, AnyMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from with_langchain import conversation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_core.runnables import RunnableConfig


class State(TypedDict):
    question: str
    system: str
    references: Annotated[list[tuple[int, int, str]], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


class Mixture:
    def __init__(self, url: str, limit: float | None) -> None:
        def chat(model: str) -> ChatOpenAI:
            return ChatOpenAI(model=model, base_url=url, api_key="test", max_retries=0, timeout=limit)

        builder = StateGraph(State)
        before = START
        for layer in range(LAYERS):
            names = [f"layer_{layer}_{place}" for place in range(len(PROPOSERS))]
            for place, (name, model) in enumerate(zip(names, PROPOSERS, strict=True)):
                builder.add_node(name, proposer(chat(model), layer, place))
                builder.add_edge(before, name)
            before = f"merge_{layer}"
            builder.add_node(before, lambda _: {})
            builder.add_edge(names, before)
        builder.add_node("aggregator", aggregator(chat(AGGREGATOR)))
        builder.add_edge(before, "aggregator")
        builder.add_edge("aggregator", END)
        self._graph: Any = builder.compile()

    async def ask(self, question: str, system: str) -> str:
        state = await self._graph.ainvoke({"question": question, "system": system, "references": [], "messages": []})
        return state["messages"][-1].text

    async def stream(self, question: str, system: str) -> AsyncIterator[str]:
        state = {"question": question, "system": system, "references": [], "messages": []}
        async for chunk, metadata in self._graph.astream(state, stream_mode="messages"):
            if metadata["langgraph_node"] == "aggregator" and isinstance(chunk, AIMessageChunk):
                yield chunk.text


def proposer(model: ChatOpenAI, layer: int, place: int) -> Any:
    async def propose(state: State, config: RunnableConfig) -> dict[str, Any]:
        answer = await model.ainvoke(conversation(state["question"], shown(state, layer - 1)), config)
        return {"references": [(layer, place, answer.text)]}

    return propose


def aggregator(model: ChatOpenAI) -> Any:
    async def aggregate(state: State, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(conversation(state["question"], shown(state, LAYERS - 1)), config)]}

    return aggregate


def shown(state: State, layer: int) -> str:
    """The system message with a layer's references."""
    return system_with([text for of, _, text in sorted(state["references"]) if of == layer], state["system"])


def make(url: str, limit: float | None) -> Mixture:
    return Mixture(url, limit)
