"""A mixture on a server, through `RemoteGraph`: as your own graph, and as a proposer of another mixture."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk.client import LangGraphClient

from langchain_moa import ChatMoA, Proposer, create_moa
from tests.integration_tests.studio.conftest import Served, asking
from tests.loopback import Reply, Usage

THREAD: Any = {"configurable": {"thread_id": "1"}}
QUESTION: Any = {"messages": [HumanMessage("Hi")]}


@pytest.fixture
def remote(served: Served, client: LangGraphClient) -> RemoteGraph:
    return RemoteGraph("moa", client=client, sync_client=served.sync_client)


def test_a_client_asks_a_mixture_elsewhere(served: Served, remote: RemoteGraph) -> None:
    thread: Any = {"configurable": {"thread_id": str(served.sync_client.threads.create()["thread_id"])}}
    told: Any = remote.stream(asking("Hi"), thread, stream_mode="messages")
    chunks = [message["content"] for message, metadata in told if metadata["langgraph_node"] == "aggregator"]
    assert "".join(chunks) == "agg says: Hi"
    state: Any = remote.invoke(asking("And you?"), thread, context={"aggregator": "openai:other"})
    assert state["messages"][-1]["content"] == "other says: And you?"
    assert len(remote.get_state(thread).values["messages"]) == 4
    assert "merge_1" in remote.get_graph().draw_mermaid()


@pytest.mark.parametrize(("way", "turns"), [("invoke", ["Hi"]), ("ainvoke", ["Hi", "And you?"])])
async def test_a_proposer_may_be_on_another_machine(
    served: Served, client: LangGraphClient, remote: RemoteGraph, way: str, turns: list[str]
) -> None:
    """It is asked as often as any other member, and its server's threads are independent of ours."""
    threads = len(await client.threads.search(limit=1000))
    chat = served.models.chat
    graph = create_moa([chat("x"), remote], chat("out"), num_layers=2).compile(InMemorySaver())
    for text in turns:
        question: Any = {"messages": [HumanMessage(text)]}
        if way == "invoke":
            result = await asyncio.to_thread(graph.invoke, question, THREAD)
        else:
            result = await graph.ainvoke(question, THREAD)
        assert [(each["name"], each["text"]) for each in result["references"]] == [
            ("openai:x", f"x says: {text}"),
            ("moa", f"agg says: {text}"),
        ] * 2
        assert served.models.calls("out")[-1].system.endswith(f"1. x says: {text}\n2. agg says: {text}")
        # The paper's prompt of the second layer reaches the remote proposers, and the history has every message once.
        assert served.models.calls("p")[-1].system.endswith(f"1. x says: {text}\n2. agg says: {text}")
        history = [message["content"] for message in served.models.calls("p")[-2].messages]
        assert history == (["Hi"] if text == "Hi" else ["Hi", "out says: Hi", "And you?"])
    assert len(await client.threads.search(limit=1000)) == threads


def test_all_tokens_that_were_paid_for_there_are_counted(served: Served, remote: RemoteGraph) -> None:
    served.models.script("p", Reply("a", usage=Usage(prompt=1, completion=10)))
    served.models.script("q", Reply("b", usage=Usage(prompt=2, completion=20)))
    served.models.script("agg", Reply("c", usage=Usage(prompt=4, completion=40)))
    graph = create_moa([remote], served.models.chat("out"), num_layers=1).compile()
    usage = graph.invoke(QUESTION)["references"][0]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 70)


async def test_what_streams_there_does_not_mix_with_what_streams_here(served: Served, remote: RemoteGraph) -> None:
    graph = create_moa([remote], served.models.chat("out"), num_layers=1).compile()
    stream: Any = graph.astream(QUESTION, stream_mode="custom", subgraphs=True)
    events = [part async for part in stream]
    assert [data["moa"] for _, data in events] == ["proposing", "proposed", "merged", "aggregating", "aggregated"]


async def test_a_chat_model_may_hold_one_with_a_name_of_its_own(served: Served, remote: RemoteGraph) -> None:
    moa = ChatMoA(proposers=[Proposer(remote, name="Berlin")], aggregator=served.models.chat("out"), num_layers=1)
    answer = await moa.ainvoke("Hi")
    assert answer.text == "out says: Hi"
    assert answer.response_metadata["moa"]["layers"][0][0]["name"] == "Berlin"
    assert "RemoteGraph" not in repr(moa)


async def test_what_fails_there_is_a_failed_reference_here(
    served: Served, client: LangGraphClient, remote: RemoteGraph
) -> None:
    served.models.script("agg", Reply("our fault", status=400))
    chat = served.models.chat
    async with LangGraphClient(httpx.AsyncClient(base_url="http://127.0.0.1:9", trust_env=False)) as nowhere:
        gone = RemoteGraph("moa", client=nowhere, name="gone")
        proposers = [chat("x"), remote, RemoteGraph("nobody", client=client), gone]
        result = await create_moa(proposers, chat("out"), num_layers=1).compile().ainvoke(QUESTION)
    first, failed, unknown, unreachable = result["references"]
    assert first["status"] == "ok"
    assert failed["error"]["kind"] == "RemoteException"
    assert "AggregatorModelInvalidRequestError" in failed["error"]["message"]
    assert "openai:agg" in failed["error"]["message"]
    assert "nobody" in unknown["error"]["message"]
    assert (unreachable["name"], unreachable["error"]["kind"]) == ("gone", "ConnectError")


async def test_a_cancelled_answer_ends_the_run_there(served: Served, remote: RemoteGraph) -> None:
    served.models.script("p", Reply(hang=True))
    graph = create_moa([remote], served.models.chat("out"), num_layers=1).compile()
    task = asyncio.create_task(graph.ainvoke(QUESTION))
    await asyncio.to_thread(served.models.wait_for, 1, "p")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(served.models.settle)
    assert served.models.calls("p")[0].disconnected
    assert "agg" not in served.models.models
