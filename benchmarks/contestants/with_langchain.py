"""LangChain's `ChatOpenAI` and `asyncio.gather`, without a graph."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from common import AGGREGATOR, LAYERS, PROPOSERS, system_with
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Mixture:
    def __init__(self, url: str, limit: float | None) -> None:
        def chat(model: str) -> ChatOpenAI:
            return ChatOpenAI(model=model, base_url=url, api_key="test", max_retries=0, timeout=limit)

        self._proposers = [chat(model) for model in PROPOSERS]
        self._aggregator = chat(AGGREGATOR)

    async def ask(self, question: str, system: str) -> str:
        references = await self._layers(question, system)
        return (await self._aggregator.ainvoke(conversation(question, system_with(references, system)))).text

    async def stream(self, question: str, system: str) -> AsyncIterator[str]:
        references = await self._layers(question, system)
        async for chunk in self._aggregator.astream(conversation(question, system_with(references, system))):
            yield chunk.text

    async def _layers(self, question: str, system: str) -> list[str]:
        references: list[str] = []
        for _ in range(LAYERS):
            messages = conversation(question, system_with(references, system))
            answers = await asyncio.gather(*(model.ainvoke(messages) for model in self._proposers))
            references = [answer.text for answer in answers]
        return references


def conversation(question: str, system: str) -> list[BaseMessage]:
    return [*([SystemMessage(system)] if system else []), HumanMessage(question)]


def make(url: str, limit: float | None) -> Mixture:
    return Mixture(url, limit)
