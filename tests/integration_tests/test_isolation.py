"""Callers of a `ChatMoA` see one chat model; only tracers see the inner runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_moa import ChatMoA
from tests.loopback import Reply, ToolCall, Usage
from tests.watch import Tree, Witness

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


QUESTION: Any = {"messages": [("user", "Hi")]}


@pytest.fixture
def moa(loopback: Loopback, chat: Chat) -> ChatMoA:
    loopback.script("p", Reply("a draft of p"))
    loopback.script("q", Reply("a draft of q"))
    loopback.script("agg", Reply("the final answer"))
    return ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"))


async def run(mode: str, model: Any, question: Any = "Hi", **config: Any) -> None:
    match mode:
        case "invoke":
            model.invoke(question, config)
        case "ainvoke":
            await model.ainvoke(question, config)
        case "stream":
            list(model.stream(question, config))
        case "astream":
            [chunk async for chunk in model.astream(question, config)]
        case "stream_v3":
            str(model.stream_events(question, config, version="v3").text)
        case "astream_v3":
            events = await model.astream_events(question, config, version="v3")
            await events.text
            # The text arrives before the handlers are told that it ended.
            await events._producer_task
        case "batch":
            model.batch([question], config)


MODES = ["invoke", "ainvoke", "stream", "astream", "stream_v3", "astream_v3", "batch"]


@pytest.mark.parametrize("mode", MODES)
async def test_handlers_see_one_model(moa: ChatMoA, mode: str) -> None:
    witness = Witness()
    await run(mode, moa, callbacks=[witness])
    assert witness.events == {"start": 1, "end": 1}
    assert "draft" not in "".join(str(token) for token in witness.tokens)


@pytest.mark.parametrize("mode", MODES)
async def test_handlers_of_the_model_itself_see_one_model(moa: ChatMoA, mode: str) -> None:
    witness = Witness()
    await run(mode, moa.model_copy(update={"callbacks": [witness]}))
    assert witness.events == {"start": 1, "end": 1}


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream"])
async def test_inside_a_chain_handlers_see_one_model(moa: ChatMoA, mode: str) -> None:
    witness = Witness()
    chain: Any = RunnableLambda(lambda text: [HumanMessage(text)]) | moa
    await run(mode, chain, callbacks=[witness], tags=["mine"], recursion_limit=7)
    assert witness.events["start"] == witness.events["end"] == 1


@pytest.mark.parametrize("mode", MODES)
async def test_tracers_see_the_tree(moa: ChatMoA, mode: str) -> None:
    tree = Tree()
    await run(mode, moa, callbacks=[tree])
    assert [root.name for root in tree.roots] == ["ChatMoA"]
    models = [run for run in tree.runs() if run.run_type in {"chat_model", "llm"}]
    assert [run.name for run in models[:1]] == ["ChatMoA"]
    assert sorted(run.name for run in models[1:]) == [
        "aggregator: openai:agg",
        *("layer 1: openai:p", "layer 1: openai:q", "layer 2: openai:p", "layer 2: openai:q"),
    ]
    for run_ in models[1:-1]:
        metadata = (run_.extra or {})["metadata"]
        assert run_.name == f"layer {metadata['layer']}: {metadata['model']}"
        assert not run_.error


async def test_tracers_see_the_tree_inside_an_agent(moa: ChatMoA) -> None:
    for mode in ("invoke", "ainvoke", "stream", "astream"):
        tree = Tree()
        await run(mode, create_agent(moa), QUESTION, callbacks=[tree])
        outline = tree.outline()
        assert outline.count("ChatMoA") == 1, outline
        for name in ("layer 1: openai:p", "layer 2: openai:q", "aggregator: openai:agg"):
            assert outline.count(name) == 1, outline


@pytest.mark.parametrize("subgraphs", [False, True])
async def test_an_agents_messages_stream_has_the_answer_only(moa: ChatMoA, subgraphs: bool) -> None:
    agent = create_agent(moa)
    question = QUESTION
    sync: list[Any] = list(agent.stream(question, stream_mode="messages", subgraphs=subgraphs))
    asynchronous: list[Any] = [item async for item in agent.astream(question, stream_mode="messages", subgraphs=subgraphs)]
    for items in (sync, asynchronous):
        messages = [item[-1][0] if subgraphs else item[0] for item in items]
        assert "".join(message.text for message in messages) == "the final answer"
        assert sum(bool(message.text) for message in messages) == 3
        assert len({message.id for message in messages}) == 1


async def test_astream_events_v2_has_one_model(moa: ChatMoA) -> None:
    agent = create_agent(moa)
    asked: list[Any] = [(moa, "Hi"), (agent, QUESTION)]
    for model, question in asked:
        events = [event async for event in model.astream_events(question, version="v2")]
        kinds = [event["event"] for event in events]
        assert kinds.count("on_chat_model_start") == kinds.count("on_chat_model_end") == 1
        tokens = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
        assert "".join(tokens) == "the final answer"
        assert not [event for event in events if event["name"] in {"mixture", "merge_1", "aggregator"}]


async def test_v3_events_of_an_agent_have_the_answer_only(moa: ChatMoA) -> None:
    agent = create_agent(moa)
    run_ = agent.stream_events(QUESTION, version="v3")
    assert [str(message.text) for message in run_.messages] == ["the final answer"]
    arun = await agent.astream_events(QUESTION, version="v3")
    assert [str(await message.text) async for message in arun.messages] == ["the final answer"]


async def test_nothing_of_the_inner_run_is_checkpointed(moa: ChatMoA) -> None:
    saver = InMemorySaver()
    agent = create_agent(moa, checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": 5}
    agent.invoke(QUESTION, config)
    await agent.ainvoke(QUESTION, config)
    assert {item.config["configurable"]["checkpoint_ns"] for item in saver.list(None)} == {""}
    assert set(agent.get_state(config).values) == {"messages"}


def test_the_callers_recursion_limit_is_the_callers(moa: ChatMoA, chat: Chat) -> None:
    deep = moa.model_copy(update={"num_layers": 8})
    agent = create_agent(deep)
    answer = agent.invoke(QUESTION, {"recursion_limit": 3})
    assert answer["messages"][-1].text == "the final answer"


@pytest.mark.parametrize("mode", MODES)
async def test_tags_and_names_stay_outside(moa: ChatMoA, mode: str) -> None:
    tree = Tree()
    await run(mode, moa, callbacks=[tree], tags=["mine"], run_name="mine", metadata={"mine": 1})
    root, *inner = tree.runs()
    assert root.name == "mine"
    assert "mine" in (root.tags or [])
    for run_ in inner:
        assert "mine" not in (run_.tags or [])
        assert run_.name != "mine"


@pytest.mark.parametrize("mode", MODES)
async def test_usage_is_counted_by_model(loopback: Loopback, chat: Chat, mode: str) -> None:
    loopback.script("p", Reply("draft", usage=Usage(prompt=10, completion=1)))
    loopback.script("agg", Reply("answer", usage=Usage(prompt=100, completion=2)))
    moa = ChatMoA(proposers=[chat("p"), chat("p")], aggregator=chat("agg"))
    with get_usage_metadata_callback() as counted:
        await run(mode, moa)
    totals = {model: usage["total_tokens"] for model, usage in counted.usage_metadata.items()}
    assert totals == {"p": 44, "agg": 102}


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream", "batch"])
async def test_usage_is_counted_once_inside_an_agent(loopback: Loopback, chat: Chat, mode: str) -> None:
    loopback.script("p", Reply("draft", usage=Usage(prompt=10, completion=1)))
    loopback.script("agg", Reply("answer", usage=Usage(prompt=100, completion=2)))
    agent = create_agent(ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1))
    with get_usage_metadata_callback() as counted:
        await run(mode, agent, QUESTION)
    totals = {model: usage["total_tokens"] for model, usage in counted.usage_metadata.items()}
    assert totals == {"p": 11, "agg": 102}


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word} means nothing"


async def test_an_agents_loop_streams_tool_calls_and_the_answer(loopback: Loopback, chat: Chat) -> None:
    loopback.script("agg", [Reply(tool_calls=[ToolCall("lookup", {"word": "sky"})]), Reply("It means nothing.")])
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1)
    agent = create_agent(moa, tools=[lookup])
    items = [item async for item in agent.astream(QUESTION, stream_mode="messages")]
    chunks = [message for message, _ in items if isinstance(message, AIMessageChunk)]
    assert "".join(chunk.text for chunk in chunks) == "It means nothing."
    calls = [call for chunk in chunks for call in chunk.tool_call_chunks]
    assert "".join(call["args"] or "" for call in calls) == '{"word": "sky"}'
