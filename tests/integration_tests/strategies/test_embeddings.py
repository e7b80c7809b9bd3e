"""Embeddings that fail do not fail the answer, and are reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import Embeddings

from langchain_moa.data.errors import AggregatorFailedError, StrategyFailedError
from tests.integration_tests.strategies.panel import QUESTION, TEXTS, Panel

if TYPE_CHECKING:
    from langchain_moa import ChatMoA


class Down(Embeddings):
    """Embeddings whose server is down."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        msg = "no network"
        raise ConnectionError(msg)

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


async def accounts(moa: ChatMoA) -> list[dict[str, Any]]:
    answers = (moa.invoke(QUESTION), await moa.ainvoke(QUESTION))
    return [{**answer.response_metadata["moa"], "text": answer.text} for answer in answers]


def told(account: dict[str, Any], node: str) -> bool:
    degraded: list[str] = account["degraded"]
    return degraded == [f"{node}: embeddings (Down) failed: ConnectionError: no network"]


@pytest.mark.parametrize("name", ["diverse", "duplicates", "outliers"])
async def test_a_filter_keeps_everything(panel: Panel, name: str) -> None:
    fields = {"similarity": Down(), **({"keep": 2} if name == "diverse" else {})}
    for account in await accounts(panel.model(reference_filters=[{name: fields}])):
        assert account["passed_on"] == [[1, 2, 3]]
        assert told(account, "merge_1")


async def test_the_medoid_is_by_words_then(panel: Panel) -> None:
    for account in await accounts(panel.model(aggregation={"medoid": {"similarity": Down()}}, aggregator=None)):
        assert account["text"] == TEXTS[1]
        assert (account["selected"]["fallback"], account["selected"]["because"]) == ("lexical", "the embeddings failed")
        assert told(account, "medoid")


@pytest.mark.parametrize("name", ["agreement", "residual"])
async def test_a_condition_lets_the_layers_go_on(panel: Panel, name: str) -> None:
    for account in await accounts(panel.model(num_layers=3, stop_when={name: {"similarity": Down(), "threshold": 0}})):
        assert len(account["layers"]) == 3
        assert "stopped" not in account
        assert account["degraded"]


async def test_a_function_of_the_users_that_fails_is_an_error(panel: Panel) -> None:
    def broken(one: str, other: str) -> float:
        return 1 / 0

    moa = panel.model(aggregation={"medoid": {"similarity": broken}}, aggregator=None)
    with pytest.raises(AggregatorFailedError, match="ZeroDivisionError"):
        moa.invoke(QUESTION)
    with pytest.raises(AggregatorFailedError, match="ZeroDivisionError"):
        await moa.ainvoke(QUESTION)
    with pytest.raises(StrategyFailedError, match="the similarity of two texts is nan; return a number from 0 to 1"):
        panel.model(reference_filters=[{"outliers": {"similarity": lambda one, other: float("nan")}}]).invoke(QUESTION)


async def test_an_async_function_compares_in_sync_and_async_code(panel: Panel) -> None:
    async def alike(one: str, other: str) -> float:
        return float(one[0] == other[0])

    moa = panel.model(aggregation={"medoid": {"similarity": alike}}, aggregator=None)
    assert (await moa.ainvoke(QUESTION)).text == TEXTS[0]
    assert moa.invoke(QUESTION).text == TEXTS[0]
