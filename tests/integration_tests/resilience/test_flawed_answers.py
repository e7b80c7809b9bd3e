"""Flawed answers of the aggregator: which fallback replaces it, what is returned, and where this is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from langchain_moa import AggregatorFailedError, ChatMoA, record_moa
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Reply, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

CALL = Reply(None, tool_calls=[ToolCall("weather", {"city": "Rome"})])
CUT = Reply("half an ans", finish_reason="content_filter")
A_MILLION = Usage(prompt=1_000_000, completion=1_000_000)
MINI, FULL = 0.4 + 1.6, 2.0 + 8.0  # US dollars per million input and output tokens of gpt-4.1-mini and gpt-4.1


class Refusing(BaseChatModel):
    """Refuses as Anthropic's models do, by the stop reason alone, streamed or not."""

    said: str = ""

    @property
    def _llm_type(self) -> str:
        return "refusing"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        message = AIMessage(self.said, response_metadata={"stop_reason": "refusal"})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in (
            AIMessageChunk(content=self.said),
            AIMessageChunk(content="", response_metadata={"stop_reason": "refusal"}),
        ):
            yield ChatGenerationChunk(message=chunk)


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def mixture(chat: Chat, aggregator: Any, *fallbacks: Any) -> ChatMoA:
    return ChatMoA(proposers=[chat("p")], aggregator=aggregator, aggregator_fallbacks=fallbacks, num_layers=1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("said", ["", "I would rather not."], ids=["without a word", "in words"])
async def test_a_refusal_is_an_answer_and_is_seen(loopback: Loopback, chat: Chat, said: str, way: str) -> None:
    with record_moa() as runs:
        answer = await ask(mixture(chat, Refusing(said=said), chat("second")), way)
    assert answer.text == said
    assert loopback.calls("second") == []
    account = answer.response_metadata["moa"]
    assert account["aggregator"]["status"] == "ok"
    assert account["aggregator"]["error"] == {"kind": "refusal", "message": "the model refused to answer"}
    assert account["degraded"] == ["aggregator: Refusing: refusal: the model refused to answer"]
    assert [call.error["kind"] for call in runs[0].calls if call.error] == ["refusal"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_of_a_tool_that_was_not_given_goes_to_the_next(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", CALL)
    answer = await ask(mixture(chat, chat("agg"), chat("second")), way)
    assert answer.text == "second says: Hi"
    assert answer.tool_calls == []
    account = answer.response_metadata["moa"]
    assert [step["error"]["kind"] for step in account["steps"]] == ["tool_call_only"]
    assert account["steps"][0]["usage"]["output_tokens"] > 0
    assert "error" not in account["aggregator"]


@pytest.mark.parametrize("way", WAYS)
async def test_where_nobody_stands_in_it_is_passed_on_and_seen(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", CALL)
    answer = await ask(mixture(chat, chat("agg")), way)
    assert answer.tool_calls[0]["args"] == {"city": "Rome"}
    account = answer.response_metadata["moa"]
    assert account["aggregator"]["error"]["kind"] == "tool_call_only"
    assert account["degraded"] == ["aggregator: openai:agg: tool_call_only: the model called a tool that it was not given"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["to the mixture", "to the aggregator"])
async def test_a_call_of_a_tool_that_was_given_is_an_answer(loopback: Loopback, chat: Chat, how: str, way: str) -> None:
    loopback.script("agg", CALL)
    is_ours = how == "to the mixture"
    moa = mixture(chat, chat("agg") if is_ours else chat("agg").bind_tools([weather]), chat("second"))
    answer = await ask(moa.bind_tools([weather]) if is_ours else moa, way)
    assert answer.tool_calls[0]["args"] == {"city": "Rome"}
    assert loopback.calls("second") == []
    assert "degraded" not in answer.response_metadata["moa"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_chain_may_have_tools_of_its_own(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", CALL)
    chain: Any = RunnableLambda(lambda messages: messages) | chat("agg").bind_tools([weather])
    answer = await ask(mixture(chat, chain, chat("second")), way)
    assert answer.tool_calls[0]["args"] == {"city": "Rome"}
    assert "degraded" not in answer.response_metadata["moa"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_filtered_answer_goes_to_the_next_as_long_as_nothing_is_out(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", CUT)
    answer = await ask(mixture(chat, chat("agg"), chat("second")), way)
    account = answer.response_metadata["moa"]
    if "stream" in way:
        assert answer.text == "half an ans"
        assert loopback.calls("second") == []
        assert account["aggregator"]["error"]["kind"] == "content_filter"
        assert account["degraded"] == ["aggregator: openai:agg: content_filter: the provider's content filter cut the answer"]
    else:
        assert answer.text == "second says: Hi"
        assert account["steps"][0]["error"]["kind"] == "content_filter"
        assert account["steps"][0]["usage"]["output_tokens"] == 3


@pytest.mark.parametrize("way", WAYS)
async def test_the_rest_of_a_filter_is_passed_on_where_nobody_stands_in_and_seen(
    loopback: Loopback, chat: Chat, way: str
) -> None:
    loopback.script("agg", CUT)
    answer = await ask(mixture(chat, chat("agg")), way)
    assert answer.text == "half an ans"
    assert answer.response_metadata["moa"]["aggregator"]["error"]["kind"] == "content_filter"


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_that_has_nothing_to_add_has_no_flaw(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", Reply(""))
    answer = await ask(mixture(chat, chat("agg")).bind_tools([weather]), way)
    assert "degraded" not in answer.response_metadata["moa"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["proposer", "aggregator"])
async def test_what_a_mixture_inside_has_taken_counts_though_it_failed(
    loopback: Loopback, chat: Chat, place: str, way: str
) -> None:
    loopback.script("gpt-4.1-mini", Reply("text", usage=A_MILLION))
    loopback.script("gpt-4.1", Reply("", usage=A_MILLION))
    inner = ChatMoA(proposers=[chat("gpt-4.1-mini")] * 2, aggregator=chat("gpt-4.1"), num_layers=1)
    if place == "proposer":
        moa = ChatMoA(proposers=[inner, chat("gpt-4.1-mini")], aggregator=chat("gpt-4.1-mini"), num_layers=1)
    else:
        moa = mixture(chat, inner, chat("gpt-4.1-mini"))
    account = (await ask(moa, way)).response_metadata["moa"]
    failed = account["layers"][0][0] if place == "proposer" else account["steps"][0]
    assert failed["status"] == "failed"
    assert failed["usage"]["input_tokens"] == 3_000_000
    assert failed["cost_usd"] == pytest.approx(2 * MINI + FULL)
    if place == "proposer":
        assert account["cost_usd"] == pytest.approx(2 * MINI + FULL + 2 * MINI)


async def test_the_error_knows_what_the_attempts_have_taken(loopback: Loopback, chat: Chat) -> None:
    loopback.script("agg", Reply("", usage=A_MILLION))
    with pytest.raises(AggregatorFailedError) as raised:
        await mixture(chat, chat("agg"), chat("agg")).ainvoke("Hi")
    assert [step["usage"] and step["usage"]["input_tokens"] for step in raised.value.steps] == [1_000_000] * 2
