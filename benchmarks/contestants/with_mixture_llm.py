"""mixture-llm with a client that uses the plain SDK, as in its documentation. It has no system message and cannot stream."""

from __future__ import annotations

from typing import Any

from common import AGGREGATOR, PROPOSERS
from mixture_llm import Aggregate, Propose, Synthesize, run
from openai import AsyncOpenAI


class Mixture:
    def __init__(self, url: str, limit: float | None) -> None:
        timeout = {} if limit is None else {"timeout": limit}
        self._client = AsyncOpenAI(base_url=url, api_key="test", max_retries=0, **timeout)
        self._pipeline = [Propose(PROPOSERS), Synthesize(PROPOSERS), Aggregate(AGGREGATOR)]

    async def ask(self, question: str, system: str) -> str:  # noqa: ARG002  # not supported
        return (await run(self._pipeline, question, self._call))[0]

    async def _call(self, *, model: str, messages: Any, temp: float, max_tokens: int) -> tuple[str, int, int]:
        answer = await self._client.chat.completions.create(
            model=model, messages=messages, temperature=temp, max_tokens=max_tokens
        )
        return answer.choices[0].message.content or "", answer.usage.prompt_tokens, answer.usage.completion_tokens


def make(url: str, limit: float | None) -> Mixture:
    return Mixture(url, limit)
