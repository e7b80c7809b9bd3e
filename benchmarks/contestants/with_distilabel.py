"""distilabel's `MixtureOfAgentsLLM`, called by the coroutine behind `generate`, which runs only one batch at a time."""

from __future__ import annotations

from typing import Any

from common import AGGREGATOR, LAYERS, PROPOSERS
from distilabel.models.llms import MixtureOfAgentsLLM, OpenAILLM


class Mixture:
    def __init__(self, url: str, limit: float | None) -> None:
        def chat(model: str) -> Any:
            timeout = {} if limit is None else {"timeout": int(limit)}
            return OpenAILLM(model=model, base_url=url, api_key="test", max_retries=0, **timeout)

        self._llm = MixtureOfAgentsLLM(
            aggregator_llm=chat(AGGREGATOR), proposers_llms=[chat(model) for model in PROPOSERS], rounds=LAYERS
        )
        self._llm.load()

    async def ask(self, question: str, system: str) -> str:
        first = [{"role": "system", "content": system}] if system else []
        outputs = await self._llm._agenerate([[*first, {"role": "user", "content": question}]])  # noqa: SLF001  # see above
        return outputs[0]["generations"][0]


def make(url: str, limit: float | None) -> Mixture:
    return Mixture(url, limit)
