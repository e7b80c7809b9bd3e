"""Limits: context windows and reference budgets, at the wire."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_moa import ChatMoA, create_moa
from langchain_moa.strategies import Ask
from tests.loopback import Reply, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat
    from tests.loopback.recorded import Recorded


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
    # Members with an unknown window are sent everything.
    assert len(loopback.calls("p")[-1].messages) == 3 + (layers > 1)


OLD: list[BaseMessage] = [HumanMessage("old " * 500), AIMessage("older " * 300)]
QUESTION = HumanMessage("The last question?")
SMALL = {"max_input_tokens": 800}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "word " * 200, "parameters": {"type": "object"}}}


def size(sent: Recorded) -> float:
    """Return the tokens, of four letters each, of everything in a request that its model reads, and of the requested answer."""
    read = {name: sent.body[name] for name in ("messages", "tools", "response_format") if name in sent.body}
    return len(json.dumps(read)) / 4 + (sent.body.get("max_completion_tokens") or sent.body.get("max_tokens") or 0)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda chat: moa_of(chat("agg", profile=SMALL)).bind_tools([TOOL]), id="tools bound to the mixture"),
        pytest.param(lambda chat: moa_of(chat("agg", profile=SMALL).bind_tools([TOOL])), id="tools bound to the model"),
        pytest.param(
            lambda chat: moa_of(chat("agg", profile=SMALL)).bind(response_format={"type": "json_schema", "json_schema": TOOL}),
            id="response format",
        ),
        pytest.param(lambda chat: moa_of(chat("agg", profile=SMALL, max_tokens=400)), id="the model's limit"),
        pytest.param(lambda chat: moa_of(chat("agg", profile=SMALL), max_tokens=400), id="the mixture's limit"),
        pytest.param(lambda chat: moa_of(chat("agg", profile=SMALL)).bind(max_tokens=400), id="the call's limit"),
    ],
)
def test_what_is_sent_beside_the_messages_counts(loopback: Loopback, chat: Chat, model: Callable[[Chat], Any]) -> None:
    loopback.script("p", Reply("A sentence of words. " * 1000))
    loopback.script("agg", Reply("{}"))
    model(chat).invoke([*OLD, QUESTION])
    (sent,) = loopback.calls("agg")
    assert size(sent) <= 800
    assert sent.messages[-1] == {"role": "user", "content": "The last question?"}
    assert "Responses from models:\n1. A sentence of words." in sent.system


def moa_of(aggregator: Any, **options: Any) -> ChatMoA:
    server = getattr(aggregator, "bound", aggregator)
    proposer = server.model_copy(update={"model_name": "p", "profile": None})
    return ChatMoA(proposers=[proposer, proposer], aggregator=aggregator, num_layers=1, **options)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_long_conversation_is_trimmed_for_the_first_layer_too(
    loopback: Loopback, chat: Chat, asynchronous: bool
) -> None:
    moa = ChatMoA(proposers=[chat("p", profile=SMALL), chat("q")], aggregator=chat("agg"), num_layers=1)
    answer = await moa.ainvoke([*OLD, QUESTION]) if asynchronous else moa.invoke([*OLD, QUESTION])
    (trimmed,), (whole,) = loopback.calls("p"), loopback.calls("q")
    assert trimmed.messages == [{"role": "user", "content": "The last question?"}]
    assert len(whole.messages) == 3
    moa_of_answer = answer.response_metadata["moa"]
    assert [entry.get("trimmed") for entry in moa_of_answer["layers"][0]] == [["2 of the oldest messages left out"], None]
    assert "trimmed" not in moa_of_answer["aggregator"]
    assert moa_of_answer["degraded"] == [
        "layer 1: proposer 1, openai:p: its prompt did not fit into its context window: 2 of the oldest messages left out"
    ]


def test_what_was_trimmed_for_the_aggregator_is_in_its_entry(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", Reply("A sentence of words. " * 1000))
    answer = moa_of(chat("agg", profile=SMALL)).invoke([*OLD, QUESTION])
    moa = answer.response_metadata["moa"]
    cut, left_out = moa["aggregator"]["trimmed"]
    assert cut.startswith("references cut to ")
    assert left_out == "2 of the oldest messages left out"
    assert moa["degraded"] == [f"aggregator: openai:agg: its prompt did not fit into its context window: {cut}; {left_out}"]


def test_an_aggregator_that_failed_leaves_what_was_trimmed_in_its_step(loopback: Loopback, chat: Chat) -> None:
    loopback.script("agg", Reply("no", status=400))
    answer = moa_of(chat("agg", profile=SMALL), aggregator_fallbacks=[chat("other")]).invoke([*OLD, QUESTION])
    (step,) = answer.response_metadata["moa"]["steps"]
    assert step["trimmed"] == ["2 of the oldest messages left out"]


def test_a_message_over_the_window_is_sent_as_it_is_and_said_to_be(
    loopback: Loopback, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    long = "word " * 2000
    with caplog.at_level(logging.WARNING, "langchain_moa"):
        answer = moa_of(chat("agg", profile=SMALL)).invoke([*OLD, HumanMessage(long)])
    (sent,) = loopback.calls("agg")
    assert [message["content"] for message in sent.messages if message["role"] == "user"] == [long]
    trimmed = answer.response_metadata["moa"]["aggregator"]["trimmed"]
    assert trimmed[-1].startswith("still too long, but sent: about ")
    assert trimmed[-1] in caplog.text


def asks_the_judge(messages: list[BaseMessage], _: Any) -> Any:
    """An aggregation whose call has no references."""
    answer = yield Ask(messages=messages, name="judge")
    return answer["text"]


LEFT_OUT = "2 of the oldest messages left out"


@pytest.mark.parametrize(
    ("aggregation", "trimmed"), [("select", [r"references cut to \d+ tokens", LEFT_OUT]), (asks_the_judge, [LEFT_OUT])]
)
def test_what_was_trimmed_for_a_strategy_is_in_its_step(
    loopback: Loopback, chat: Chat, aggregation: Any, trimmed: list[str]
) -> None:
    loopback.script("p", Reply("A sentence of words. " * 1000))
    loopback.script("agg", Reply("[[A]]"))
    answer = moa_of(chat("agg", profile=SMALL), aggregation=aggregation).invoke([*OLD, QUESTION])
    sent = loopback.calls("agg")[0]
    assert size(sent) <= 800
    assert "The last question?" in sent.user
    moa = answer.response_metadata["moa"]
    step = moa["steps"][0]
    assert re.fullmatch("; ".join(trimmed), "; ".join(step["trimmed"]))
    told = f"{step['node']}: {step['name']} ({step['model']}): its prompt did not fit into its context window: "
    assert moa["degraded"][0] == told + "; ".join(step["trimmed"])


def called(number: int) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "look_up", "args": {"word": "sky"}, "id": f"call_{number}"}])


def test_a_tools_result_never_stands_without_its_call(loopback: Loopback, chat: Chat) -> None:
    results: list[BaseMessage] = [
        each for n in range(3) for each in (called(n), ToolMessage(f"found {n} " * 100, tool_call_id=f"call_{n}"))
    ]
    model = ChatMoA(proposers=[chat("p", profile=SMALL)], aggregator=chat("agg", profile=SMALL), num_layers=1)
    model.bind_tools([TOOL]).invoke([HumanMessage("Before?"), *results, AIMessage("Yes."), QUESTION, *results])
    (sent,) = loopback.calls("agg")
    assert size(sent) <= 800
    assert sent.roles == ["system", "user", "assistant", "tool"]
    assert sent.messages[1]["content"] == "The last question?"
    assert sent.messages[2]["tool_calls"][0]["id"] == sent.messages[3]["tool_call_id"] == "call_2"
    (proposing,) = loopback.calls("p")
    assert size(proposing) <= 800
    # A tool's result is a user message for a member without tools, but it is not the user's.
    assert proposing.roles == ["system", "user", "assistant", "user"]
    assert proposing.messages[1]["content"] == "The last question?"
    assert "found 2" in proposing.user


def test_what_was_trimmed_survives_a_checkpoint(loopback: Loopback, chat: Chat) -> None:
    graph: Any = create_moa([chat("p", profile=SMALL)], chat("agg"), num_layers=1).compile(
        checkpointer=InMemorySaver(), interrupt_before=["merge_1"]
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"messages": [*OLD, QUESTION]}, config)
    assert graph.get_state(config).values["references"][0]["trimmed"] == ["2 of the oldest messages left out"]
    answer = graph.invoke(None, config)["messages"][-1]
    assert answer.response_metadata["moa"]["layers"][0][0]["trimmed"] == ["2 of the oldest messages left out"]
    assert len(loopback.calls("p")) == 1


@pytest.mark.parametrize("most", [1, 2])
async def test_so_many_calls_at_once_and_no_more(loopback: Loopback, chat: Chat, most: int) -> None:
    # The first call is held until this many are open.
    loopback.script("p", [Reply("draft", together=most), Reply("draft", delay=0.01)])
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
    task = asyncio.create_task(moa.ainvoke("Hi"))
    await asyncio.to_thread(loopback.wait_for, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
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
        assert stopped == (None if layers == 3 else f"max_cost_usd: {0.8 * layers:.6f} of {most:g} dollars have been spent")


def test_a_price_that_is_not_known_stops_nothing(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(proposers=[chat("unheard-of")], aggregator=chat("agg"), num_layers=3, max_cost_usd=0.000001)
    assert moa.invoke("Hi").response_metadata["moa"]["calls"] == 4
    drawn = create_moa(moa).compile().get_graph().draw_mermaid()
    assert "merge_1 -.-> aggregator;" in drawn
