"""An aggregator that fails: which fallback replaces it, what the error contains, and what a checkpointer saves."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelError,
    ModelRateLimitError,
)
from langchain_core.tools import tool

from langchain_moa import AggregatorFailedError, ChatMoA, ProposersFailedError
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Reply, ToolCall

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


@pytest.fixture
def moa(chat: Chat) -> ChatMoA:
    return ChatMoA(proposers=[chat("p"), chat("q"), chat("r")], aggregator=chat("agg"), num_layers=2)


FAILS = {
    "400": (Reply("bad", status=400), ModelError),
    "401": (Reply("wrong key", status=401), ModelAuthenticationError),
    "context": (Reply("prompt is too long", status=400), ContextOverflowError),
    "429": (Reply("slow down", status=429), ModelRateLimitError),
    "500": (Reply("our fault", status=500), ModelAPIError),
    "no answer": (Reply(drop=True, after_chunks=0), ModelError),
    "no JSON": (Reply(malformed=True), AggregatorFailedError),
    "no choices": (Reply(no_choices=True), AggregatorFailedError),
    "empty": (Reply(""), AggregatorFailedError),
    "filtered away": (Reply("", finish_reason="content_filter"), AggregatorFailedError),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("bad", "kind"), FAILS.values(), ids=FAILS.keys())
async def test_an_aggregator_that_fails_is_one_error_that_keeps_the_references(
    loopback: Loopback, moa: ChatMoA, bad: Reply, kind: type[Exception], way: str
) -> None:
    loopback.script("agg", bad)
    with pytest.raises(AggregatorFailedError) as raised:
        await ask(moa, way)
    assert isinstance(raised.value, kind)
    assert "the aggregator openai:agg failed: " in str(raised.value)
    assert [reference["text"] for reference in raised.value.references] == ["p says: Hi", "q says: Hi", "r says: Hi"] * 2
    assert len(raised.value.causes) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [bad for bad, _ in FAILS.values()], ids=FAILS.keys())
async def test_a_fallback_stands_in_for_the_aggregator(loopback: Loopback, chat: Chat, bad: Reply, way: str) -> None:
    loopback.script("agg", bad)
    loopback.script("second", bad)
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), aggregator_fallbacks=[chat("second"), chat("third")])
    answer = await ask(moa, way)
    assert answer.text == "third says: Hi"
    assert loopback.models == ["p", "p", "agg", "second", "third"]
    assert len({request.system for request in loopback.requests[2:]}) == 1, "they are shown the same references"
    said = answer.response_metadata["moa"]
    assert said["aggregator"]["model"] == "openai:third"
    assert [(step["node"], step["model"], step["status"]) for step in said["steps"]] == [
        ("aggregator", "openai:agg", "failed"),
        ("aggregator", "openai:second", "failed"),
    ]
    assert said["calls"] == 5
    assert [line.partition(" failed: ")[0] for line in said["degraded"]] == [
        "aggregator: openai:agg",
        "aggregator: openai:second",
    ]


async def test_the_tokens_of_an_empty_answer_are_counted_too(loopback: Loopback, chat: Chat) -> None:
    loopback.script("agg", Reply(""))
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), aggregator_fallbacks=[chat("second")], num_layers=1)
    answer = await moa.ainvoke("Hi")
    usage = [call["usage"]["input_tokens"] for call in (*answer.response_metadata["moa"]["steps"],)]
    assert usage == [answer.response_metadata["moa"]["aggregator"]["usage"]["input_tokens"]]
    assert answer.response_metadata["moa"]["usage"]["input_tokens"] == 1 + 2 * usage[0]


@pytest.mark.parametrize("way", WAYS)
async def test_when_all_fail_the_error_names_them_all(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", Reply("wrong key", status=401))
    loopback.script("second", Reply("slow down", status=429))
    loopback.script("third", Reply(""))
    fallbacks = [chat("second"), chat("third")]
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), aggregator_fallbacks=fallbacks, num_layers=1)
    with pytest.raises(AggregatorFailedError) as raised:
        await ask(moa, way)
    error = raised.value
    for part in (
        "openai:agg failed: OpenAIAuth",
        "; then openai:second failed: OpenAIRate",
        "; then openai:third failed: empty",
    ):
        assert part in str(error)
    assert [type(cause).__name__ for cause in error.causes] == ["OpenAIAuthenticationError", "OpenAIRateLimitError", "NoneType"]
    # A rate limit is transient, so a retry of the whole may succeed.
    assert isinstance(error, ModelRateLimitError)
    assert error.is_retryable
    assert error.__cause__ is error.causes[1]
    assert [reference["text"] for reference in error.references] == ["p says: Hi"]


async def read(moa: ChatMoA, way: str, seen: list[str]) -> None:
    """Read a stream, and return what arrived before it failed."""
    if way == "stream":
        for chunk in moa.stream("Hi"):
            seen += [chunk.text]
    else:
        async for chunk in moa.astream("Hi"):
            seen += [chunk.text]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_has_begun_is_not_begun_anew(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", Reply("one two three four", drop=True, after_chunks=2))
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), aggregator_fallbacks=[chat("second")], num_layers=1)
    seen: list[str] = []
    with pytest.raises(AggregatorFailedError):
        await read(moa, way, seen)
    assert "".join(seen) == "one two"
    assert loopback.calls("second") == []


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_broke_off_before_its_first_word_is(loopback: Loopback, chat: Chat, way: str) -> None:
    # The opening chunk, which has no text, is sent before the error occurs.
    loopback.script("agg", Reply("one two", status=500, after_chunks=0))
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), aggregator_fallbacks=[chat("second")], num_layers=1)
    answer = await ask(moa, way)
    assert answer.text == "second says: Hi"
    assert answer.response_metadata["model_name"] == "second"


# When streaming, `ChatOpenAI` drops a refusal, which then looks like an empty answer.
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_refusal_of_the_aggregator_is_an_answer(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", Reply(None, refusal="I cannot help with that."))
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), aggregator_fallbacks=[chat("second")], num_layers=1)
    answer = await ask(moa, way)
    assert answer.additional_kwargs["refusal"] == "I cannot help with that."
    assert loopback.calls("second") == []


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_filter_has_left_is_passed_on_where_nobody_stands_in(loopback: Loopback, moa: ChatMoA, way: str) -> None:
    loopback.script("agg", Reply("half an ans", finish_reason="content_filter"))
    answer = await ask(moa, way)
    assert answer.text == "half an ans"
    assert answer.response_metadata["finish_reason"] == "content_filter"


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_may_have_nothing_to_add(loopback: Loopback, moa: ChatMoA, way: str) -> None:
    loopback.script("agg", Reply(""))
    answer = await ask(moa.bind_tools([weather]), way)
    assert answer.text == ""
    assert answer.response_metadata["moa"]["aggregator"]["status"] == "ok"


@pytest.mark.parametrize("way", WAYS)
async def test_tools_are_bound_to_who_stands_in(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", Reply("our fault", status=500))
    loopback.script("second", Reply(None, tool_calls=[ToolCall("weather", {"city": "Rome"})]))
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), aggregator_fallbacks=[chat("second")], num_layers=1)
    answer = await ask(moa.bind_tools([weather], tool_choice="weather"), way)
    assert answer.tool_calls[0]["args"] == {"city": "Rome"}
    assert loopback.calls("second")[0].tools == loopback.calls("agg")[0].tools == ["weather"]
    assert loopback.calls("second")[0].body["tool_choice"] == loopback.calls("agg")[0].body["tool_choice"]


async def test_an_error_can_be_pickled(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", Reply("slow down", status=429))
    with pytest.raises(AggregatorFailedError) as aggregator:
        await moa.ainvoke("Hi")
    loopback.script("*", Reply("our fault", status=500))
    with pytest.raises(ProposersFailedError) as proposers:
        await moa.ainvoke("Hi")
    for error in (aggregator.value, proposers.value):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert copy.references == error.references
        assert copy.__notes__ == error.__notes__
        assert getattr(copy, "failures", ()) == getattr(error, "failures", ())


async def test_langchains_own_fallbacks_and_retries_take_a_mixture_for_a_model(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1)
    loopback.script("agg", [Reply("slow down", status=429), Reply("slow down", status=429), Reply("at last")])
    again = moa.with_retry(retry_if_exception_type=(ModelRateLimitError,), wait_exponential_jitter=False)
    assert (await again.ainvoke("Hi")).text == "at last"
    loopback.script("agg", Reply("wrong key", status=401))
    other = moa.with_fallbacks([chat("other")], exceptions_to_handle=(ModelAuthenticationError,))
    assert (await other.ainvoke("Hi")).text == "other says: Hi"
