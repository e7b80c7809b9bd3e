"""This package: the graph and the chat model, async and sync."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common import AGGREGATOR, LAYERS, PROPOSERS
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA, MoAContext, create_moa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def parts(url: str, limit: float | None) -> dict[str, Any]:
    def chat(model: str) -> ChatOpenAI:
        return ChatOpenAI(model=model, base_url=url, api_key="test", max_retries=0)

    proposers = [chat(model) for model in PROPOSERS]
    return {"proposers": proposers, "aggregator": chat(AGGREGATOR), "num_layers": LAYERS, "proposer_timeout": limit}


def conversation(question: str, system: str) -> list[BaseMessage]:
    return [*([SystemMessage(system)] if system else []), HumanMessage(question)]


class Graph:
    def __init__(self, url: str, limit: float | None) -> None:
        self._graph: Any = create_moa(**parts(url, limit)).compile()

    async def ask(self, question: str, system: str) -> str:
        state = await self._graph.ainvoke({"messages": conversation(question, system)})
        return state["messages"][-1].text

    async def stream(self, question: str, system: str) -> AsyncIterator[str]:
        context = MoAContext(stream_answer=True)
        messages = {"messages": conversation(question, system)}
        async for data in self._graph.astream(messages, context=context, stream_mode="custom"):
            if isinstance(data, AIMessageChunk):
                yield data.text


class SyncGraph:
    def __init__(self, url: str, limit: float | None) -> None:
        self._graph: Any = create_moa(**parts(url, limit)).compile()

    def ask(self, question: str, system: str) -> str:
        return self._graph.invoke({"messages": conversation(question, system)})["messages"][-1].text

    def stream(self, question: str, system: str) -> Iterator[str]:
        context = MoAContext(stream_answer=True)
        messages = {"messages": conversation(question, system)}
        for data in self._graph.stream(messages, context=context, stream_mode="custom"):
            if isinstance(data, AIMessageChunk):
                yield data.text


class Chat:
    def __init__(self, url: str, limit: float | None) -> None:
        self._moa = ChatMoA(**parts(url, limit))

    async def ask(self, question: str, system: str) -> str:
        return (await self._moa.ainvoke(conversation(question, system))).text

    async def stream(self, question: str, system: str) -> AsyncIterator[str]:
        async for chunk in self._moa.astream(conversation(question, system)):
            yield chunk.text


class SyncChat:
    def __init__(self, url: str, limit: float | None) -> None:
        self._moa = ChatMoA(**parts(url, limit))

    def ask(self, question: str, system: str) -> str:
        return self._moa.invoke(conversation(question, system)).text

    def stream(self, question: str, system: str) -> Iterator[str]:
        for chunk in self._moa.stream(conversation(question, system)):
            yield chunk.text


make_graph, make_sync_graph, make_chat, make_sync_chat = Graph, SyncGraph, Chat, SyncChat
