"""Between two layers, a person reads the references, edits or removes one, and the mixture continues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_sdk.errors import BadRequestError

from langchain_moa import create_moa
from tests.integration_tests.studio.conftest import Served, asking

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

GRAPH = "moa"
THREAD: Any = {"configurable": {"thread_id": "1"}}
QUESTION: Any = {"messages": [HumanMessage("Hi")]}


def edit(reference: Any) -> Any:
    return {**reference, "text": "a person says: Hello"}


def strike(reference: Any) -> Any:
    return {**reference, "text": "", "status": "failed", "error": {"kind": "struck", "message": "a person struck it"}}


def test_over_the_sdk_before_a_merge(served: Served) -> None:
    client = served.sync_client
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, GRAPH, input=asking("Hi"), interrupt_before=["merge_1"])
    assert sorted(served.models.models) == ["p", "q"]
    values: Any = client.threads.get_state(thread)["values"]
    first, second = values["references"]
    client.threads.update_state(thread, {"references": [edit(first), strike(second)]}, as_node="layer_1_proposer_1")
    state: Any = client.runs.wait(thread, GRAPH, input=None)
    assert state["messages"][-1]["content"] == "agg says: Hi"
    assert sorted(served.models.models) == ["agg", "p", "q"]
    assert served.models.calls("agg")[0].system.endswith("Responses from models:\n1. a person says: Hello")
    assert [each["status"] for each in state["references"]] == ["ok", "failed"]


def test_over_the_sdk_after_a_merge_of_an_assistant_with_more_layers(served: Served) -> None:
    client = served.sync_client
    assistant = client.assistants.create(GRAPH, context={"num_layers": 3})["assistant_id"]
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, assistant, input=asking("Hi"), interrupt_after=["merge_2"])
    stopped: Any = client.threads.get_state(thread)
    assert stopped["next"] == ["layer_3_proposer_1", "layer_3_proposer_2"]
    assert client.threads.get(thread)["status"] == "interrupted"
    client.threads.update_state(thread, {"merged": [edit(stopped["values"]["merged"][1])]})
    assert client.threads.get_state(thread)["next"] == stopped["next"]
    client.runs.wait(thread, assistant, input=None)
    assert sorted(served.models.models) == ["agg", "p", "p", "p", "q", "q", "q"]
    assert served.models.calls("p")[2].system.endswith("Responses from models:\n1. a person says: Hello")


def test_over_the_sdk_a_wrong_edit_is_refused_and_changes_nothing(served: Served) -> None:
    client = served.sync_client
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, GRAPH, input=asking("Hi"), interrupt_after=["merge_1"])
    values: Any = client.threads.get_state(thread)["values"]
    merged = values["merged"]
    for wrong in ([{"text": ""}], ["plain"], [{**merged[0], "text": " "}]):
        with pytest.raises(BadRequestError, match=r"merged: item 1"):
            client.threads.update_state(thread, {"merged": wrong})
    state: Any = client.runs.wait(thread, GRAPH, input=None)
    assert state["merged"] == merged
    assert served.models.calls("agg")[0].system.endswith("Responses from models:\n1. p says: Hi\n2. q says: Hi")


def test_over_the_sdk_nobody_is_asked_nothing(served: Served) -> None:
    failed: Any = served.sync_client.runs.wait(None, GRAPH, input={"messages": []}, raise_error=False)
    assert "`messages` is empty" in str(failed["__error__"])
    assert served.models.requests == []


def test_over_the_sdk_a_thread_that_cannot_go_on_is_an_error(served: Served) -> None:
    client = served.sync_client
    two: Any = {"num_layers": 2}
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, GRAPH, input=asking("Hi"), context=two, interrupt_after=["merge_1"])
    # Without the context, the graph has one layer, and no node that the thread waits for.
    failed: Any = client.runs.wait(thread, GRAPH, input=None, raise_error=False)
    assert "this thread cannot be resumed" in str(failed["__error__"])
    assert client.runs.list(thread)[0]["status"] == "error"
    assert sorted(served.models.models) == ["p", "q"]
    # With it, it continues.
    state: Any = client.runs.wait(thread, GRAPH, input=None, context=two)
    assert state["messages"][-1]["content"] == "agg says: Hi"
    assert sorted(served.models.models) == ["agg", "p", "p", "q", "q"]


@pytest.mark.parametrize("by", ["compile", "run"])
async def test_in_process_before_a_merge(loopback: Loopback, chat: Chat, by: str) -> None:
    stops: Any = {"interrupt_before": ["merge_1"]}
    builder = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=2)
    graph = builder.compile(InMemorySaver(), **(stops if by == "compile" else {}))
    await graph.ainvoke(QUESTION, THREAD, **({} if by == "compile" else stops))
    stopped = await graph.aget_state(THREAD)
    assert stopped.next == ("merge_1",)
    references = stopped.values["references"]
    changed = [edit(references[0]), strike(references[1])]
    await graph.aupdate_state(THREAD, {"references": changed}, as_node="layer_1_proposer_1")
    assert (await graph.aget_state(THREAD)).next == ("merge_1",)
    result = await graph.ainvoke(None, THREAD)
    assert result["messages"][-1].text == "agg says: Hi"
    assert loopback.calls("p")[1].system.endswith("Responses from models:\n1. a person says: Hello")
    assert sorted(loopback.models) == ["agg", "p", "p", "q", "q"]
    entry = result["messages"][-1].response_metadata["moa"]["layers"][0][1]
    assert (entry["status"], entry["error"]["kind"]) == ("failed", "struck")


def test_in_process_after_a_merge(loopback: Loopback, chat: Chat) -> None:
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile(InMemorySaver())
    graph.invoke(QUESTION, THREAD, interrupt_after=["merge_1"])
    merged = graph.get_state(THREAD).values["merged"]
    graph.update_state(THREAD, {"merged": [edit(merged[1])]})
    assert graph.get_state(THREAD).next == ("aggregator",)
    graph.invoke(None, THREAD)
    assert loopback.calls("agg")[0].system.endswith("Responses from models:\n1. a person says: Hello")
