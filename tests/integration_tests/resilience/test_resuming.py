"""With a checkpointer, answers that are paid for are not paid for again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from langchain_moa import AggregatorFailedError, ProposersFailedError, create_moa
from tests.loopback import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from langgraph.checkpoint.base import BaseCheckpointSaver

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

QUESTION: Any = {"messages": [("user", "Hi")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}
SQLITE = "langgraph-checkpoint-sqlite is not installed"


class Savers:
    """A store of checkpoints; each time it is opened, there is a new saver, as in a new process."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.is_sync = kind in {"memory, sync", "sqlite, sync"}
        self._kind = kind
        self._file = str(folder / "checkpoints.sqlite")
        self._memory = InMemorySaver()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        if self._kind == "sqlite, sync":
            sqlite = pytest.importorskip("langgraph.checkpoint.sqlite", reason=SQLITE)
            with sqlite.SqliteSaver.from_conn_string(self._file) as saver:
                yield saver
        elif self._kind == "sqlite, async":
            sqlite = pytest.importorskip("langgraph.checkpoint.sqlite.aio", reason=SQLITE)
            async with sqlite.AsyncSqliteSaver.from_conn_string(self._file) as saver:
                yield saver
        else:
            yield self._memory

    async def run(self, builder: Any, question: Any) -> Any:
        async with self.opened() as saver:
            graph = builder.compile(checkpointer=saver)
            return graph.invoke(question, THREAD) if self.is_sync else await graph.ainvoke(question, THREAD)


@pytest.fixture(params=["memory, sync", "memory, async", "sqlite, sync", "sqlite, async"])
def savers(request: pytest.FixtureRequest, tmp_path: Path) -> Savers:
    return Savers(request.param, tmp_path)


@pytest.fixture(params=["plain", "limits"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {} if request.param == "plain" else {"quorum": 2, "deadline": 3600, "retry": {"attempts": 1}}


async def test_after_an_aggregator_that_failed_no_proposer_is_asked_again(
    loopback: Loopback, chat: Chat, savers: Savers, options: dict[str, Any]
) -> None:
    loopback.script("agg", [Reply("our fault", status=500), Reply("at last")])
    builder = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=2, **options)
    with pytest.raises(AggregatorFailedError):
        await savers.run(builder, QUESTION)
    result = await savers.run(builder, None)
    assert result["messages"][-1].text == "at last"
    assert sorted(loopback.models) == ["agg", "agg", "p", "p", "q", "q"]
    first, second = loopback.calls("agg")
    assert first.messages == second.messages
    assert result["messages"][-1].response_metadata["moa"]["calls"] == 5


async def test_after_a_layer_with_too_few_answers_no_proposer_is_asked_again(
    loopback: Loopback, chat: Chat, savers: Savers
) -> None:
    loopback.script("q", Reply("our fault", status=500))
    strict = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1, min_references=2)
    with pytest.raises(ProposersFailedError):
        await savers.run(strict, QUESTION)
    # Now a single answer is enough.
    lenient = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1)
    result = await savers.run(lenient, None)
    assert result["messages"][-1].text == "agg says: Hi"
    assert sorted(loopback.models) == ["agg", "p", "q"]


async def test_after_a_cancelled_run_only_who_had_not_answered_is_asked_again(
    loopback: Loopback, chat: Chat, options: dict[str, Any]
) -> None:
    loopback.script("q", [Reply(hang=True), Reply("a draft")])
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1, **options).compile(checkpointer=InMemorySaver())
    events: Any = graph.astream(QUESTION, THREAD, stream_mode="updates")

    async def read() -> None:
        async for _ in events:
            answered.set()

    answered = asyncio.Event()
    task = asyncio.create_task(read())
    await answered.wait()
    await asyncio.to_thread(loopback.wait_for, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result = await graph.ainvoke(None, THREAD)
    assert result["messages"][-1].text == "agg says: Hi"
    assert loopback.models.count("p") == 1
    assert loopback.models.count("q") == 2
    assert loopback.calls("agg")[0].system.endswith("1. p says: Hi\n2. a draft")


async def test_a_new_turn_starts_with_its_own_time_and_references(loopback: Loopback, chat: Chat, savers: Savers) -> None:
    builder = create_moa([chat("p")], chat("agg"), num_layers=1, deadline=3600)
    await savers.run(builder, QUESTION)
    result = await savers.run(builder, {"messages": [("user", "And you?")]})
    assert result["messages"][-1].text == "agg says: And you?"
    assert loopback.calls("agg")[1].system.endswith("Responses from models:\n1. p says: And you?")


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_proposer_may_ask_a_person(loopback: Loopback, chat: Chat, options: dict[str, Any], way: str) -> None:
    """An interrupt inside a proposer is no failure, with or without limits; members that have answered are not asked again."""

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"a person says: {interrupt('what now?')}")]}

    agent = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END).compile()
    proposers: list[Any] = [chat("p"), agent]
    graph = create_moa(proposers, chat("agg"), num_layers=1, **options).compile(checkpointer=InMemorySaver())
    stopped = await asked(graph, way, QUESTION)
    assert [each.value for each in stopped["__interrupt__"]] == ["what now?"]
    result = await asked(graph, way, Command(resume="go on"))
    assert result["messages"][-1].text == "agg says: Hi"
    assert loopback.calls("agg")[0].system.endswith("1. p says: Hi\n2. a person says: go on")
    assert loopback.models == ["p", "agg"]


async def asked(graph: Any, way: str, question: Any) -> Any:
    return graph.invoke(question, THREAD) if way == "invoke" else await graph.ainvoke(question, THREAD)
