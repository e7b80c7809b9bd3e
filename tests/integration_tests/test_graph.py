"""The transparent surface: a normal LangGraph graph."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_moa import MoAContext, Proposer, ProposersFailedError, create_moa
from tests.loopback import Reply

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Checkpointer

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

QUESTION: Any = {"messages": [("user", "Hi")]}


async def run(graph: CompiledStateGraph[Any, Any, Any, Any], asynchronous: bool, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", await graph.ainvoke(*args, **kwargs) if asynchronous else graph.invoke(*args, **kwargs))


def texts(state: dict[str, Any], layer: int) -> list[str]:
    return [reference["text"] for reference in state["references"] if reference["layer"] == layer]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_state_has_the_answer_and_every_reference(chat: Chat, asynchronous: bool) -> None:
    graph = create_moa([chat("p"), chat("q")], chat("agg")).compile()
    state = await run(graph, asynchronous, QUESTION)
    assert [message.text for message in state["messages"]] == ["Hi", "agg says: Hi"]
    assert texts(state, 1) == texts(state, 2) == ["p says: Hi", "q says: Hi"]
    assert [reference["name"] for reference in state["references"]] == ["openai:p", "openai:q"] * 2
    assert state["messages"][-1].response_metadata["moa"]["calls"] == 5


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_turns_under_a_checkpointer(
    loopback: Loopback, chat: Chat, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", "true")
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    await run(graph, asynchronous, {"messages": [("user", "one")]}, config)
    state = await run(graph, asynchronous, {"messages": [("user", "two")]}, config)
    assert texts(state, 1) == ["p says: two", "q says: two"]
    assert state["messages"][-1].response_metadata["moa"]["calls"] == 3
    history = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "agg says: one"},
        {"role": "user", "content": "two"},
    ]
    for request in loopback.requests[3:]:
        assert [message for message in request.messages if message["role"] != "system"] == history
        assert "one" not in request.system


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_turn_with_fewer_layers_forgets_the_old_ones(loopback: Loopback, chat: Chat, asynchronous: bool) -> None:
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "1"}}
    deep = create_moa([chat("p")], chat("agg"), num_layers=3).compile(checkpointer=saver)
    await run(deep, asynchronous, QUESTION, config)
    flat = create_moa([chat("q")], chat("agg"), num_layers=1).compile(checkpointer=saver)
    state = await run(flat, asynchronous, QUESTION, config)
    assert [reference["name"] for reference in state["references"]] == ["openai:q"]


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_subgraph_of_somebody_elses_graph(
    loopback: Loopback, chat: Chat, asynchronous: bool, checkpointer: Checkpointer
) -> None:
    def polite(_: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Thank you.")]}

    moa = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile()
    builder: Any = StateGraph(MessagesState, context_schema=cast("Any", dict))
    builder.add_node("moa", moa)
    builder.add_node("polite", polite)
    builder.add_edge(START, "moa")
    builder.add_edge("moa", "polite")
    builder.add_edge("polite", END)
    graph = builder.compile(checkpointer=checkpointer)
    config = {"configurable": {"thread_id": f"{asynchronous}"}}
    for turn in (1, 2):
        state = await run(graph, asynchronous, {"messages": [("user", "Hi")]}, config, context={"theirs": 1})
        expected = ["Hi", "agg says: Hi", "Thank you."] * (turn if checkpointer else 1)
        assert [message.text for message in state["messages"]] == expected
    assert loopback.calls("agg")[-1].system.endswith("\n1. p says: Hi\n2. q says: Hi")


def test_the_callers_messages_are_not_touched(chat: Chat) -> None:
    message = HumanMessage("Hi")
    create_moa([chat("p")], chat("agg")).compile().invoke({"messages": [message]})
    assert message == HumanMessage("Hi")


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_member_is_any_runnable(loopback: Loopback, chat: Chat, asynchronous: bool) -> None:
    agent = create_agent(chat("agent"), system_prompt="You are an agent.")
    chain: Any = RunnableLambda(lambda messages: f"chain says: {messages[-1].text}")
    members: list[Any] = [
        agent,
        chain,
        chat("bound").bind(temperature=0.1),
        chat("retried").with_retry(),
        Proposer(chat("role"), name="sceptic", system_prompt="Doubt everything."),
    ]
    state = await run(
        create_moa(members, agent, num_layers=1).compile(), asynchronous, QUESTION, context=MoAContext(model_kwargs={"seed": 3})
    )
    assert texts(state, 1) == ["agent says: Hi", "chain says: Hi", "bound says: Hi", "retried says: Hi", "role says: Hi"]
    assert [reference["name"] for reference in state["references"]][-1] == "sceptic"
    assert loopback.calls("role")[0].system == "Doubt everything."
    assert loopback.calls("bound")[0].body["temperature"] == 0.1
    assert loopback.calls("retried")[0].body["seed"] == 3
    assert loopback.calls("agent")[-1].roles == ["system", "system", "user"]
    assert state["messages"][-1].text == "agent says: Hi"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_failing_proposer_fails_nothing(loopback: Loopback, chat: Chat, asynchronous: bool) -> None:
    loopback.script("p", Reply("boom", status=500))
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile()
    state = await run(graph, asynchronous, QUESTION)
    assert [reference["status"] for reference in state["references"]] == ["failed", "ok"]
    assert loopback.calls("agg")[0].system.endswith("Responses from models:\n1. q says: Hi")
    loopback.script("q", Reply("boom", status=500))
    with pytest.raises(ProposersFailedError, match=r"(?s)openai:p: .*boom.*openai:q: .*boom"):
        await run(graph, asynchronous, QUESTION)


async def test_proposers_run_at_once(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", Reply("text", together=12))
    graph = create_moa([chat("p")] * 12, chat("agg"), num_layers=1).compile()
    graph.invoke(QUESTION)
    await graph.ainvoke(QUESTION)
    assert loopback.peak == 12


# --- drawing and names ---


def test_the_drawing_names_every_proposer_by_its_model(chat: Chat) -> None:
    members: list[Any] = [chat("p"), Proposer(chat("q"), name="the <sceptic>")]
    drawn = create_moa(members, chat("agg")).compile().get_graph(xray=True).draw_mermaid()
    for layer in (1, 2):
        assert re.search(rf"layer_{layer}_proposer_1\(.*model = openai:p", drawn, re.DOTALL)
        assert re.search(
            rf"layer_{layer}_proposer_2\(.*proposer = 2\nname = the #60;sceptic#62;\nmodel = openai:q", drawn, re.DOTALL
        )
        assert f"layer_{layer}_proposer_2 --> merge_{layer};" in drawn
    assert "merge_1 --> layer_2_proposer_1;" in drawn
    assert "merge_2 --> aggregator;" in drawn
    assert "aggregator --> __end__;" in drawn


def test_names_are_padded(chat: Chat) -> None:
    nodes = list(create_moa([chat("p")] * 12, chat("agg"), num_layers=10).nodes)
    of_a_layer = [name for name in nodes if name.startswith("layer_02")]
    assert of_a_layer == sorted(of_a_layer) == [f"layer_02_proposer_{number:02}" for number in range(1, 13)]
    assert {"merge_01", "merge_10", "aggregator"} <= set(nodes)


# --- streaming ---


async def test_messages_stream_has_every_members_tokens_tagged(chat: Chat) -> None:
    graph = create_moa([chat("p"), chat("q")], chat("agg")).compile()
    for items in (
        list(graph.stream(QUESTION, stream_mode="messages")),
        [item async for item in graph.astream(QUESTION, stream_mode="messages")],
    ):
        said: dict[tuple[Any, ...], str] = {}
        for message, metadata in cast("list[tuple[BaseMessage, dict[str, Any]]]", items):
            tag = (metadata.get("layer"), metadata.get("proposer"), metadata["model"], metadata["langgraph_node"])
            said[tag] = said.get(tag, "") + message.text
        assert said == {
            (1, 1, "openai:p", "layer_1_proposer_1"): "p says: Hi",
            (1, 2, "openai:q", "layer_1_proposer_2"): "q says: Hi",
            (2, 1, "openai:p", "layer_2_proposer_1"): "p says: Hi",
            (2, 2, "openai:q", "layer_2_proposer_2"): "q says: Hi",
            (None, None, "openai:agg", "aggregator"): "agg says: Hi",
        }


@pytest.mark.parametrize("same", ["models", "names"])
async def test_twins_have_names_of_their_own_in_the_stream(chat: Chat, same: str) -> None:
    proposers: list[Any] = [chat("p"), chat("q"), chat("p")]
    if same == "names":
        proposers = [Proposer(model, name="expert") for model in proposers]
    graph = create_moa(proposers, chat("agg")).compile()
    stream: Any = graph.astream(QUESTION, stream_mode="messages")
    seen = {
        (metadata["layer"], metadata["proposer"], metadata["name"], metadata["langgraph_node"])
        async for _, metadata in stream
        if "layer" in metadata
    }
    names = ["openai:p #1", "openai:q", "openai:p #2"] if same == "models" else ["expert #1", "expert #2", "expert #3"]
    assert seen == {
        (layer, place, name, f"layer_{layer}_proposer_{place}") for layer in (1, 2) for place, name in enumerate(names, start=1)
    }


async def test_proposers_tokens_are_interleaved(loopback: Loopback, chat: Chat) -> None:
    gates = [loopback.gate(), loopback.gate()]
    loopback.script("p", Reply("a b", gate=gates[0], after_chunks=1))
    loopback.script("q", Reply("c d", gate=gates[1], after_chunks=1))
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile()
    seen: set[str] = set()
    stream: Any = graph.astream(QUESTION, stream_mode="messages")
    async for message, metadata in stream:
        if metadata.get("layer") and message.text:
            seen.add(message.text)
        if seen >= {"a", "c"}:
            for gate in gates:
                gate.open()
    assert seen == {"a", " b", "c", " d"}


async def test_custom_events_tell_the_progress(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", Reply(status=400))
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile()
    for events in (
        list(graph.stream(QUESTION, stream_mode="custom")),
        [event async for event in graph.astream(QUESTION, stream_mode="custom")],
    ):
        kinds = [event["moa"] for event in events]
        assert sorted(kinds[:4]) == ["proposed", "proposed", "proposing", "proposing"]
        assert [kind for kind in kinds[4:] if kind in {"merged", "aggregating", "aggregated"}] == [
            "merged",
            "aggregating",
            "aggregated",
        ]
        statuses = {event["name"]: event["status"] for event in events if event["moa"] == "proposed"}
        assert statuses == {"openai:p": "failed", "openai:q": "ok"}


async def test_updates_and_tasks_name_the_nodes(chat: Chat) -> None:
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile()
    updates = [name for update in graph.stream(QUESTION, stream_mode="updates") for name in update]
    assert sorted(updates[:2]) == ["layer_1_proposer_1", "layer_1_proposer_2"]
    assert updates[2:] == ["merge_1", "aggregator"]
    tasks = [task["name"] async for task in graph.astream(QUESTION, stream_mode="tasks")]
    assert set(tasks) == {"layer_1_proposer_1", "layer_1_proposer_2", "merge_1", "aggregator"}


async def test_references_arrive_in_a_typed_stream(loopback: Loopback, chat: Chat) -> None:
    gate = loopback.gate()
    loopback.script("p", Reply("late", gate=gate))
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile()
    names = []
    for reference in graph.stream_events(QUESTION, version="v3").extensions["references"]:
        names.append(reference["name"])
        gate.open()
    assert names == ["openai:q", "openai:p"]
    run_ = await graph.astream_events(QUESTION, version="v3")
    assert {reference["text"] async for reference in run_.extensions["references"]} == {"late", "q says: Hi"}
