"""What agents, chains and handlers see of a `ChatMoA` while its proposers work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_moa import ChatMoA, Proposer, create_moa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUESTION: dict[str, Any] = {"messages": [HumanMessage("Hi")]}
EVENTS = ["proposing"] * 3 + ["proposed"] * 3 + ["merged", "aggregating", "degraded", "aggregated"]


def model(text: str) -> FakeListChatModel:
    return FakeListChatModel(responses=[text])


def fail(_: Any) -> str:
    raise OSError


@pytest.fixture(scope="module")
def moa() -> ChatMoA:
    proposers: list[Any] = [model("a"), model("b"), Proposer(RunnableLambda(fail), name="down")]
    return ChatMoA(proposers=proposers, aggregator=model("answer"), num_layers=1)


def streamed(graph: Any, modes: Any = "custom") -> list[Any]:
    return list(graph.stream(QUESTION, stream_mode=modes))


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["moa"] for event in events]


def test_an_agent_streams_the_progress_before_the_answer(moa: ChatMoA) -> None:
    seen = streamed(create_agent(moa, tools=[]), ["messages", "custom", "updates"])
    events = [data for mode, data in seen if mode == "custom"]
    assert names(events) == EVENTS
    proposed = [event for event in events if event["moa"] == "proposed"]
    assert {event["proposers"] for event in proposed} == {3}
    assert {event["name"]: event["status"] for event in proposed if event["status"] != "ok"} == {"down": "failed"}
    # The tokens are the aggregator's, and begin after the proposers are done.
    tokens = [place for place, (mode, data) in enumerate(seen) if mode == "messages" and data[0].text]
    assert tokens[0] > max(place for place, (mode, data) in enumerate(seen) if mode == "custom" and data in proposed)
    assert "".join(seen[place][1][0].text for place in tokens) == "answer"


@pytest.mark.parametrize("modes", [["custom"], ["messages", "custom", "updates"]])
async def test_so_does_an_async_agent(moa: ChatMoA, modes: list[Any]) -> None:
    agent: Any = create_agent(moa, tools=[])
    seen = [data async for mode, data in agent.astream(QUESTION, stream_mode=modes) if mode == "custom"]
    assert names(seen) == EVENTS


def test_a_node_that_invokes_or_streams_the_mixture_writes_it(moa: ChatMoA) -> None:
    def invoke(state: MessagesState) -> dict[str, Any]:
        return {"messages": [moa.invoke(state["messages"][:1])]}

    def stream(state: MessagesState) -> dict[str, Any]:
        *_, last = moa.stream(state["messages"][:1])
        return {"messages": [last]}

    builder = StateGraph(MessagesState)
    builder.add_node("invoke", invoke)
    builder.add_node("stream", stream)
    builder.add_edge(START, "invoke")
    builder.add_edge("invoke", "stream")
    builder.add_edge("stream", END)
    assert names(streamed(builder.compile())) == EVENTS * 2


def test_so_does_a_tool_of_an_agent_that_asks_the_mixture(moa: ChatMoA) -> None:
    class Caller(GenericFakeChatModel):
        def bind_tools(self, *_: Any, **__: Any) -> Any:
            return self

    def consult(question: str) -> str:
        """Ask the mixture."""
        return moa.invoke(question).text

    call = {"name": "consult", "args": {"question": "Hi"}, "id": "1"}
    agent = create_agent(Caller(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("Done.")])), tools=[consult])
    assert names(streamed(agent)) == EVENTS


def of_agent(moa: ChatMoA) -> AsyncIterator[Any]:
    agent: Any = create_agent(moa, tools=[])
    found: AsyncIterator[Any] = agent.astream_events(QUESTION, version="v2")
    return found


def of_chain(moa: ChatMoA) -> AsyncIterator[Any]:
    return (ChatPromptTemplate.from_template("{x}") | moa).astream_events({"x": "Hi"}, version="v2")


def of_itself(moa: ChatMoA) -> AsyncIterator[Any]:
    return moa.astream_events("Hi", {"tags": ["mine"]}, version="v2")


@pytest.mark.parametrize("run", [of_agent, of_chain, of_itself])
async def test_events_of_a_run_have_the_progress(moa: ChatMoA, run: Any) -> None:
    seen = [event async for event in run(moa)]
    custom = [event for event in seen if event["event"] == "on_custom_event"]
    assert {event["name"] for event in custom} == {"moa"}
    assert names([event["data"] for event in custom]) == EVENTS
    # They belong to the run of the mixture.
    (started,) = [event for event in seen if event["event"] == "on_chat_model_start"]
    assert {event["run_id"] for event in custom} == {started["run_id"]}
    assert all(event["tags"] == started["tags"] for event in custom)


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
async def test_a_handler_is_told_without_any_graph(moa: ChatMoA, way: str) -> None:
    class Listener(BaseCallbackHandler):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
            self.seen.append((name, data))

    listener = Listener()
    config: Any = {"callbacks": [listener]}
    match way:
        case "invoke":
            moa.invoke("Hi", config)
        case "stream":
            list(moa.stream("Hi", config))
        case "ainvoke":
            await moa.ainvoke("Hi", config)
        case _:
            assert [chunk async for chunk in moa.astream("Hi", config)]
    assert [data["moa"] for name, data in listener.seen if name == "moa"] == EVENTS


def test_a_mixture_inside_a_mixture_is_one_member(moa: ChatMoA) -> None:
    members: list[Any] = [moa, create_agent(moa, tools=[])]
    outer = ChatMoA(proposers=members, aggregator=moa, num_layers=1)
    alone = ["proposing"] * 2 + ["proposed"] * 2 + ["merged", "aggregating", "aggregated"]
    assert names(streamed(create_moa(outer).compile())) == alone
    assert names(streamed(create_agent(outer, tools=[]))) == alone
