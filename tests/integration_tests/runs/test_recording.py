"""Recording: every answer of a mixture is a run, however it is asked, and nothing is recorded unless requested."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import ensure_config
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_moa import ChatMoA, MoAContext, MoAError, MoARun, Proposer, create_moa, record_moa
from langchain_moa.engine.tracing import handlers_of
from langchain_moa.runs import Recorder
from langchain_moa.runs.wording import wording_of
from tests.loopback import Reply
from tests.recorded_runs import a_graph
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from langchain_moa.runs import CallRecord
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


def _mixture(chat: Chat, **options: Any) -> ChatMoA:
    fields: dict[str, Any] = {"proposers": [chat("a"), chat("b")], "aggregator": chat("agg"), "num_layers": 2}
    return ChatMoA(**{**fields, **options})


def _places(run: MoARun) -> list[str]:
    return [call.node for call in run.calls]


NODES = ["layer_1_proposer_1", "layer_1_proposer_2", "layer_2_proposer_1", "layer_2_proposer_2", "aggregator"]


def test_an_answer_is_recorded_with_every_call(chat: Chat, loopback: Loopback) -> None:
    moa = _mixture(chat, proposers=[Proposer(chat("a"), name="first"), chat("b")], temperature=0.5)
    with record_moa() as runs:
        answer = moa.invoke("Why?", stop=["END"])
    (run,) = runs
    assert (run.status, run.error, run.text) == ("ok", None, answer.text)
    assert [message.text for message in run.question] == ["Why?"]
    assert _places(run) == NODES
    assert [(call.role, call.layer, call.proposer) for call in run.calls][::4] == [
        ("proposer", 1, 1),
        ("aggregator", None, None),
    ]
    assert [call.name for call in run.calls] == ["first", "openai:b", "first", "openai:b", "openai:agg"]
    assert [call.text for call in run.calls[:2]] == ["a says: Why?", "b says: Why?"]
    assert [call.kept for call in run.calls] == [True, True, True, True, None]
    assert run.tokens == (
        answer.response_metadata["moa"]["usage"]["input_tokens"],
        answer.response_metadata["moa"]["usage"]["output_tokens"],
    )
    assert run.parameters == {"stop": ["END"]}
    assert run.mixture is not None
    assert run.mixture["temperature"] == 0.5
    assert run.graph is not None
    assert {"layer_2_proposer_1", "merge_1", "aggregator"} <= {node.id for node in run.graph.nodes}
    assert MoARun.from_json(run.to_json()) == run
    # The prompts are the ones that were sent.
    for call in run.calls:
        sent = [request.messages for request in loopback.calls(call.model.partition(":")[2])]
        shown = [
            {"role": {"human": "user"}.get(message.type, message.type), "content": message.content} for message in call.prompt
        ]
        assert shown in sent


def test_the_settings_are_those_that_were_sent(chat: Chat, loopback: Loopback) -> None:
    loopback.script("bad", Reply("out of order", status=400))
    with record_moa() as runs:
        moa = _mixture(chat, proposers=[chat("a", max_completion_tokens=5), chat("bad")], num_layers=1, max_tokens=20)
        list(moa.stream("Why?", stop=["END"]))
    first, bad, last = runs[0].calls
    for call in (first, last):
        (sent,) = (request.body for request in loopback.calls(call.model.partition(":")[2]))
        wire = {"max_completion_tokens": "max_tokens"}  # LangChain's name for it, whatever a provider calls it
        named = {wire.get(name, name): value for name, value in sent.items() if name not in {"messages", "stream_options"}}
        assert call.settings == named
    assert last.settings["stream"] is True
    # No answer arrived, so it is not known whether it streamed.
    assert bad.settings == {"model": "bad", "stop": ["END"], "max_tokens": 20}


def test_times_are_in_order(chat: Chat) -> None:
    with record_moa() as runs:
        list(_mixture(chat).stream("Why?"))
    (run,) = runs
    for call in run.calls:
        (attempt,) = call.attempts
        assert call.queued is not None
        assert call.done is not None
        assert 0 <= call.queued <= attempt.started <= call.done <= run.seconds
    assert [call.first_token is not None for call in run.calls] == [False, False, False, False, True]
    ends = [call.done or 0 for call in run.calls]
    begins = [call.queued or 0 for call in run.calls]
    assert max(ends[:2]) <= min(begins[2:4])
    assert max(ends[2:4]) <= begins[4]


def test_first_tokens_of_all_are_seen_where_that_is_asked_for(chat: Chat, loopback: Loopback) -> None:
    with record_moa(first_tokens=True) as runs:
        _mixture(chat).invoke("Why?")
    assert all(call.first_token is not None and call.text for call in runs[0].calls)
    assert all(request.stream for request in loopback.requests)


async def test_every_way_to_ask_is_recorded(chat: Chat) -> None:
    moa = _mixture(chat, num_layers=1)
    graph: Any = create_moa(moa).compile()
    asked = {"messages": [("user", "graph")]}
    with record_moa() as runs:
        moa.invoke("invoke")
        await moa.ainvoke("ainvoke")
        list(moa.stream("stream"))
        async for _ in moa.astream("astream"):
            pass
        await moa.abatch(["abatch", "abatch"])
        moa.batch(["batch", "batch"])
        graph.invoke(asked)
        await graph.ainvoke(asked)
        list(graph.stream(asked, stream_mode="custom", context=MoAContext(stream_answer=True)))
        async for _ in graph.astream(asked):
            pass
        await asyncio.gather(*(graph.ainvoke(asked) for _ in range(3)))
    assert [run.question[0].text for run in runs] == (
        ["invoke", "ainvoke", "stream", "astream", "abatch", "abatch", "batch", "batch"] + ["graph"] * 7
    )
    for run in runs:
        assert run.status == "ok"
        assert _places(run) == [*NODES[:2], "aggregator"]
        assert [call.text for call in run.calls] == [f"{name} says: {run.question[0].text}" for name in ("a", "b", "agg")]


def test_nothing_is_recorded_outside_of_the_block(chat: Chat) -> None:
    seen: list[Any] = []

    def spy(_: Any) -> str:
        seen.extend(handlers_of(ensure_config()["callbacks"]))
        return "said"

    moa = _mixture(chat, proposers=[RunnableLambda(spy)], num_layers=1)
    with record_moa() as runs:
        pass
    moa.invoke("Why?")
    assert runs == []
    assert not [handler for handler in seen if isinstance(handler, Recorder)]


async def test_blocks_at_the_same_time_record_for_themselves(chat: Chat) -> None:
    moa = _mixture(chat, num_layers=1)

    async def ask(question: str) -> list[MoARun]:
        with record_moa() as runs:
            await moa.ainvoke(question)
        return runs

    found = await asyncio.gather(*(ask(f"question {number}") for number in range(4)))
    assert [[run.question[0].text for run in runs] for runs in found] == [[f"question {number}"] for number in range(4)]


def test_a_recorder_is_a_callback_too(chat: Chat) -> None:
    recorder, counter = Recorder(), Recorder()
    _mixture(chat).invoke("Why?", {"callbacks": [recorder]})
    graph: Any = create_moa([chat("a")], chat("agg"), num_layers=1).compile()
    graph.invoke({"messages": [("user", "Why?")]}, {"callbacks": [counter]})
    assert [_places(run) for run in recorder.runs] == [NODES]
    assert [len(run.calls) for run in counter.runs] == [2]
    gc.collect()
    assert not recorder._begun
    assert not recorder._recorders
    assert not recorder._calls


def test_a_mixture_in_a_mixture_is_in_its_call(chat: Chat) -> None:
    inner = _mixture(chat, proposers=[chat("deep")], aggregator=chat("inner"), num_layers=1)
    with record_moa() as runs:
        ChatMoA(proposers=[chat("a"), inner], aggregator=chat("agg"), num_layers=1).invoke("Why?")
    (run,) = runs
    assert [len(call.runs) for call in run.calls] == [0, 1, 0]
    (nested,) = run.calls[1].runs
    assert [call.model for call in nested.calls] == ["openai:deep", "openai:inner"]
    assert nested.text == run.calls[1].text
    assert MoARun.from_json(run.to_json()) == run


def test_a_mixture_in_a_graph_and_in_an_agent_is_a_run(chat: Chat) -> None:
    inside = create_moa([chat("a")], chat("agg"), num_layers=1).compile()
    outer = StateGraph(MessagesState)
    outer.add_node("moa", inside)
    outer.add_edge(START, "moa")
    outer.add_edge("moa", END)
    with record_moa() as runs:
        outer.compile().invoke({"messages": [HumanMessage("Why?")]})
        create_agent(_mixture(chat, num_layers=1)).invoke({"messages": [HumanMessage("Agent?")]})
    assert [(run.question[-1].text, len(run.calls)) for run in runs] == [("Why?", 2), ("Agent?", 3)]


@pytest.fixture
def troubled(chat: Chat, loopback: Loopback) -> ChatMoA:
    loopback.script("slow", Reply("late", hang=True))
    loopback.script("bad", Reply("out of order", status=400))
    loopback.script("flaky", [Reply("busy", status=503), "at last"])
    names = ("a", "slow", "bad", "flaky")
    return _mixture(
        chat,
        proposers=[Proposer(chat(name, max_retries=0), name=name) for name in names],
        num_layers=1,
        quorum=2,
        quorum_grace=0.01,
        retry={"initial": 0.01},
    )


def _check_troubled(run: MoARun) -> None:
    calls = {call.name: call for call in run.calls}
    assert {name: call.status for name, call in calls.items()} == {
        "a": "ok",
        "slow": "late",
        "bad": "failed",
        "flaky": "ok",
        "openai:agg": "ok",
    }
    assert [attempt.status for attempt in calls["flaky"].attempts] == ["failed", "ok"]
    assert calls["flaky"].retries == 1
    assert [attempt.status for attempt in calls["slow"].attempts] == ["cancelled"]
    assert _kind(calls["slow"]) == "quorum"
    assert "out of order" in (calls["bad"].error or {"message": ""})["message"]
    assert [calls[name].kept for name in ("a", "slow", "bad", "flaky")] == [True, False, False, True]
    assert len(run.outcome["degraded"]) == 2  # type: ignore[arg-type]  # a list
    assert MoARun.from_json(run.to_json()) == run


def _kind(call: CallRecord) -> str:
    return call.error["kind"] if call.error else ""


def test_failures_and_retries_are_recorded(troubled: ChatMoA) -> None:
    with record_moa() as runs:
        troubled.invoke("Why?")
    _check_troubled(runs[0])


async def test_failures_and_retries_are_recorded_async(troubled: ChatMoA) -> None:
    with record_moa() as runs:
        await troubled.ainvoke("Why?")
    _check_troubled(runs[0])


def test_what_a_client_tries_again_by_itself_is_said_to_be_unseen(chat: Chat, loopback: Loopback) -> None:
    loopback.script("flaky", [Reply("busy", status=503, headers={"retry-after": "0"}), "at last"])
    with record_moa() as runs:
        _mixture(chat, proposers=[chat("flaky", max_retries=1), chat("a")], num_layers=1).invoke("Why?")
        _mixture(chat, num_layers=1).invoke("Why?")
    hidden, seen = runs
    assert len(loopback.calls("flaky")) == 2
    assert [(call.retries, call.hides_attempts) for call in hidden.calls] == [(0, True), (0, False), (0, False)]
    assert "may have retried by itself" in hidden.to_html()
    assert "may have retried by itself" not in seen.to_html()


def test_a_run_without_an_answer_is_recorded(chat: Chat, loopback: Loopback) -> None:
    loopback.script("bad", Reply("out of order", status=400))
    with record_moa() as runs:
        with pytest.raises(MoAError):
            _mixture(chat, proposers=[chat("bad")]).invoke("Why?")
        with pytest.raises(MoAError):
            _mixture(chat, aggregator=chat("bad"), num_layers=1).invoke("Why?")
        _mixture(chat, aggregator=chat("bad"), aggregator_fallbacks=[chat("agg")], num_layers=1).invoke("Why?")
    proposers, aggregator, fallen_back = runs
    assert (proposers.status, proposers.answer) == ("failed", None)
    assert proposers.error is not None
    assert proposers.error["kind"] == "ProposersFailedError"
    assert aggregator.status == "failed"
    assert [call.status for call in aggregator.calls] == ["ok", "ok", "failed"]
    assert [(call.role, call.status) for call in fallen_back.calls[2:]] == [("aggregator", "failed"), ("aggregator", "ok")]


def test_a_call_that_a_fallback_followed_was_read_by_nobody(chat: Chat, loopback: Loopback) -> None:
    loopback.script("bad", Reply("out of order", status=400))
    with record_moa() as runs:
        _mixture(chat, proposers=[Proposer(chat("bad"), fallbacks=[chat("good")]), chat("b")], num_layers=1).invoke("Why?")
    calls = {call.model: call for call in runs[0].calls}
    assert (calls["openai:bad"].status, calls["openai:bad"].kept, calls["openai:bad"].shown_as) == ("failed", None, None)
    assert (calls["openai:good"].status, calls["openai:good"].kept) == ("ok", True)
    assert "Changed before it was read" not in runs[0].to_html()


async def test_a_run_that_is_left_is_recorded(chat: Chat, loopback: Loopback) -> None:
    loopback.script("slow", Reply("late", hang=True))
    with record_moa() as runs:
        task = asyncio.create_task(_mixture(chat, proposers=[chat("a"), chat("slow")]).ainvoke("Why?"))
        await asyncio.to_thread(loopback.wait_for, 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        loopback.script("long", Reply("a b c", after_chunks=1, hang=True))
        async for _ in (stream := _mixture(chat, aggregator=chat("long"), num_layers=1).astream("Why?")):
            break
        await stream.aclose()  # type: ignore[attr-defined]  # a generator, typed as an iterator
        # LangGraph reports a stream that was left after it has cleaned up.
        async with asyncio.timeout(PATIENCE):
            while len(runs) < 2:  # noqa: ASYNC110  # a list tells nobody that it has grown
                await asyncio.sleep(0.01)
    cancelled, left = runs
    assert (cancelled.status, cancelled.answer) == ("cancelled", None)
    assert [call.status for call in cancelled.calls][1] == "cancelled"
    assert left.status == "cancelled"
    assert left.calls[-1].first_token is not None


def test_the_calls_of_strategies_are_recorded(chat: Chat) -> None:
    def longest(messages: list[Any], references: list[Any]) -> Any:
        chat("helper").invoke("Which?")
        return max(references, key=lambda reference: len(reference["text"]))

    with record_moa() as runs:
        _mixture(chat, proposers=[chat("a"), chat("b"), chat("c")], aggregation="rank", num_layers=1).invoke("Why?")
        _mixture(chat, aggregation=longest, num_layers=1).invoke("Why?")
    rank, chosen = runs
    assert {call.role for call in rank.calls} == {"proposer", "step", "aggregator"}
    assert all(call.queued is not None and call.prompt for call in rank.calls)
    assert rank.calls[-1].role == "aggregator"
    assert [(call.role, call.model) for call in chosen.calls[2:]] == [("step", "openai:helper")]
    assert chosen.outcome["selected"]["name"] == "openai:a"  # type: ignore[index, call-overload]  # a mapping


def test_a_turn_of_an_agent_is_a_run_of_its_own(chat: Chat) -> None:
    moa = _mixture(chat, references_per="turn", num_layers=1)
    first = [HumanMessage("Why?")]
    with record_moa() as runs:
        answer = moa.invoke(first)
        moa.invoke([*first, answer])
    assert [len(run.calls) for run in runs] == [3, 1]
    assert runs[1].mixture == runs[0].mixture


def test_a_resumed_run_knows_what_was_paid_before(chat: Chat) -> None:
    builder = create_moa([chat("a")], chat("agg"), num_layers=1)
    graph: Any = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["aggregator"])
    thread: Any = {"configurable": {"thread_id": "1"}}
    with record_moa() as runs:
        graph.invoke({"messages": [("user", "Why?")]}, thread)
        graph.invoke(None, thread)
    waiting, resumed = runs
    assert (waiting.status, waiting.answer, len(waiting.calls)) == ("interrupted", None, 1)
    assert (resumed.status, resumed.text) == ("ok", "agg says: Why?")
    assert [(call.text, call.queued) for call in resumed.calls[:1]] == [("a says: Why?", None)]
    assert "before this run was resumed" in resumed.to_html()
    # It is the same mixture, although none of its layers ran this time.
    assert (resumed.mixture, resumed.config, resumed.graph) == (waiting.mixture, waiting.config, waiting.graph)
    assert {call.node for call in resumed.calls} <= {node.id for node in (resumed.graph or a_graph()).nodes}


@pytest.mark.parametrize("aggregation", ["synthesize", "rank", "medoid"])
def test_what_was_edited_and_struck_is_read_as_it_was_then(chat: Chat, loopback: Loopback, aggregation: str) -> None:
    names = [f"p{number}" for number in range(1, 11)]
    loopback.script("agg", Reply("The moon is a rock."))
    builder = create_moa([chat(name) for name in names], chat("agg"), num_layers=1, aggregation=aggregation)
    graph: Any = builder.compile(checkpointer=InMemorySaver(), interrupt_after=["merge_1"])
    thread: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"messages": [("user", "Why?")]}, thread)
    merged = graph.get_state(thread).values["merged"]
    edited = {**merged[1], "text": "The moon is a rock."}
    graph.update_state(thread, {"merged": [merged[9], edited]})
    with record_moa() as runs:
        graph.invoke(None, thread)
    (run,) = runs
    proposed = run.calls[:10]
    assert [call.node for call in proposed] == [f"layer_1_proposer_{number:02}" for number in range(1, 11)]
    assert [call.text for call in proposed] == [f"{name} says: Why?" for name in names]
    assert [call.name for call in proposed if call.kept] == ["openai:p2", "openai:p10"]
    assert sorted(run.read or ()) == [(1, 2), (1, 10)]
    assert [(call.name, call.shown_as) for call in proposed if call.shown_as] == [("openai:p2", "The moon is a rock.")]
    assert run.mixture is not None
    wording = wording_of(run)
    assert wording is not None
    assert [call.name for call in wording.references] == ["openai:p2", "openai:p10"]
    if aggregation == "synthesize":
        assert wording.shares == (1.0, 0.0)
    assert MoARun.from_json(run.to_json()) == run


def test_what_the_next_layer_read_is_known_too(chat: Chat, loopback: Loopback) -> None:
    builder = create_moa([chat("a"), chat("b")], chat("agg"), num_layers=2)
    graph: Any = builder.compile(checkpointer=InMemorySaver(), interrupt_after=["merge_1"])
    thread: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"messages": [("user", "Why?")]}, thread)
    first, _ = graph.get_state(thread).values["merged"]
    graph.update_state(thread, {"merged": [{**first, "text": "Edited."}]})
    with record_moa() as runs:
        graph.invoke(None, thread)
    (run,) = runs
    assert "1. Edited." in loopback.calls("a")[-1].system
    assert [(call.kept, call.shown_as) for call in run.layers[0]] == [(True, "Edited."), (False, None)]
    assert [(call.kept, call.shown_as) for call in run.layers[1]] == [(True, None), (True, None)]
    assert run.read == [(2, 1), (2, 2)]


def test_the_windows_of_a_sequence_read_all_references(chat: Chat) -> None:
    names = ("a", "b", "c", "d")
    with record_moa() as runs:
        _mixture(
            chat, proposers=[chat(name) for name in names], num_layers=1, aggregation={"sequential": {"window": 2}}
        ).invoke("Why?")
    assert runs[0].read == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert [call.kept for call in runs[0].layers[0]] == [True] * 4


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_answer_that_was_cut_is_said_to_be(chat: Chat, loopback: Loopback, *, is_streamed: bool) -> None:
    loopback.script("cut", Reply("in all directions,", finish_reason="length"))
    with record_moa() as runs:
        moa = _mixture(chat, proposers=[chat("a"), chat("cut")], aggregator=chat("cut"), num_layers=1)
        if is_streamed:
            list(moa.stream("Why?"))
        else:
            moa.invoke("Why?")
    (run,) = runs
    assert [call.finish_reason for call in run.calls] == ["stop", "length", "length"]
    assert (run.finish_reason, run.is_cut, run.is_degraded) == ("length", True, True)
    assert "degraded: cut at max_tokens" in run.to_html()
    assert MoARun.from_json(run.to_json()) == run


def test_the_error_of_every_attempt_is_recorded(chat: Chat, loopback: Loopback) -> None:
    loopback.script("flaky", [Reply("busy, try again in 20 s", status=503), "at last"])
    with record_moa() as runs:
        flaky = chat("flaky", max_retries=0)
        _mixture(chat, proposers=[flaky], num_layers=1, retry={"initial": 0.01}).invoke("Why?")
    error = runs[0].calls[0].attempts[0].error
    assert error is not None
    assert "busy, try again in 20 s" in error["message"]
    assert "busy, try again in 20 s" in runs[0].to_html()
