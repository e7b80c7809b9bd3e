"""What the nodes of a run share: one `Progress` per run, which appears in no stream and no checkpoint."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from operator import add
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from langchain_moa import create_moa
from langchain_moa.engine.progress import ProgressChannel, progress_of
from langchain_moa.limits.quorum import Closing, Progress

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

FAKE = FakeListChatModel(responses=["an answer"])
MODES: Any = ["values", "updates", "custom", "messages", "tasks", "debug", "checkpoints"]


class Seen(TypedDict):
    seen: Annotated[list[str], add]


class WithProgress(Seen):
    progress: NotRequired[Annotated[Progress, ProgressChannel()]]


class Meeting:
    """Two supersteps whose nodes store the progress that they find, by the tag of their run."""

    def __init__(self, width: int = 3) -> None:
        self.width = width
        self.met: dict[str, list[Progress]] = {}

    def meet(self, state: Seen, config: RunnableConfig) -> dict[str, Any]:
        found = progress_of(config)
        self.met.setdefault((config.get("tags") or ["untagged"])[0], []).append(found)
        return {"seen": ["here"]}

    def graph(self, first: Any = None, **options: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
        builder = StateGraph(WithProgress, input_schema=Seen, output_schema=Seen)
        names = [f"node_{number}" for number in range(self.width)]
        for name in names:
            builder.add_node(name, self.meet, input_schema=Seen)
            builder.add_edge(START, name)
        builder.add_node("between", first or (lambda _: {"seen": []}), input_schema=Seen)
        builder.add_edge(names, "between")
        for name in names:
            builder.add_node(f"{name}_again", self.meet, input_schema=Seen)
            builder.add_edge("between", f"{name}_again")
            builder.add_edge(f"{name}_again", END)
        return builder.compile(**options)

    def progress(self, tag: str = "untagged") -> Progress:
        """Return the progress of a run, which all of its nodes found."""
        first, *others = self.met.pop(tag)
        assert len(others) == 2 * self.width - 1
        assert all(other is first for other in others)
        return first


def tagged(number: int) -> RunnableConfig:
    return {"tags": [f"run {number}"]}


def different(*progresses: Progress) -> bool:
    return len({id(each) for each in progresses}) == len(progresses)


@pytest.mark.parametrize("max_concurrency", [None, 1, 2])
async def test_the_nodes_of_a_run_share_it_and_the_next_run_has_another(max_concurrency: int | None) -> None:
    meeting = Meeting()
    graph = meeting.graph()
    config: RunnableConfig = {} if max_concurrency is None else {"max_concurrency": max_concurrency}
    found = []
    for _ in range(2):
        graph.invoke({"seen": []}, config)
        found.append(meeting.progress())
        await graph.ainvoke({"seen": []}, config)
        found.append(meeting.progress())
    assert different(*found)


async def test_runs_at_the_same_time_do_not_share() -> None:
    meeting = Meeting()
    graph = meeting.graph()
    await asyncio.gather(*(graph.ainvoke({"seen": []}, tagged(number)) for number in range(20)))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: graph.invoke({"seen": []}, tagged(number)), range(20, 40)))
    assert different(*(meeting.progress(f"run {number}") for number in range(40)))


async def test_runs_from_the_same_checkpoint_do_not_share() -> None:
    meeting = Meeting()
    graph = meeting.graph(checkpointer=InMemorySaver())
    graph.invoke({"seen": []}, {"configurable": {"thread_id": "1"}})
    found = [meeting.progress()]
    # The checkpoint before the first superstep.
    first: Any = list(graph.get_state_history({"configurable": {"thread_id": "1"}}))[-2].config
    await asyncio.gather(*(graph.ainvoke(None, {**first, **tagged(number)}) for number in range(5)))
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda number: graph.invoke(None, {**first, **tagged(number)}), range(5, 10)))
    assert different(*found, *(meeting.progress(f"run {number}") for number in range(10)))


async def test_the_same_graph_twice_in_one_node_does_not_share() -> None:
    meeting = Meeting()
    graph = meeting.graph()

    def twice(state: Seen) -> dict[str, Any]:
        graph.batch([{"seen": []}, {"seen": []}], [tagged(0), tagged(1)])
        return {"seen": []}

    async def atwice(state: Seen) -> dict[str, Any]:
        await asyncio.gather(graph.ainvoke({"seen": []}, tagged(0)), graph.ainvoke({"seen": []}, tagged(1)))
        return {"seen": []}

    # The node is in a graph that has its own progress.
    around = Meeting()
    outer = around.graph(RunnableLambda(twice, atwice))
    for run in ("sync", "async"):
        if run == "sync":
            outer.invoke({"seen": []})
        else:
            await outer.ainvoke({"seen": []})
        assert different(meeting.progress("run 0"), meeting.progress("run 1"), around.progress())


@pytest.mark.parametrize("run", ["sync", "async"])
async def test_a_graph_as_a_node_has_its_own(run: str) -> None:
    meeting, around = Meeting(), Meeting()
    outer = around.graph(meeting.graph())
    if run == "sync":
        outer.invoke({"seen": []})
    else:
        await outer.ainvoke({"seen": []})
    assert different(meeting.progress(), around.progress())


@pytest.mark.parametrize("run", ["sync", "async"])
async def test_a_run_that_is_resumed_begins_anew(run: str) -> None:
    meeting = Meeting()

    def ask(state: Seen) -> dict[str, Any]:
        return {"seen": [interrupt("Go on?")]}

    graph = meeting.graph(ask, checkpointer=InMemorySaver())
    thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
    inputs: list[Any] = [{"seen": []}, Command(resume="yes")]
    for given in inputs:
        if run == "sync":
            graph.invoke(given, thread)
        else:
            await graph.ainvoke(given, thread)
    met = meeting.met["untagged"]
    assert len(met) == 2 * meeting.width
    before, after = met[: meeting.width], met[meeting.width :]
    assert all(each is before[0] for each in before)
    assert all(each is after[0] for each in after)
    assert different(before[0], after[0])


def test_outside_of_a_run_there_is_a_new_one_each_time() -> None:
    assert different(progress_of(None), progress_of({}), progress_of({"configurable": {}}))


def test_a_graph_without_the_channel_has_a_new_one_for_each_node() -> None:
    found: list[Progress] = []

    def look(state: Seen, config: RunnableConfig) -> dict[str, Any]:
        found.append(progress_of(config))
        return {"seen": []}

    builder = StateGraph(Seen).add_node("one", look).add_node("two", look)
    builder.add_edge(START, "one").add_edge("one", "two").add_edge("two", END).compile().invoke({"seen": []})
    assert len(found) == 2
    assert different(*found)


def test_a_layers_round_is_opened_once_and_knows_when_the_answer_was_begun() -> None:
    progress, closing = Progress(), Closing(size=2, deadline=3600)
    before: Any = progress.started
    assert before is None
    first = progress.round("layer 1", closing)
    started = progress.started
    assert started is not None
    assert progress.round("layer 1", closing) is first
    assert progress.round("layer 2", closing) is not first
    assert progress.started == started
    assert Progress().round("layer 1", closing) is not first


@pytest.mark.parametrize("run", ["sync", "async"])
async def test_the_proposers_of_a_layer_are_in_one_round(run: str) -> None:
    """The answer of one closes the round for the other."""
    released = threading.Event()

    def hang(_: Any) -> str:
        released.wait()
        return "too late"

    async def ahang(_: Any) -> str:
        await asyncio.sleep(3600)
        return "too late"

    proposers: list[Any] = [FAKE, RunnableLambda(hang, ahang)]
    graph = create_moa(proposers, FAKE, num_layers=2, quorum=1, quorum_grace=0).compile()
    question: Any = {"messages": [("user", "Hi")]}
    try:
        state = graph.invoke(question) if run == "sync" else await graph.ainvoke(question)
    finally:
        released.set()
    assert [(each["layer"], each["status"]) for each in state["references"]] == [
        (1, "ok"),
        (1, "late"),
        (2, "ok"),
        (2, "late"),
    ]


OPTIONS: list[dict[str, Any]] = [
    {"deadline": 3600},
    {"quorum": 1, "quorum_grace": 3600},
    {"aggregation": "rank", "quorum": 1, "quorum_grace": 3600},
    {},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("run", ["sync", "async"])
async def test_it_is_in_no_stream_and_no_checkpoint(run: str, options: dict[str, Any]) -> None:
    saver = InMemorySaver()
    graph = create_moa([FAKE, FAKE], FAKE, **options).compile(checkpointer=saver)
    thread: Any = {"configurable": {"thread_id": "1"}}
    question: Any = {"messages": [("user", "Hi")]}
    if run == "sync":
        seen: list[Any] = list(graph.stream(question, thread, stream_mode=MODES, subgraphs=True))
        output = graph.invoke(question, thread)
        snapshots = [graph.get_state(thread), *graph.get_state_history(thread)]
    else:
        seen = [item async for item in graph.astream(question, thread, stream_mode=MODES, subgraphs=True)]
        output = await graph.ainvoke(question, thread)
        snapshots = [await graph.aget_state(thread), *[each async for each in graph.aget_state_history(thread)]]
    assert {item[1] for item in seen} >= {"values", "updates", "custom", "tasks", "debug", "checkpoints"}
    stored = [str(each) for each in saver.list(thread)]
    assert len(stored) > 4
    for text in [*map(str, seen), str(output), *map(str, snapshots), *stored, str(saver.blobs), str(saver.writes)]:
        assert "progress" not in text.lower()
    graph.update_state(thread, {"messages": [("user", "And then?")]}, as_node="__start__")
    assert "progress" not in str(graph.get_state(thread)).lower()


def test_it_is_in_no_schema() -> None:
    graph = create_moa([FAKE, FAKE], FAKE, deadline=3600).compile()
    schemas = [graph.get_input_jsonschema(), graph.get_output_jsonschema()]
    assert "progress" not in str(schemas).lower()
    assert "progress" not in graph.get_graph(xray=True).draw_mermaid().lower()
