"""The pace of calls: rejected calls are retried with less concurrency, which increases again when the provider allows."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa import Mixture
from langchain_moa.batch import pace
from langchain_moa.batch.pace import Paces, ProviderPace, provider_of


class _RefusedError(Exception):
    """An error as clients raise it, with a status and a response with headers."""

    def __init__(self, status: int = 429, *, after: str | None = None) -> None:
        super().__init__(str(status))
        self.status_code = status
        headers = {} if after is None else {"retry-after": after}
        self.response = SimpleNamespace(headers=headers, status_code=status)


class _Provider:
    """Rejects calls beyond a number of concurrent ones."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = self.peak = self.asked = self.refused = 0

    async def ask(self) -> str:
        self.asked += 1
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            await asyncio.sleep(0)
            if self.open > self.most:
                self.refused += 1
                raise _RefusedError(after="0.001")
            await asyncio.sleep(0.001)
        finally:
            self.open -= 1
        return "ok"


async def _calls(own: ProviderPace, provider: _Provider, number: int, at_once: int = 40) -> list[str]:
    places = asyncio.Semaphore(at_once)

    async def one() -> str:
        async with places, own.taken():
            answer: str = await own.call(provider.ask)
            return answer

    return await asyncio.gather(*(one() for _ in range(number)))


def test_without_refusals_there_is_no_limit() -> None:
    own, provider = ProviderPace(), _Provider(most=1000)
    assert asyncio.run(_calls(own, provider, 100)) == ["ok"] * 100
    assert (provider.peak, own.limit, provider.asked) == (40, math.inf, 100)


def test_refused_calls_are_made_again_by_fewer_at_once() -> None:
    own, provider = ProviderPace(), _Provider(most=5)
    assert asyncio.run(_calls(own, provider, 300)) == ["ok"] * 300
    assert provider.refused >= 35
    # The concurrency stays near what the provider accepts, not near what was requested.
    assert own.limit < 20
    assert own.open == 0


def test_it_comes_back_when_the_provider_does() -> None:
    own, provider = ProviderPace(), _Provider(most=2)
    asyncio.run(_calls(own, provider, 60))
    low = own.limit
    provider.most = 1000
    asyncio.run(_calls(own, provider, 1000))
    assert own.limit > low + 5


def test_one_wave_of_refusals_halves_the_number_once() -> None:
    own = ProviderPace()
    refused = asyncio.Event()
    answers = []

    async def ask() -> str:
        if not refused.is_set():
            await asyncio.sleep(0.01)
            refused.set()
            raise _RefusedError(after="0")
        answers.append(own.limit)
        return "ok"

    async def together() -> None:
        async def one() -> None:
            async with own.taken():
                await own.call(ask)

        await asyncio.gather(*(one() for _ in range(16)))

    asyncio.run(together())
    assert answers[0] == 8


def test_other_errors_and_used_up_quotas_are_not_asked_again() -> None:
    asked = []

    def failing(error: Exception) -> str:
        async def ask() -> str:
            asked.append(error)
            raise error

        async def run() -> str:
            answer: str = await ProviderPace().call(ask)
            return answer

        with pytest.raises(type(error)):
            asyncio.run(run())
        return ""

    hopeless = _RefusedError()
    vars(hopeless)["code"] = "insufficient_quota"
    for error in (ValueError("no"), _RefusedError(400), _RefusedError(500), hopeless):
        failing(error)
    assert len(asked) == 4


def test_a_provider_that_wants_an_hour_fails_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PATIENCE", 5.0)

    async def ask() -> str:
        raise _RefusedError(after="3600")

    with pytest.raises(_RefusedError):
        asyncio.run(ProviderPace().call(ask))


def _chat(model: str, base_url: str = "http://127.0.0.1:8/v1") -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=base_url, api_key=SecretStr("test"))


def test_members_of_one_provider_share_its_pace() -> None:
    function: Any = RunnableLambda(lambda _: "x", name="f")
    proposers = [_chat("a"), _chat("b"), function, _chat("c", "http://127.0.0.1:9/v1")]
    mixture = Mixture(proposers=proposers, aggregator=_chat("d"), num_layers=1)
    paces = Paces()
    paced = paces.paced(mixture)
    assert len(paces.of) == 3
    first, second, _, other = paced.members.layers[0]
    assert first.limiter is not second.limiter
    assert provider_of(mixture.members.layers[0][0]) == provider_of(mixture.members.aggregator)
    assert provider_of(other) != provider_of(first)
    # The model's capabilities are still known.
    assert first.chat_model is mixture.members.layers[0][0].chat_model
