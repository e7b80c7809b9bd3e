"""Threads that were saved by release 0.1 can be read and continued.

`tests/data/threads-0.1.sqlite` was made with it: a mixture of two proposers in two layers, with one thread whose first turn is
finished and one that was interrupted before `merge_1`.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_moa import Proposer, create_moa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.runnables import RunnableConfig

    from tests.loopback import Loopback

SAVED = Path(__file__).parents[1] / "data" / "threads-0.1.sqlite"
FINISHED: RunnableConfig = {"configurable": {"thread_id": "finished"}}
INTERRUPTED: RunnableConfig = {"configurable": {"thread_id": "interrupted"}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A copy of the file."""
    return Path(shutil.copy(SAVED, tmp_path / "threads.sqlite"))


def graph_of(loopback: Loopback, saver: Any) -> Any:
    """Return today's graph of the mixture that saved the threads."""
    proposers = [Proposer(loopback.chat(name), name=name) for name in ("first", "second")]
    loopback.script("first", "first says it again")
    loopback.script("second", "second says it again")
    loopback.script("aggregator", "The answer of today.")
    return create_moa(proposers=proposers, aggregator=loopback.chat("aggregator"), num_layers=2).compile(checkpointer=saver)


@contextmanager
def opened(path: Path) -> Iterator[SqliteSaver]:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


@asynccontextmanager
async def opened_async(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


def test_the_file_is_what_it_says() -> None:
    connection = sqlite3.connect(f"file:{SAVED}?mode=ro&immutable=1", uri=True)
    try:
        threads = {thread for (thread,) in connection.execute("SELECT DISTINCT thread_id FROM checkpoints")}
    finally:
        connection.close()
    assert threads == {"finished", "interrupted"}


def test_a_saved_state_is_read(loopback: Loopback, saved: Path) -> None:
    with opened(saved) as saver:
        state = graph_of(loopback, saver).get_state(FINISHED)
    assert [message.text for message in state.values["messages"]] == ["Why is the sky blue?", "The answer of 0.1."]
    assert {(each["layer"], each["name"], each["status"]) for each in state.values["references"]} == {
        (layer, name, "ok") for layer in (1, 2) for name in ("first", "second")
    }
    assert state.next == ()
    assert loopback.requests == []


def test_the_history_of_a_saved_thread_is_read(loopback: Loopback, saved: Path) -> None:
    with opened(saved) as saver:
        history = list(graph_of(loopback, saver).get_state_history(FINISHED))
    assert history[0].next == ()
    assert history[-1].next == ("__start__",)


def test_an_interrupted_run_is_continued(loopback: Loopback, saved: Path) -> None:
    with opened(saved) as saver:
        graph = graph_of(loopback, saver)
        assert graph.get_state(INTERRUPTED).next == ("merge_1",)
        answer = graph.invoke(None, INTERRUPTED)
        assert graph.get_state(INTERRUPTED).next == ()
    check_continued(loopback, answer)


async def test_an_interrupted_run_is_continued_async(loopback: Loopback, saved: Path) -> None:
    async with opened_async(saved) as saver:
        answer = await graph_of(loopback, saver).ainvoke(None, INTERRUPTED)
    check_continued(loopback, answer)


def check_continued(loopback: Loopback, answer: Any) -> None:
    """Layer 1 was answered with 0.1; layer 2 reads its references."""
    assert sorted(loopback.models) == ["aggregator", "first", "second"]
    assert all("second says: because it is so." in request.system for request in loopback.calls("first"))
    assert answer["messages"][-1].text == "The answer of today."
    account = answer["messages"][-1].response_metadata["moa"]["layers"]
    assert [[each["status"] for each in layer] for layer in account] == [["ok", "ok"], ["ok", "ok"]]


def test_a_second_turn_is_asked(loopback: Loopback, saved: Path) -> None:
    with opened(saved) as saver:
        graph = graph_of(loopback, saver)
        answer = graph.invoke({"messages": [HumanMessage("And at night?")]}, FINISHED)
    check_second_turn(loopback, answer)


async def test_a_second_turn_is_asked_async(loopback: Loopback, saved: Path) -> None:
    async with opened_async(saved) as saver:
        answer = await graph_of(loopback, saver).ainvoke({"messages": [HumanMessage("And at night?")]}, FINISHED)
    check_second_turn(loopback, answer)


def check_second_turn(loopback: Loopback, answer: Any) -> None:
    """Every model is sent the first turn as well, without its references."""
    assert sorted(loopback.models) == ["aggregator", "first", "first", "second", "second"]
    for request in loopback.requests:
        spoken = [message["content"] for message in request.body["messages"] if message["role"] != "system"]
        assert spoken == ["Why is the sky blue?", "The answer of 0.1.", "And at night?"]
        assert "because it is so" not in request.system
    assert [message.text for message in answer["messages"]][-2:] == ["And at night?", "The answer of today."]
