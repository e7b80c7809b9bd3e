"""swarms' `MixtureOfAgents`. An instance has one conversation, so each thread has its own. It cannot stream the answer."""

from __future__ import annotations

import threading
from typing import Any

from common import AGGREGATOR, LAYERS, PROPOSERS
from swarms import Agent, MixtureOfAgents


class Mixture:
    def __init__(self, url: str, limit: float | None) -> None:
        self._url = url
        self._limit = limit
        self._own = threading.local()

    def ask(self, question: str, system: str) -> str:
        made = getattr(self._own, "made", None)
        if made is None or made[0] != system:
            made = self._own.made = (system, self._make(system))
        return str(made[1].run(question))

    def _make(self, system: str) -> Any:
        def agent(model: str) -> Any:
            limits = {} if self._limit is None else {"llm_args": {"timeout": self._limit}}
            return Agent(
                agent_name=model,
                model_name=f"openai/{model}",
                llm_base_url=self._url,
                llm_api_key="test",
                system_prompt=system or "Answer.",
                max_loops=1,
                retry_attempts=1,
                print_on=False,
                verbose=False,
                **limits,
            )

        agents = [agent(model) for model in PROPOSERS]
        return MixtureOfAgents(agents=agents, aggregator_agent=agent(AGGREGATOR), layers=LAYERS)


def make(url: str, limit: float | None) -> Mixture:
    return Mixture(url, limit)
