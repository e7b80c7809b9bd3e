"""A checkpoint contains plain data and LangChain's messages only, so LangGraph resumes without warnings."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langgraph.checkpoint.serde.event_hooks import register_serde_event_listener

from langchain_moa import ChatMoA, Choice, Proposer, Retry, create_moa
from tests.integration_tests.matrix.panel import behave
from tests.integration_tests.resilience.test_resuming import QUESTION, SQLITE, THREAD, Savers
from tests.loopback import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

numpy = pytest.importorskip("numpy")


def scored(_: Any, references: Any) -> Choice:
    """Choose with reasons that are numpy values."""
    return Choice(references[0], {"score": numpy.float64(0.5), "votes": numpy.int64(2), "all": numpy.array([0.5, 1.5])})


def says_enough(_: Any) -> Any:
    return numpy.bool_(True)  # noqa: FBT003  # what a comparison of numpy's returns


def graded(layer: Any) -> Any:
    return [{**reference, "grade": numpy.float32(0.5), "grades": {"all": [numpy.int64(1)]}} for reference in layer.references]


FAKE = DeterministicFakeEmbedding(size=8)
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "limits": {
        "quorum": 2,
        "deadline": 3600,
        "proposer_timeout": 600,
        "retry": Retry(initial=0),
        "max_concurrency": 4,
        "max_cost_usd": 1.0,
    },
    **{name: {"aggregation": name} for name in ("select", "consistent", "vote", "medoid", "analyze", "rank", "sequential")},
    **{name: {"reference_filters": [name]} for name in ("duplicates", "outliers", "judge", "moderator", "shuffled")},
    "embeddings": {"reference_filters": [{"diverse": {"keep": 2, "similarity": FAKE}}], "stop_when": "residual"},
    "agreement": {"stop_when": "agreement"},
    "moderated stop": {"stop_when": "moderator"},
    "a reason of numpy's": {"stop_when": says_enough},
    "scores of numpy's": {"aggregation": scored},
    "grades of numpy's": {"reference_filters": [graded]},
}


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """LangGraph's warnings about unknown types, including those that it shows only once per process."""
    heard: list[Any] = []
    unregister = register_serde_event_listener(heard.append)
    yield heard
    unregister()


@pytest.fixture(params=["memory, sync", "memory, async", "sqlite, sync", "sqlite, async"])
def savers(request: pytest.FixtureRequest, tmp_path: Path) -> Savers:
    return Savers(request.param, tmp_path)


async def step_by_step(savers: Savers, build: Any, question: Any) -> Any:
    """Run a graph that stops before every node, each time with a new graph and a new saver."""
    async with savers.opened() as saver:
        graph = build().compile(checkpointer=saver, interrupt_before="*")
        result = graph.invoke(question, THREAD) if savers.is_sync else await graph.ainvoke(question, THREAD)
        state = graph.get_state(THREAD) if savers.is_sync else await graph.aget_state(THREAD)
    return result if not state.next else await step_by_step(savers, build, None)


@pytest.mark.parametrize("case", CASES)
async def test_a_run_is_resumed_without_a_word(
    loopback: Loopback, chat: Chat, savers: Savers, told: list[Any], caplog: pytest.LogCaptureFixture, case: str
) -> None:
    behave(loopback)

    def build() -> Any:
        proposers: list[Any] = [chat("p1"), Proposer(chat("p2"), name="second"), chat("broken")]
        return create_moa(proposers, chat("agg"), num_layers=2, **CASES[case])

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(2):
            result = await step_by_step(savers, build, QUESTION)
            assert result["messages"][-1].text
    assert [record for record in caplog.records if record.name.startswith("langgraph")] == []
    assert [str(each.message) for each in warned if "langgraph" in each.filename or "unregistered" in str(each.message)] == []
    assert told == []


@pytest.mark.parametrize("inner", ["chat model", "graph"])
async def test_a_mixture_inside_is_resumed_without_a_word(
    loopback: Loopback, chat: Chat, savers: Savers, told: list[Any], inner: str
) -> None:
    loopback.script("broken", Reply("our fault", status=500))

    def build() -> Any:
        parts: Any = {"proposers": [chat("a"), chat("broken")], "aggregator": chat("inner"), "num_layers": 1}
        member = ChatMoA(**parts) if inner == "chat model" else create_moa(**parts).compile()
        failing = ChatMoA(proposers=[chat("broken")], aggregator=chat("inner"), num_layers=1)
        return create_moa([member, failing], member, num_layers=1)

    result = await step_by_step(savers, build, QUESTION)
    assert [reference["status"] for reference in result["references"]] == ["ok", "failed"]
    assert told == []


PROCESS = """
import logging, sys, warnings
from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.sqlite import SqliteSaver
from langchain_moa import Retry, create_moa

logging.basicConfig(level=logging.WARNING)
warnings.simplefilter("always")
one = FakeListChatModel(responses=["a draft"])
builder = create_moa([one, one], one, num_layers=1, deadline=3600, retry=Retry(), reference_filters=["duplicates"])
with SqliteSaver.from_conn_string(sys.argv[1]) as saver:
    graph = builder.compile(checkpointer=saver, interrupt_before="*")
    thread = {"configurable": {"thread_id": "1"}}
    for _ in range(int(sys.argv[2])):
        state = graph.get_state(thread)
        graph.invoke(None if state.next else {"messages": [("user", "Hi")]}, thread)
        print(graph.get_state(thread).next)
"""


def test_another_process_resumes_it_without_a_word(tmp_path: Path) -> None:
    pytest.importorskip("langgraph.checkpoint.sqlite", reason=SQLITE)
    root, said = Path(__file__).parents[3], list[str]()
    for steps in ("1", "3"):
        command = [sys.executable, "-c", PROCESS, str(tmp_path / "checkpoints.sqlite"), steps]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603  # of our own making
        assert [line for line in done.stderr.splitlines() if "ResourceWarning" not in line] == []
        said += done.stdout.splitlines()
    assert len(said) == 4
    assert said[-1] == "()"
