"""A mixture fulfills what LangChain guarantees for chat models."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import SecretStr

from langchain_moa import AggregatorFailedError, ChatMoA, Proposer, ProposersFailedError
from tests.loopback import Reply, Usage

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


@pytest.fixture
def moa(chat: Chat) -> ChatMoA:
    return ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"), num_layers=1)


def test_any_conversation_is_an_input(moa: ChatMoA, loopback: Loopback) -> None:
    prompt = ChatPromptTemplate([("system", "Be brief."), ("user", "{question}")])
    forms: list[Any] = ["Hi", [("user", "Hi")], [{"role": "user", "content": "Hi"}], [HumanMessage("Hi")]]
    for form in forms:
        assert moa.invoke(form).text == "agg says: Hi"
    assert (prompt | moa).invoke({"question": "Hi"}).text == "agg says: Hi"
    assert loopback.calls("p")[-1].system == "Be brief."


@pytest.mark.parametrize("messages", [[], [("system", "Be brief.")]])
async def test_a_conversation_without_a_user_goes_to_the_models_as_it_is(
    moa: ChatMoA, loopback: Loopback, messages: Any
) -> None:
    moa.invoke(messages)
    await moa.ainvoke(messages)
    assert [request.messages for request in loopback.calls("p")] == [
        [{"role": role, "content": text} for role, text in messages]
    ] * 2


async def test_streams_as_it_comes(loopback: Loopback, moa: ChatMoA) -> None:
    gate = loopback.gate()
    loopback.script("agg", Reply("one two three", gate=gate, after_chunks=1))
    stream = moa.stream("Hi")
    assert next(stream).text + next(stream).text == "one"
    gate.open()
    assert "".join(chunk.text for chunk in stream).split() == ["two", "three"]


async def test_streams_as_it_comes_in_async_code(loopback: Loopback, moa: ChatMoA) -> None:
    gate = loopback.gate()
    loopback.script("agg", Reply("one two three", gate=gate, after_chunks=1))
    stream = moa.astream("Hi")
    assert (await anext(stream)).text + (await anext(stream)).text == "one"
    gate.open()
    assert "".join([chunk.text async for chunk in stream]).split() == ["two", "three"]


def joined(chunks: list[Any]) -> AIMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert isinstance(total, AIMessageChunk)
    return total


async def test_usage_is_the_aggregators_and_the_sum_is_in_the_account(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", Reply("draft", usage=Usage(prompt=10, completion=5, cached=4, reasoning=2)))
    loopback.script("agg", Reply("answer", usage=Usage(prompt=100, completion=7, cached=1, reasoning=3)))
    moa = ChatMoA(proposers=[chat("p"), chat("p")], aggregator=chat("agg"))
    own = {
        "input_tokens": 100,
        "output_tokens": 7,
        "total_tokens": 107,
        "input_token_details": {"cache_read": 1, "audio": 0},
        "output_token_details": {"reasoning": 3, "audio": 0},
    }
    expected = {
        "input_tokens": 140,
        "output_tokens": 27,
        "total_tokens": 167,
        "input_token_details": {"cache_read": 17, "audio": 0},
        "output_token_details": {"reasoning": 11, "audio": 0},
    }
    chunks = list(moa.stream("Hi"))
    achunks = [chunk async for chunk in moa.astream("Hi")]
    for some in (chunks, achunks):
        assert [bool(chunk.usage_metadata) for chunk in some] == [False] * (len(some) - 1) + [True]
    for answer in (moa.invoke("Hi"), await moa.ainvoke("Hi"), joined(chunks), joined(achunks)):
        assert answer.usage_metadata == own
        breakdown = answer.response_metadata["moa"]
        assert breakdown["usage"] == expected
        assert breakdown["calls"] == 5
        assert [[call["status"] for call in layer] for layer in breakdown["layers"]] == [["ok", "ok"]] * 2
        assert breakdown["layers"][0][0]["usage"]["total_tokens"] == 15
        assert breakdown["aggregator"]["usage"]["total_tokens"] == 107
        assert breakdown["aggregator"]["model"] == "openai:agg"
        assert breakdown["aggregator"]["seconds"] > 0
        assert "cost_usd" not in breakdown
        assert answer.response_metadata["finish_reason"] == "stop"
        assert answer.response_metadata["model_name"] == "agg"


async def test_a_stream_counts_what_a_whole_answer_counts(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    elsewhere = {"base_url": loopback.url}

    def mixture(**settings: Any) -> ChatMoA:
        aggregator = Proposer("openai:agg", settings={**elsewhere, **settings})
        return ChatMoA(proposers=[Proposer("openai:p", settings=elsewhere)], aggregator=aggregator, num_layers=1)

    whole = mixture().invoke("Hi").usage_metadata
    streamed = joined(list(mixture().stream("Hi")))
    assert streamed.usage_metadata == whole
    assert joined([chunk async for chunk in mixture().astream("Hi")]).usage_metadata == whole
    assert "uncounted" not in streamed.response_metadata["moa"]
    # For servers without this option, users set `stream_usage=False`; the sum then reports uncounted calls.
    uncounted = joined(list(mixture(stream_usage=False).stream("Hi")))
    assert [request.body.get("stream_options") for request in loopback.calls("agg")][-2:] == [{"include_usage": True}, None]
    assert whole is not None
    assert uncounted.usage_metadata is None
    assert uncounted.response_metadata["moa"]["usage"] == uncounted.response_metadata["moa"]["layers"][0][0]["usage"]
    assert uncounted.response_metadata["moa"]["uncounted"] == 1


def test_cost_where_the_price_is_known(loopback: Loopback, chat: Chat) -> None:
    for name in ("gpt-4.1-mini", "gpt-4.1"):
        loopback.script(name, Reply("text", usage=Usage(prompt=1_000_000, completion=1_000_000)))
    moa = ChatMoA(proposers=[chat("gpt-4.1-mini")], aggregator=chat("gpt-4.1"), num_layers=1)
    breakdown = moa.invoke("Hi").response_metadata["moa"]
    assert breakdown["layers"][0][0]["cost_usd"] == pytest.approx(0.4 + 1.6)
    assert breakdown["aggregator"]["cost_usd"] == pytest.approx(2 + 8)
    assert breakdown["cost_usd"] == pytest.approx(12)
    unknown = ChatMoA(proposers=[chat("gpt-4.1-mini"), chat("unheard-of")], aggregator=chat("gpt-4.1"), num_layers=1)
    breakdown = unknown.invoke("Hi").response_metadata["moa"]
    assert "cost_usd" not in breakdown
    assert "cost_usd" in breakdown["aggregator"]


def test_reasoning_is_no_reference(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", Reply("<think>secretly\nwrong</think>\n\nIt is blue."))
    loopback.script("q", Reply("Blue.", reasoning_content="Hmm."))
    loopback.script("agg", Reply("Blue!", reasoning_content="Both say so."))
    ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"), num_layers=1).invoke("Why?")
    assert loopback.calls("agg")[0].system.endswith("Responses from models:\n1. It is blue.\n2. Blue.")


def test_a_refusal_of_the_aggregator_comes_through(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", Reply(None, refusal="I will not."))
    assert moa.invoke("Hi").additional_kwargs["refusal"] == "I will not."


def test_a_caches_entries_are_a_mixtures_own(loopback: Loopback, chat: Chat) -> None:
    cache = InMemoryCache()
    members: dict[str, Any] = {"proposers": [chat("p")], "num_layers": 1, "cache": cache}
    one = ChatMoA(aggregator=chat("agg"), **members)
    others = [
        ChatMoA(aggregator=chat("other"), **members),
        ChatMoA(aggregator=chat("agg", temperature=0.5), **members),
        ChatMoA(aggregator=chat("agg"), **{**members, "proposers": [chat("q")]}),
        ChatMoA(aggregator=chat("agg"), **{**members, "proposers": [Proposer(chat("p"), system_prompt="Doubt.")]}),
        ChatMoA(aggregator=chat("agg"), **{**members, "num_layers": 2}),
        ChatMoA(aggregator=chat("agg"), prompt="Write one good answer.", **members),
        ChatMoA(aggregator=chat("agg"), temperature=0.1, **members),
    ]
    one.invoke("Hi")
    one.invoke("Hi")
    assert len(loopback.requests) == 2
    for other in others:
        before = len(loopback.requests)
        other.invoke("Hi")
        assert len(loopback.requests) > before, other
    assert one.invoke("Hi", stop=["x"]).text
    assert loopback.calls("agg")[-1].body["stop"] == ["x"]


def test_retry_and_fallbacks(loopback: Loopback, moa: ChatMoA, chat: Chat) -> None:
    loopback.script("agg", [Reply(status=429), Reply("at last")])
    assert moa.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("Hi").text == "at last"
    loopback.script("agg", Reply(status=400))
    assert moa.with_fallbacks([chat("plain")]).invoke("Hi").text == "plain says: Hi"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_errors_carry_what_was_paid_for(loopback: Loopback, moa: ChatMoA, asynchronous: bool) -> None:
    loopback.script("agg", Reply("slow down", status=429))
    with pytest.raises(AggregatorFailedError) as failed:
        await moa.ainvoke("Hi") if asynchronous else moa.invoke("Hi")
    assert [reference["text"] for reference in failed.value.references] == ["p says: Hi", "q says: Hi"]
    loopback.script("p", Reply("no", status=401))
    loopback.script("q", Reply("   "))
    with pytest.raises(ProposersFailedError, match=r"(?s)p: .*401.*q: empty"):
        await moa.ainvoke("Hi") if asynchronous else moa.invoke("Hi")


def test_configurable(loopback: Loopback, moa: ChatMoA, chat: Chat) -> None:
    fields = moa.configurable_fields(aggregator=ConfigurableField("aggregator"), temperature=ConfigurableField("temperature"))
    assert fields.invoke("Hi").text == "agg says: Hi"
    configurable = {"aggregator": chat("other"), "temperature": 0.3}
    assert fields.invoke("Hi", {"configurable": configurable}).text == "other says: Hi"
    assert [request.body.get("temperature") for request in loopback.calls("other")] == [0.3]
    alternatives = moa.configurable_alternatives(ConfigurableField("model"), plain=chat("plain"))
    assert alternatives.invoke("Hi", {"configurable": {"model": "plain"}}).text == "plain says: Hi"
    assert alternatives.invoke("Hi").text == "agg says: Hi"


def test_a_copy_with_another_aggregator_is_answered_by_it(moa: ChatMoA, chat: Chat) -> None:
    assert moa.invoke("Hi").text == "agg says: Hi"
    assert moa.model_copy(update={"aggregator": chat("other")}).invoke("Hi").text == "other says: Hi"
    assert moa.invoke("Hi").text == "agg says: Hi"
    moa.aggregator = chat("third")
    assert moa.invoke("Hi").text == "third says: Hi"


def test_copies_and_pickles(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key-of-the-environment")
    settings = {"base_url": loopback.url}
    member = Proposer("openai:p", settings=settings)
    moa = ChatMoA(proposers=[member], aggregator=Proposer("openai:agg", settings=settings), num_layers=1)
    assert moa.invoke("Hi").text == "agg says: Hi"
    pickled = pickle.dumps(moa)
    assert b"test-key" not in pickled
    for twin in (copy.deepcopy(moa), copy.copy(moa), pickle.loads(pickled)):  # noqa: S301  # our own bytes
        assert twin.invoke("Hi").text == "agg says: Hi"


async def test_mixtures_of_mixtures(loopback: Loopback, chat: Chat) -> None:
    inner = ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("inner"), num_layers=1)
    outer = ChatMoA(proposers=[inner, chat("r")], aggregator=inner, num_layers=1)
    handler = UsageMetadataCallbackHandler()
    answer = await outer.ainvoke("Hi", {"callbacks": [handler]})
    assert answer.text == outer.invoke("Hi").text == "inner says: Hi"
    assert sorted(loopback.models[:7]) == ["inner", "inner", "p", "p", "q", "q", "r"]
    assert (
        sum(usage["total_tokens"] for usage in handler.usage_metadata.values())
        == answer.response_metadata["moa"]["usage"]["total_tokens"]
    )


async def test_a_batch_of_100(loopback: Loopback, moa: ChatMoA) -> None:
    questions: list[Any] = [f"question {number}" for number in range(100)]
    expected = [f"agg says: {question}" for question in questions]
    assert [answer.text for answer in await moa.abatch(questions)] == expected
    assert [answer.text for answer in moa.batch(questions, {"max_concurrency": 8})] == expected
    assert len(loopback.requests) == 600


def test_a_rate_limiter_counts_answers(moa: ChatMoA) -> None:
    class Counting(InMemoryRateLimiter):
        taken = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.taken += 1
            return super().acquire(blocking=blocking)

    limiter = Counting(requests_per_second=1000, max_bucket_size=10)
    limited = moa.model_copy(update={"rate_limiter": limiter})
    limited.invoke("Hi")
    list(limited.stream("Hi"))
    assert limiter.taken == 2


async def test_sync_code_inside_a_running_loop(moa: ChatMoA) -> None:
    assert moa.invoke("Hi").text == "agg says: Hi"
    assert await asyncio.to_thread(lambda: moa.invoke("Hi").text) == "agg says: Hi"
    assert "".join(chunk.text for chunk in moa.stream("Hi")) == "agg says: Hi"


def test_many_threads_one_instance(moa: ChatMoA) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: moa.invoke(str(number)).text, range(40)))
    assert answers == [f"agg says: {number}" for number in range(40)]


def test_one_loop_after_another(loopback: Loopback) -> None:
    async def ask() -> str:
        member: Any = RunnableLambda(lambda _: AIMessage("draft"), afunc=None)
        moa = ChatMoA(proposers=[member], aggregator=RunnableLambda(lambda _: "text"), num_layers=1)
        await moa.ainvoke("Hi")
        return (await moa.ainvoke("Hi")).text

    assert [asyncio.run(ask()) for _ in range(3)] == ["text"] * 3


def test_no_thread_is_left_behind(moa: ChatMoA) -> None:
    moa.invoke("Hi")
    before = threading.active_count()
    for _ in range(5):
        moa.invoke("Hi")
        list(moa.stream("Hi"))
    assert threading.active_count() <= before


def test_repr_shows_no_secret(chat: Chat) -> None:
    moa = ChatMoA(
        proposers=[chat("p", api_key="sk-very-secret-key")], aggregator=chat("agg"), api_key=SecretStr("sk-another-secret")
    )
    for shown in (repr(moa), str(moa), str(moa.describe()), str(moa.model_dump()), str(moa._identifying_params)):
        assert "secret" not in shown
