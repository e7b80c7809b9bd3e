"""The cost of mixtures with all kinds of members: nested mixtures, chains, agents, fallbacks, and failed calls."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnableSequence
from langchain_core.tools import tool

from langchain_moa import AggregatorFailedError, ChatMoA, create_moa, record_moa
from tests.loopback import Reply, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

A_MILLION = Usage(prompt=1_000_000, completion=1_000_000)
MINI, FULL = 0.4 + 1.6, 2.0 + 8.0  # US dollars per million input and output tokens of gpt-4.1-mini and gpt-4.1


@pytest.fixture(autouse=True)
def _a_million_tokens_each(loopback: Loopback) -> None:
    for name in ("gpt-4.1-mini", "gpt-4.1"):
        loopback.script(name, Reply("text", usage=A_MILLION))


def inner(chat: Chat) -> dict[str, Any]:
    return {"proposers": [chat("gpt-4.1-mini"), chat("gpt-4.1-mini")], "aggregator": chat("gpt-4.1"), "num_layers": 1}


@tool
def look_up(what: str) -> str:
    """Look something up."""
    return f"nothing about {what}"


def agent(chat: Chat) -> Any:
    return create_agent(chat("gpt-4.1-mini"), [look_up])


MEMBERS: dict[str, tuple[Callable[[Chat], Any], float]] = {
    "mixture": (lambda chat: ChatMoA(**inner(chat)), 2 * MINI + FULL),
    "mixture of mixtures": (
        lambda chat: ChatMoA(proposers=[ChatMoA(**inner(chat))], aggregator=chat("gpt-4.1"), num_layers=1),
        2 * MINI + FULL + FULL,
    ),
    "graph": (lambda chat: create_moa(**inner(chat)).compile(), 2 * MINI + FULL),
    "chain": (lambda chat: RunnableSequence(RunnableLambda(lambda messages: messages), chat("gpt-4.1-mini")), MINI),
    "fallback": (lambda chat: chat("broken").with_fallbacks([chat("gpt-4.1-mini")]), MINI),
    "agent": (agent, 2 * MINI),
    "agent with a mixture": (lambda chat: create_agent(ChatMoA(**inner(chat)), []), 2 * MINI + FULL),
}


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("shape", MEMBERS)
def test_a_member_costs_what_its_calls_cost(loopback: Loopback, chat: Chat, shape: str, *, is_streamed: bool) -> None:
    make, costs = MEMBERS[shape]
    loopback.script("broken", Reply("our fault", status=500))
    if shape == "agent":
        called = Reply(tool_calls=[ToolCall("look_up", {"what": "it"})], usage=A_MILLION)
        loopback.script("gpt-4.1-mini", [called, Reply("text", usage=A_MILLION)] * 2)
    moa = ChatMoA(proposers=[make(chat)], aggregator=make(chat), num_layers=1)
    with record_moa() as runs:
        chunks = list(moa.stream("Hi")) if is_streamed else [moa.invoke("Hi")]
    account = sum(chunks[1:], chunks[0]).response_metadata["moa"]
    assert account["layers"][0][0]["cost_usd"] == pytest.approx(costs)
    assert account["aggregator"]["cost_usd"] == pytest.approx(costs)
    assert account["cost_usd"] == pytest.approx(2 * costs)
    assert next(run for run in runs if len(run.calls) == account["calls"]).cost_usd is not None


def test_a_mixture_whose_price_is_not_known_leaves_the_sum_out(chat: Chat) -> None:
    unknown = ChatMoA(proposers=[chat("gpt-4.1-mini"), chat("unheard-of")], aggregator=chat("gpt-4.1"), num_layers=1)
    account = ChatMoA(proposers=[unknown], aggregator=chat("gpt-4.1"), num_layers=1).invoke("Hi").response_metadata["moa"]
    assert "cost_usd" not in account["layers"][0][0]
    assert "cost_usd" not in account
    assert account["aggregator"]["cost_usd"] == pytest.approx(FULL)


def test_a_text_without_a_message_has_no_price(chat: Chat) -> None:
    chain: Any = RunnableSequence(RunnableLambda(lambda messages: messages), chat("gpt-4.1-mini"), StrOutputParser())
    account = ChatMoA(proposers=[chain], aggregator=chat("gpt-4.1"), num_layers=1).invoke("Hi").response_metadata["moa"]
    assert "cost_usd" not in account
    assert account["uncounted"] == 1


def test_a_call_that_failed_without_tokens_counts_as_nothing_and_is_seen(loopback: Loopback, chat: Chat) -> None:
    loopback.script("broken", Reply("our fault", status=500))
    moa = ChatMoA(
        proposers=[chat("gpt-4.1-mini"), chat("broken")],
        aggregator=chat("broken"),
        aggregator_fallbacks=[chat("gpt-4.1")],
        num_layers=1,
    )
    account = moa.invoke("Hi").response_metadata["moa"]
    assert account["cost_usd"] == pytest.approx(MINI + FULL)
    assert "uncounted" not in account
    failed = account["layers"][0][1]
    assert failed["status"] == "failed"
    assert "cost_usd" not in failed
    assert account["calls"] == 4


def test_a_call_that_failed_with_tokens_counts(loopback: Loopback, chat: Chat) -> None:
    loopback.script("gpt-4.1-mini", [Reply("text", usage=A_MILLION), Reply(None, refusal="No.", usage=A_MILLION)])
    members = [chat("gpt-4.1-mini"), chat("gpt-4.1-mini")]
    account = ChatMoA(proposers=members, aggregator=chat("gpt-4.1"), num_layers=1).invoke("Hi").response_metadata["moa"]
    assert sorted(call["status"] for call in account["layers"][0]) == ["failed", "ok"]
    assert account["cost_usd"] == pytest.approx(2 * MINI + FULL)


@pytest.mark.parametrize("shape", ["mixture", "graph", "agent with a mixture"])
@pytest.mark.parametrize(("most", "layers"), [(13.9, 1), (14.0, 1), (14.1, 2), (28.1, 3)])
async def test_the_limit_counts_what_is_inside(loopback: Loopback, chat: Chat, shape: str, most: float, layers: int) -> None:
    make, _ = MEMBERS[shape]
    options: Any = {"proposers": [make(chat)], "aggregator": chat("agg"), "num_layers": 3, "max_cost_usd": most}
    answer = await ChatMoA(**options).ainvoke("Hi")
    assert len(loopback.calls("gpt-4.1")) == layers
    assert answer.response_metadata["moa"].get("stopped") == (
        None if layers == 3 else f"max_cost_usd: {14.0 * layers:.6f} of {most:g} dollars have been spent"
    )


def test_a_mixture_in_a_strategy_costs_what_its_calls_cost(chat: Chat) -> None:
    judge = ChatMoA(**inner(chat))

    def judged(messages: Any, references: Any) -> Any:
        judge.invoke("Which?")
        return references[0]

    account = ChatMoA(proposers=[chat("gpt-4.1-mini")], aggregation=judged, num_layers=1).invoke("Hi").response_metadata["moa"]
    assert account["steps"][0]["cost_usd"] == pytest.approx(2 * MINI + FULL)
    assert account["cost_usd"] == pytest.approx(2 * MINI + FULL + MINI)


def test_a_mixture_in_a_strategy_has_the_tokens_of_all_its_calls(loopback: Loopback, chat: Chat) -> None:
    judge = ChatMoA(**inner(chat))

    def judged(messages: Any, references: Any) -> Any:
        judge.invoke("Which?")
        return references[0]

    account = ChatMoA(proposers=[chat("gpt-4.1-mini")], aggregation=judged, num_layers=1).invoke("Hi").response_metadata["moa"]
    assert len(loopback.requests) == 4
    assert account["steps"][0]["usage"]["total_tokens"] == 3 * 2_000_000
    assert account["usage"]["total_tokens"] == 4 * 2_000_000


def test_a_mixture_that_fails_in_a_strategy_costs_what_was_paid(loopback: Loopback, chat: Chat) -> None:
    judge = ChatMoA(**{**inner(chat), "aggregator": chat("broken")})

    def judged(messages: Any, references: Any) -> Any:
        with pytest.raises(AggregatorFailedError):
            judge.invoke("Which?")
        return references[0]

    loopback.script("broken", Reply("our fault", status=500))
    account = ChatMoA(proposers=[chat("gpt-4.1-mini")], aggregation=judged, num_layers=1).invoke("Hi").response_metadata["moa"]
    assert account["steps"][0]["status"] == "failed"
    assert account["steps"][0]["cost_usd"] == pytest.approx(2 * MINI)
    assert account["usage"]["total_tokens"] == 3 * 2_000_000


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "stream"])
def test_an_answer_whose_counts_contradict_each_other_has_no_price(
    loopback: Loopback, chat: Chat, *, is_streamed: bool
) -> None:
    loopback.script("gpt-4.1", Reply("text", usage=Usage(prompt=10, completion=5, cached=50)))
    moa = ChatMoA(proposers=[chat("gpt-4.1")], aggregator=chat("gpt-4.1"), num_layers=1)
    chunks = list(moa.stream("Hi")) if is_streamed else [moa.invoke("Hi")]
    answer: Any = sum(chunks[1:], chunks[0])
    assert answer.text == "text"
    account = answer.response_metadata["moa"]
    assert [call["status"] for call in (*account["layers"][0], account["aggregator"])] == ["ok", "ok"]
    assert account["usage"]["total_tokens"] == 30
    assert "cost_usd" not in account


@pytest.mark.parametrize("aggregation", ["synthesize", "vote"])
def test_a_limit_that_cannot_count_a_call_says_so(
    loopback: Loopback, chat: Chat, caplog: pytest.LogCaptureFixture, aggregation: str
) -> None:
    proposers = [chat("unheard-of"), chat("gpt-4.1-mini")]
    fields: Any = {"proposers": proposers, "aggregator": chat("agg"), "aggregation": aggregation, "num_layers": 2}
    said = "the price of openai:unheard-of is not known"
    with caplog.at_level(logging.WARNING, "langchain_moa"):
        ChatMoA(**fields)
        assert said not in caplog.text
        moa = ChatMoA(**fields, max_cost_usd=1.0)
        assert f"max_cost_usd: {said}" in caplog.text
    (words,) = moa.invoke("Hi").response_metadata["moa"]["degraded"]
    assert words == f"max_cost_usd: {said}, so these calls did not count"


def test_a_call_that_failed_for_nothing_has_no_price_to_know(loopback: Loopback, chat: Chat) -> None:
    loopback.script("unheard-of", Reply("down", status=500))
    moa = ChatMoA(proposers=[chat("unheard-of"), chat("gpt-4.1-mini")], aggregator=chat("agg"), num_layers=1, max_cost_usd=1.0)
    assert "max_cost_usd" not in str(moa.invoke("Hi").response_metadata["moa"]["degraded"])


@pytest.mark.parametrize("shape", ["mixture", "graph", "agent with a mixture"])
def test_a_price_that_is_known_inside_is_known(
    loopback: Loopback, chat: Chat, caplog: pytest.LogCaptureFixture, shape: str
) -> None:
    make, _ = MEMBERS[shape]
    with caplog.at_level(logging.WARNING, "langchain_moa"):
        moa = ChatMoA(proposers=[make(chat)], aggregator=chat("gpt-4.1"), num_layers=1, max_cost_usd=100.0)
    assert "max_cost_usd" not in caplog.text
    assert "degraded" not in moa.invoke("Hi").response_metadata["moa"]


@pytest.mark.parametrize("count", [10**400, 1e308, float("inf")])
def test_counts_beyond_all_measure_are_none(loopback: Loopback, chat: Chat, count: Any) -> None:
    loopback.script("gpt-4.1", Reply("text", usage=Usage(prompt=count, completion=1)))
    moa = ChatMoA(proposers=[chat("gpt-4.1")], aggregator=chat("gpt-4.1"), num_layers=1)
    answer = moa.invoke("Hi")
    assert answer.text == "text"
    assert answer.usage_metadata is None
    assert answer.response_metadata["moa"]["uncounted"] == 2
    assert not {"usage", "cost_usd"} & set(answer.response_metadata["moa"])
