"""The plain openai SDK and `asyncio.gather`: the lower bound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from common import AGGREGATOR, LAYERS, PROPOSERS, system_with
from openai import AsyncOpenAI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Mixture:
    def __init__(self, url: str, limit: float | None) -> None:
        timeout = {} if limit is None else {"timeout": limit}
        self._client = AsyncOpenAI(base_url=url, api_key="test", max_retries=0, **timeout)

    async def ask(self, question: str, system: str) -> str:
        references = await self._layers(question, system)
        return await self._call(AGGREGATOR, question, system_with(references, system))

    async def stream(self, question: str, system: str) -> AsyncIterator[str]:
        references = await self._layers(question, system)
        messages = conversation(question, system_with(references, system))
        async for chunk in await self._client.chat.completions.create(model=AGGREGATOR, messages=messages, stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    async def _layers(self, question: str, system: str) -> list[str]:
        references: list[str] = []
        for _ in range(LAYERS):
            shown = system_with(references, system)
            references = await asyncio.gather(*(self._call(model, question, shown) for model in PROPOSERS))
        return references

    async def _call(self, model: str, question: str, system: str) -> str:
        answer = await self._client.chat.completions.create(model=model, messages=conversation(question, system))
        return answer.choices[0].message.content or ""


def conversation(question: str, system: str) -> list[Any]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": question}]


def make(url: str, limit: float | None) -> Mixture:
    return Mixture(url, limit)
