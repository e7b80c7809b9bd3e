"""A user's own prompt that fails ends the run and keeps what is paid for; the members are not blamed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from langchain_moa import ChatMoA, StrategyFailedError, create_moa
from langchain_moa.strategies import Ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


def careless(messages: Any, references: Any) -> Any:
    return [SystemMessage(references[7]["text"]), *messages]


def forgetful(messages: Any, references: Any) -> Any:
    messages.append(HumanMessage("And?"))


def wordy(messages: Any, references: Any) -> Any:
    return "Answer well."


def silent(messages: Any, references: Any) -> Any:
    return []


def strange(messages: Any, references: Any) -> Any:
    return [*messages, 7]


async def eager(messages: Any, references: Any) -> Any:
    return messages


FAILING = {
    careless: "IndexError: list index out of range",
    forgetful: "TypeError: it returned NoneType; return a list of messages",
    wordy: "TypeError: it returned str; return a list of messages",
    silent: "TypeError: it returned no message at all; return a list of messages",
    strange: "NotImplementedError: Unsupported message type",
    eager: "TypeError: it is async; a prompt must be a sync function",
}


def asked(moa: ChatMoA) -> None:
    moa.invoke("Hi")


def streamed(moa: ChatMoA) -> None:
    list(moa.stream("Hi"))


def asked_async(moa: ChatMoA) -> None:
    async def run() -> None:
        await moa.ainvoke("Hi")

    asyncio.run(run())


def streamed_async(moa: ChatMoA) -> None:
    async def run() -> None:
        async for _ in moa.astream("Hi"):
            pass

    asyncio.run(run())


WAYS = [asked, streamed, asked_async, streamed_async]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layers", [1, 2])
def test_the_run_fails_and_keeps_the_references(
    loopback: Loopback, chat: Chat, way: Callable[[ChatMoA], None], layers: int
) -> None:
    moa = ChatMoA(
        proposers=[chat("p"), chat("q")],
        aggregator=chat("agg"),
        num_layers=layers,
        prompt=careless,
        aggregator_fallbacks=[chat("other")],
        min_references=2,
    )
    with pytest.raises(StrategyFailedError) as failure:
        way(moa)
    who = "openai:agg" if layers == 1 else r"openai:[pq]"
    assert failure.match(rf"^the prompt 'careless' failed for {who}: IndexError: list index out of range")
    assert [reference["text"] for reference in failure.value.references] == ["p says: Hi", "q says: Hi"]
    assert isinstance(failure.value.__cause__, IndexError)
    # No further layer starts, and no fallback is asked.
    assert sorted(request.model for request in loopback.requests) == ["p", "q"]


@pytest.mark.parametrize("prompt", FAILING, ids=lambda prompt: prompt.__name__)
def test_what_is_wrong_is_said(chat: Chat, prompt: Any) -> None:
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, prompt=prompt)
    with pytest.raises(StrategyFailedError) as failure:
        moa.invoke("Hi")
    assert f"the prompt {prompt.__name__!r} failed for openai:agg: {FAILING[prompt]}" in str(failure.value)
    assert len(failure.value.references) == 1


def test_a_graph_fails_alike(chat: Chat) -> None:
    graph = create_moa([chat("p")], chat("agg"), num_layers=2, prompt=careless).compile()
    with pytest.raises(StrategyFailedError, match="the prompt 'careless' failed for openai:p"):
        graph.invoke({"messages": [HumanMessage("Hi")]})


def drafted(messages: Any, references: Any) -> Any:
    """An aggregation that shows references in the mixture's prompt."""
    answer = yield Ask(messages=messages, references=references, name="draft", drafts=True)
    return answer["text"]


@pytest.mark.parametrize("aggregation", [drafted, {"sequential": {"window": 2}}], ids=["a function", "sequential"])
@pytest.mark.parametrize("way", WAYS)
def test_where_a_strategy_shows_the_references(chat: Chat, aggregation: Any, way: Callable[[ChatMoA], None]) -> None:
    moa = ChatMoA(proposers=[chat("p")] * 3, aggregator=chat("agg"), num_layers=1, prompt=careless, aggregation=aggregation)
    with pytest.raises(StrategyFailedError, match="the prompt 'careless' failed for openai:agg") as failure:
        way(moa)
    assert len(failure.value.references) == 3


def test_a_failing_mixture_inside_is_not_taken_for_this_one(chat: Chat) -> None:
    inner = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, prompt=careless)

    def asks(messages: Any, references: Any) -> Any:
        return inner.invoke(messages)

    moa = ChatMoA(proposers=[chat("q")], aggregator=chat("agg"), num_layers=1, aggregation=asks)
    with pytest.raises(Exception, match="the aggregator asks failed: StrategyFailedError: the prompt 'careless'") as failure:
        moa.invoke("Hi")
    assert [each["text"] for each in failure.value.references] == ["q says: Hi"]  # type: ignore[attr-defined]


def test_a_failing_mixture_as_a_proposer_is_a_failed_proposer(chat: Chat) -> None:
    inner = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, prompt=careless)
    answer = ChatMoA(proposers=[inner, chat("q")], aggregator=chat("agg"), num_layers=1).invoke("Hi")
    assert [call["status"] for call in answer.response_metadata["moa"]["layers"][0]] == ["failed", "ok"]


def test_what_a_prompt_does_to_its_lists_is_without_effect(loopback: Loopback, chat: Chat) -> None:
    def grasping(messages: Any, references: Any) -> Any:
        messages.insert(0, SystemMessage(references.pop()["text"]))
        return messages

    # If the window is too small, it is called more than once.
    small = chat("agg", profile={"max_input_tokens": 200})
    moa = ChatMoA(proposers=[chat("p")], aggregator=small, num_layers=1, prompt=grasping)
    moa.invoke([HumanMessage("old " * 500), HumanMessage("Hi")])
    (sent,) = loopback.calls("agg")
    assert sent.roles == ["system", "user"]


def test_messages_may_be_given_in_short(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(
        proposers=[chat("p")],
        aggregator=chat("agg"),
        num_layers=1,
        prompt=lambda messages, references: (("system", references[0]["text"]), *messages),
    )
    moa.invoke("Hi")
    assert loopback.calls("agg")[0].system == "p says: Hi"
