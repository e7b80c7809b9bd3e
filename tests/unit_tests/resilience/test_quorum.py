"""When a layer closes, and who shares its round."""

from __future__ import annotations

import asyncio
import gc
import math
from operator import add
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from langchain_moa import Mixture, create_moa
from langchain_moa.resilience.quorum import Closing, Round, Rounds, quorum_of

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

FAKE = FakeListChatModel(responses=["an answer"])


@pytest.mark.parametrize(
    ("quorum", "size", "number"),
    [(None, 4, None), (1, 4, 1), (4, 4, 4), (0.75, 4, 3), (0.5, 5, 3), (1.0, 6, 6), (0.01, 6, 1), (0.07, 100, 7), (0.3, 10, 3)],
)
def test_a_quorum_is_a_number_or_a_share_rounded_up(quorum: float | None, size: int, number: int | None) -> None:
    assert quorum_of(quorum, size) == number


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"quorum": 3}, "layer 1: quorum is 3, but a layer has 2 proposers; give a number from 1 to 2, or a share like 0.75"),
        ({"quorum": 0}, "layer 1: quorum is 0"),
        ({"quorum": -1}, "layer 1: quorum is -1"),
        ({"quorum": 1.5}, "layer 1: quorum is 1.5; give a number of proposers like 3, or a share of them like 0.75"),
        ({"quorum": 0.0}, "layer 1: quorum is 0.0"),
        ({"quorum": math.nan}, "layer 1: quorum is nan"),
        ({"quorum": 1, "min_references": 2}, "quorum asks for 1 answers in layer 1, but min_references for 2"),
        ({"min_references": 3}, "min_references is 3, but layer 1 has only 2 proposers; give 2 or less"),
        ({"quorum_grace": -1}, "quorum_grace"),
        ({"deadline": 0}, "deadline"),
        ({"proposer_timeout": math.inf}, "proposer_timeout"),
    ],
)
def test_an_impossible_rule_is_refused_at_construction(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        Mixture(proposers=[FAKE, FAKE], aggregator=FAKE, **options)


def test_a_quorum_is_checked_against_every_layer() -> None:
    with pytest.raises(ValueError, match="layer 2: quorum is 2, but a layer has 1 proposers"):
        Mixture(proposers=[[FAKE, FAKE], [FAKE]], aggregator=FAKE, quorum=2)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """A clock that stands still, so that what is left can be told to the second."""
    for module in ("deadline", "quorum"):
        monkeypatch.setattr(f"langchain_moa.resilience.{module}.monotonic", lambda: 1000.0)
    return 1000.0


def left(current: Round) -> float:
    with current.joined("watcher", None) as limit:
        return limit.left()


def test_a_round_stays_open_until_the_quorum_is_there(now: float) -> None:
    current = Round(Closing(size=4, quorum=2, grace=60), None)
    assert left(current) == math.inf
    current.answered()
    assert left(current) == math.inf
    current.answered()
    assert left(current) == 60


def test_a_later_answer_does_not_put_the_end_off() -> None:
    current = Round(Closing(size=4, quorum=1, grace=60), None)
    current.answered()
    before = left(current)
    current.answered()
    assert left(current) <= before


def test_those_inside_hear_of_the_end() -> None:
    current = Round(Closing(size=2, quorum=1, grace=0), None)
    with current.joined("one", 60) as one, current.joined("two", None) as two:
        heard: list[str] = []
        with one.telling(lambda: heard.append("one")), two.telling(lambda: heard.append("two")):
            current.answered()
        assert sorted(heard) == ["one", "two"]
        assert one.kind == two.kind == "quorum"
        assert one.left() <= 0


def test_a_proposers_own_limit_counts_where_it_is_the_nearer(now: float) -> None:
    current = Round(Closing(size=2, quorum=1, grace=60), None)
    with current.joined("one", 5) as limit:
        limit.begin()
        current.answered()
        assert limit.kind == "timeout"
        assert limit.left() == 5


def test_a_deadline_is_shared_by_the_layers_and_the_aggregator(now: float) -> None:
    # 90 s for two layers and the aggregator: 30 s each.
    rules: Any = {"size": 2, "deadline": 90.0, "layers": 2}
    first = Round(Closing(**rules, layer=1), None)
    assert left(first) == 60, "without any answer it waits up to the aggregator's share"
    first.answered()
    assert left(first) == 30
    # The first layer took 10 s of its 30: what it left is shared by the two that follow.
    second = Round(Closing(**rules, layer=2), now - 10)
    second.answered()
    assert left(second) == 50


def test_whoever_is_late_is_told_what_for_whether_it_was_there_before_or_not() -> None:
    current = Round(Closing(size=4, quorum=2, grace=1.5), None)
    with current.joined("one", None) as before:
        current.answered()
        current.answered()
    with current.joined("two", None) as after:
        why = "it had not answered 1.5 s after 2 of its layer's 4 proposers had"
        assert [(limit.kind, limit.why) for limit in (before, after)] == [("quorum", why)] * 2
    current = Round(Closing(size=2, deadline=90, layers=2), None)
    with current.joined("one", None) as limit:
        why = "it had not answered when its layer's part of the deadline (90 s) was over"
        assert (limit.kind, limit.why) == ("deadline", why)
        at_the_latest = limit.at
        current.answered()
        assert limit.at < at_the_latest
        assert (limit.kind, limit.why) == ("deadline", why)


def test_a_layer_whose_share_is_over_closes_with_the_first_answer_that_makes_it_enough(now: float) -> None:
    late = Round(Closing(size=3, enough=2, deadline=90, layers=1), now - 44)
    late.answered()
    assert left(late) == 1
    hopeless = Round(Closing(size=3, deadline=90, layers=1), now - 60)
    assert left(hopeless) <= 0


class State(TypedDict):
    seen: Annotated[list[tuple[str, int, bool]], add]


class Meeting:
    """Nodes that join their layer's round, and say which it was."""

    def __init__(self, size: int) -> None:
        self.rounds = Rounds(Closing(size=size, quorum=size))
        self.met: list[Round] = []
        self.width = size

    def node(self, name: str) -> Any:
        def meet(state: State) -> dict[str, Any]:
            with self.rounds.joined(None, None) as (current, _limit):
                first = current not in self.met
                self.met.append(current)
                return {"seen": [(name, id(current), first)]}

        return meet

    def graph(self, **options: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
        builder = StateGraph(State)
        for number in range(self.width):
            builder.add_node(f"node_{number}", self.node(f"node_{number}"))
            builder.add_edge(START, f"node_{number}")
            builder.add_edge(f"node_{number}", END)
        return builder.compile(**options)

    def forget(self) -> None:
        self.met.clear()

    @property
    def kept(self) -> int:
        gc.collect()
        return len(self.rounds._open) + sum(len(held) for held in self.rounds._held.values())


@pytest.mark.parametrize("max_concurrency", [None, 1, 2])
async def test_the_nodes_of_a_superstep_share_a_round(max_concurrency: int | None) -> None:
    meeting = Meeting(4)
    graph = meeting.graph()
    config: Any = {} if max_concurrency is None else {"max_concurrency": max_concurrency}
    for result in (graph.invoke({"seen": []}, config), await graph.ainvoke({"seen": []}, config)):
        assert len({current for _, current, _ in result["seen"]}) == 1
    assert len(set(map(id, meeting.met))) == 2
    meeting.forget()
    assert meeting.kept == 0


async def test_runs_at_the_same_time_do_not_share() -> None:
    meeting = Meeting(3)
    graph = meeting.graph()
    results = await asyncio.gather(*(graph.ainvoke({"seen": []}) for _ in range(20)))
    assert [len({current for _, current, _ in result["seen"]}) for result in results] == [1] * 20
    assert len(set(map(id, meeting.met))) == 20


async def test_runs_from_the_same_checkpoint_do_not_share() -> None:
    meeting = Meeting(3)
    graph = meeting.graph(checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"seen": []}, thread)
    first = [snapshot async for snapshot in graph.aget_state_history(thread)][-2].config
    meeting.forget()
    await asyncio.gather(*(graph.ainvoke(None, first) for _ in range(5)))
    assert len(set(map(id, meeting.met))) == 5


async def test_the_same_graph_twice_in_one_node_does_not_share() -> None:
    meeting = Meeting(3)
    graph = meeting.graph()

    async def twice(state: State) -> dict[str, Any]:
        await asyncio.gather(graph.ainvoke({"seen": []}), graph.ainvoke({"seen": []}))
        return {"seen": []}

    outer = StateGraph(State).add_node("twice", twice).add_edge(START, "twice").add_edge("twice", END).compile()
    await outer.ainvoke({"seen": []})
    assert len(set(map(id, meeting.met))) == 2


async def test_a_run_that_breaks_off_leaves_nothing_behind() -> None:
    meeting = Meeting(2)
    entered = asyncio.Event()

    async def hang(state: State) -> dict[str, Any]:
        with meeting.rounds.joined(None, None):
            entered.set()
            await asyncio.sleep(3600)
        return {}

    builder = StateGraph(State).add_node("hang", hang).add_edge(START, "hang").add_edge("hang", END)
    for _ in range(3):
        task = asyncio.create_task(builder.compile().ainvoke({"seen": []}))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        entered.clear()
    await asyncio.sleep(0)
    assert meeting.kept == 0


def test_the_clock_of_a_run_is_in_no_output_and_no_checkpoint() -> None:
    saver = InMemorySaver()
    graph = create_moa([FAKE, FAKE], FAKE, deadline=3600).compile(checkpointer=saver)
    thread: Any = {"configurable": {"thread_id": "1"}}
    question: Any = {"messages": [("user", "Hi")]}
    seen = list(graph.stream(question, thread, stream_mode=["updates", "values"]))
    assert all("started" not in str(item) for item in seen)
    assert "started" not in graph.get_state(thread).values
    assert all("started" not in str(snapshot) for snapshot in graph.get_state_history(thread))
