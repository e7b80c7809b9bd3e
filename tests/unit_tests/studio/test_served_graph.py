"""A served graph rejects runs that would cost something but answer nothing."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_moa import MoAError, create_moa
from langchain_moa.studio.served_graph import ServedGraph

THREAD: Any = {"configurable": {"thread_id": "1"}}


def served(*, layers: int = 1, saver: InMemorySaver | None = None, **options: Any) -> Any:
    model = FakeListChatModel(responses=["Blue."])
    graph = create_moa([model], model, num_layers=layers).compile(checkpointer=saver, **options)
    graph.__class__ = ServedGraph
    return graph


@pytest.mark.parametrize("saver", [None, InMemorySaver()], ids=["no threads", "threads"])
@pytest.mark.parametrize("question", [{}, {"messages": []}])
async def test_a_run_without_a_question_is_refused(saver: InMemorySaver | None, question: Any) -> None:
    with pytest.raises(MoAError, match="`messages` is empty"):
        await served(saver=saver).ainvoke(question, THREAD)


async def test_a_thread_that_has_messages_needs_no_new_one() -> None:
    graph = served(saver=InMemorySaver())
    await graph.ainvoke({"messages": [("user", "Why?")]}, THREAD)
    state = await graph.ainvoke({"messages": []}, THREAD)
    assert isinstance(state["messages"][-1], AIMessage)


async def test_a_thread_that_was_interrupted_goes_on() -> None:
    graph = served(saver=InMemorySaver(), interrupt_before=["aggregator"])
    await graph.ainvoke({"messages": [("user", "Why?")]}, THREAD)
    state = await graph.ainvoke(None, THREAD)
    assert state["messages"][-1].text == "Blue."


async def test_a_thread_that_waits_for_a_node_of_another_mixture_cannot_go_on() -> None:
    saver = InMemorySaver()
    begun = served(saver=saver, layers=2, interrupt_before=["layer_2_proposer_1"])
    await begun.ainvoke({"messages": [("user", "Why?")]}, THREAD)
    other = served(saver=saver)
    with pytest.raises(MoAError, match="this thread cannot be resumed: it waits for a node that this mixture does not have"):
        await other.ainvoke(None, THREAD)
