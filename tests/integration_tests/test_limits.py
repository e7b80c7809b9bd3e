"""Limits: context windows and reference budgets, at the wire."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa import ChatMoA
from tests.loopback import Reply, Usage

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


def test_a_reference_is_cut_to_its_budget(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", Reply("A first sentence of some length. " * 40))
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, max_reference_tokens=32)
    moa.invoke("Hi")
    shown = loopback.calls("agg")[0].system.partition("Responses from models:\n1. ")[2]
    assert shown.endswith("length. […]")
    assert len(shown) <= 32 * 4


@pytest.mark.parametrize("layers", [1, 2])
async def test_a_context_window_is_never_exceeded(
    loopback: Loopback, chat: Chat, caplog: pytest.LogCaptureFixture, layers: int
) -> None:
    loopback.script("p", Reply("A sentence of words. " * 1000))
    small = {"max_input_tokens": 800}
    moa = ChatMoA(proposers=[chat("p"), chat("p")], aggregator=chat("agg", profile=small), num_layers=layers)
    conversation = [HumanMessage("old " * 500), AIMessage("older " * 300), HumanMessage("The last question?")]
    with caplog.at_level(logging.WARNING, "langchain_moa"):
        await moa.ainvoke(conversation)
    (sent,) = loopback.calls("agg")
    assert sum(len(message["content"]) for message in sent.messages) < 800 * 4
    assert sent.messages[-1] == {"role": "user", "content": "The last question?"}
    assert sent.roles == ["system", "user"]
    assert "2 of the oldest messages left out" in caplog.text
    # Those whose window is not known are sent everything.
    assert len(loopback.calls("p")[-1].messages) == 3 + (layers > 1)


@pytest.mark.parametrize("most", [1, 2])
async def test_so_many_calls_at_once_and_no_more(loopback: Loopback, chat: Chat, most: int) -> None:
    loopback.script("p", Reply("draft", delay=0.01))
    moa = ChatMoA(proposers=[chat("p")] * 6, aggregator=chat("agg"), num_layers=2, max_concurrency=most)
    answers = [moa.invoke("Hi"), *moa.batch(["Hi"] * 3), await moa.ainvoke("Hi"), *(await moa.abatch(["Hi"] * 3))]
    assert {answer.text for answer in answers} == {"agg says: Hi"}
    assert "".join(chunk.text for chunk in moa.stream("Hi")) == "agg says: Hi"
    assert "".join([chunk.text async for chunk in moa.astream("Hi")]) == "agg says: Hi"
    assert loopback.peak == most
    assert len(loopback.requests) == 10 * 13


async def test_a_cancelled_call_gives_its_place_back(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", [Reply(hang=True), Reply("text")])
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, max_concurrency=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await moa.ainvoke("Hi")
    assert (await moa.ainvoke("Hi")).text == "agg says: Hi"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_no_layer_is_begun_once_the_answer_has_cost_enough(loopback: Loopback, chat: Chat, asynchronous: bool) -> None:
    million = Usage(prompt=1_000_000, completion=0)  # 0.4 dollars for this model
    loopback.script("gpt-4.1-mini", Reply("draft", usage=million))
    members = [chat("gpt-4.1-mini"), chat("gpt-4.1-mini")]
    for most, layers in ((0.5, 1), (1.0, 2), (2.0, 3)):
        loopback.reset()
        moa = ChatMoA(proposers=members, aggregator=chat("agg"), num_layers=3, max_cost_usd=most)
        answer = await moa.ainvoke("Hi") if asynchronous else moa.invoke("Hi")
        assert answer.text == "agg says: Hi"
        assert len(loopback.calls("gpt-4.1-mini")) == 2 * layers
        stopped = answer.response_metadata["moa"].get("stopped")
        assert stopped == (None if layers == 3 else f"max_cost_usd: {0.8 * layers:.6f} of {most:g} dollars are spent")


def test_a_price_that_is_not_known_stops_nothing(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(proposers=[chat("unheard-of")], aggregator=chat("agg"), num_layers=3, max_cost_usd=0.000001)
    assert moa.invoke("Hi").response_metadata["moa"]["calls"] == 4
    drawn = moa.to_graph().compile().get_graph().draw_mermaid()
    assert "merge_1 -.-> aggregator;" in drawn
