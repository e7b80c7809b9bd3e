"""Time limits and quorums at the wire: which proposers are waited for, and what happens to the others."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.exceptions import ModelTimeoutError
from langchain_core.runnables import RunnableLambda

from langchain_moa import AggregatorFailedError, ChatMoA, ProposersFailedError, create_moa
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Reply
from tests.time_limits import only_hanging_calls_time_out, when_asked
from tests.waiting import PATIENCE
from tests.watch import Tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_core.messages import AIMessage

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

# No test waits this long: if one did, the server's own timeout would end it.
LONG = 3600.0

HANGS = Reply(hang=True)


class Quick:
    """A member that answers without a server and records its prompts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[Any] = []

    def __call__(self, messages: Any) -> str:
        self.asked.append(messages)
        return f"{self.name} says: Hi"

    @property
    def member(self) -> RunnableLambda[Any, Any]:
        return RunnableLambda(self)


def quick(name: str) -> Any:
    return Quick(name).member


def statuses(answer: AIMessage) -> list[list[str]]:
    return [[call["status"] for call in layer] for layer in answer.response_metadata["moa"]["layers"]]


def kinds(answer: AIMessage) -> set[str]:
    calls = [call for layer in answer.response_metadata["moa"]["layers"] for call in layer]
    return {call["error"]["kind"] for call in calls if call["status"] != "ok"}


async def closed(loopback: Loopback) -> None:
    """Wait until no call is open at the server."""
    await asyncio.to_thread(loopback.settle)


@pytest.mark.parametrize("way", WAYS)
async def test_a_proposer_has_its_time_and_no_more(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("q", HANGS)
    proposers = [quick("p"), chat("q")]

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=2, proposer_timeout=limit), way)

    answer, limit = await only_hanging_calls_time_out(loopback, asked, {"q": 2})
    assert answer.text == "agg says: Hi"
    assert statuses(answer) == [["ok", "failed"]] * 2
    assert kinds(answer) == {"timeout"}
    assert f"within {limit:g} s (proposer_timeout)" in answer.response_metadata["moa"]["degraded"][0]


async def test_a_proposer_out_of_time_is_cancelled_at_the_server(loopback: Loopback, chat: Chat) -> None:
    loopback.script("q", HANGS)
    proposers = [quick("p"), chat("q")]

    async def asked(limit: float) -> Any:
        moa = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, proposer_timeout=limit)
        answer = await moa.ainvoke("Hi")
        await closed(loopback)
        return answer

    await only_hanging_calls_time_out(loopback, asked, {"q": 1})
    assert [call.disconnected for call in loopback.calls("q")] == [True]


@pytest.mark.parametrize("way", WAYS)
async def test_retries_share_the_time(loopback: Loopback, chat: Chat, way: str) -> None:
    proposers = [quick("p"), chat("q")]
    retry: Any = {"attempts": 5, "initial": 0}

    async def asked(limit: float) -> Any:
        loopback.script("q", [Reply("our fault", status=500), HANGS])
        options: Any = {"num_layers": 1, "proposer_timeout": limit, "retry": retry}
        return await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), **options), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"q": 2})
    assert kinds(answer) == {"timeout"}
    assert len(loopback.calls("q")) == 2


# --- quorum ---


@pytest.mark.parametrize("quorum", [3, 0.75])
@pytest.mark.parametrize("way", WAYS)
async def test_a_layer_with_its_quorum_closes(loopback: Loopback, chat: Chat, way: str, quorum: float) -> None:
    loopback.script("slow", HANGS)
    proposers = [chat("p"), chat("slow"), chat("q"), chat("r")]
    moa = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=2, quorum=quorum, quorum_grace=0)
    answer = await ask(moa, way)
    assert answer.text == "agg says: Hi"
    assert statuses(answer) == [["ok", "late", "ok", "ok"]] * 2
    assert kinds(answer) == {"quorum"}
    assert loopback.calls("agg")[0].system.endswith("Responses from models:\n1. p says: Hi\n2. q says: Hi\n3. r says: Hi")


async def test_stragglers_are_cancelled_at_the_server(loopback: Loopback, chat: Chat) -> None:
    loopback.script("slow", HANGS)
    loopback.script("p", when_asked(loopback, "slow"))
    proposers = [chat("p"), chat("q"), chat("slow")]
    moa = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=2, quorum=2, quorum_grace=0)
    await moa.ainvoke("Hi")
    await closed(loopback)
    assert [call.disconnected for call in loopback.calls("slow")] == [True, True]
    assert not any(call.disconnected for call in loopback.requests if call.model != "slow")


async def test_sync_stragglers_are_cancelled_at_the_server(loopback: Loopback, chat: Chat) -> None:
    gate = loopback.gate()
    loopback.script("slow", Reply("too late", gate=gate))
    loopback.script("p", Reply("there", together=2))  # not before the straggler is asked
    moa = ChatMoA(proposers=[chat("p"), chat("slow")], aggregator=chat("agg"), num_layers=1, quorum=1, quorum_grace=0)
    assert statuses(moa.invoke("Hi")) == [["ok", "late"]]
    assert [request.model for request in loopback.settle() if request.disconnected] == ["slow"]
    gate.open()


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_who_answers_within_the_grace_is_waited_for(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("slow", HANGS)
    proposers = [quick("p"), chat("q"), chat("slow")]

    async def asked(grace: float) -> Any:
        options: Any = {"num_layers": 1, "quorum": 1, "quorum_grace": grace}
        return await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), **options), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"slow": 1})
    assert statuses(answer) == [["ok", "ok", "late"]]


@pytest.mark.parametrize("way", WAYS)
async def test_failures_are_no_quorum(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("p", Reply("our fault", status=500))
    loopback.script("q", Reply(""))
    proposers = [chat("p"), chat("q"), chat("r")]
    answer = await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, quorum=2, quorum_grace=0), way)
    assert statuses(answer) == [["failed", "failed", "ok"]]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_who_comes_when_the_layer_is_closed_is_not_asked(loopback: Loopback, chat: Chat, way: str) -> None:
    proposers = [chat(name) for name in ("p", "q", "r", "s")]
    graph = create_moa(proposers, chat("agg"), num_layers=1, quorum=2, quorum_grace=0).compile()
    question: Any = {"messages": [("user", "Hi")]}
    config: Any = {"max_concurrency": 1}
    result = await ask(graph, way, question, config)
    assert statuses(result["messages"][-1]) == [["ok", "ok", "late", "late"]]
    assert loopback.models == ["p", "q", "agg"]


async def test_stragglers_are_a_note_and_no_warning(loopback: Loopback, chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    loopback.script("slow", HANGS)
    moa = ChatMoA(proposers=[chat("p"), chat("slow")], aggregator=chat("agg"), num_layers=1, quorum=1, quorum_grace=0)
    with caplog.at_level(logging.INFO, logger="langchain_moa"):
        answer = await moa.ainvoke("Hi")
    [record] = caplog.records
    assert record.levelno == logging.INFO
    assert ", late: quorum (1/2) reached, 0 s grace elapsed" in answer.response_metadata["moa"]["degraded"][0]


async def test_answers_at_the_same_time_do_not_close_each_others_layers(loopback: Loopback, chat: Chat) -> None:
    """Of two concurrent answers, one has its quorum while the other waits for its own."""
    first, second = loopback.gate(), loopback.gate()

    def slow(body: Any) -> Reply:
        return Reply("a draft", gate=first if body["messages"][-1]["content"] == "first" else second)

    loopback.script("q", slow)
    loopback.script("slow", HANGS)
    proposers = [chat("p"), chat("q"), chat("slow")]
    moa = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, quorum=2, quorum_grace=0)
    tasks = [asyncio.create_task(moa.ainvoke(text)) for text in ("first", "second")]
    await asyncio.to_thread(loopback.wait_for, 6)
    first.open()
    assert statuses(await tasks[0]) == [["ok", "ok", "late"]]
    assert not tasks[1].done()
    assert loopback.calls("agg")[-1].user == "first"
    second.open()
    assert statuses(await tasks[1]) == [["ok", "ok", "late"]]


@pytest.mark.parametrize("way", WAYS)
async def test_a_mixture_in_a_mixture_has_its_own_quorum(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("slow", HANGS)
    options: Any = {"num_layers": 1, "quorum": 2, "quorum_grace": 0}
    inner = ChatMoA(proposers=[chat("p"), chat("q"), chat("slow")], aggregator=chat("inner"), **options)
    graph = create_moa([chat("r"), chat("s"), chat("slow")], chat("graph"), **options).compile()
    proposers: list[Any] = [inner, graph, chat("slow")]
    outer = ChatMoA(proposers=proposers, aggregator=chat("agg"), **options)
    assert statuses(await ask(outer, way)) == [["ok", "ok", "late"]]
    assert loopback.calls("inner")[0].system.endswith("1. p says: Hi\n2. q says: Hi")
    assert loopback.calls("graph")[0].system.endswith("1. r says: Hi\n2. s says: Hi")
    assert loopback.calls("agg")[0].system.endswith("1. inner says: Hi\n2. graph says: Hi")


async def test_a_straggling_mixture_is_cancelled_with_all_its_calls(loopback: Loopback, chat: Chat) -> None:
    loopback.script("slow", HANGS)
    loopback.script("p", when_asked(loopback, "slow", times=2))
    inner = ChatMoA(proposers=[chat("slow"), chat("slow")], aggregator=chat("inner"))
    proposers: list[Any] = [chat("p"), inner]
    await ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, quorum=1, quorum_grace=0).ainvoke("Hi")
    await closed(loopback)
    assert [call.disconnected for call in loopback.calls("slow")] == [True, True]


async def test_sync_members_of_an_async_mixture_are_not_waited_for(loopback: Loopback, chat: Chat) -> None:
    release = threading.Event()

    def hang(_: Any) -> str:
        release.wait()
        return "too late"

    proposers: list[Any] = [chat("p"), RunnableLambda(hang)]
    moa = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, quorum=1, quorum_grace=0)
    try:
        assert statuses(await moa.ainvoke("Hi")) == [["ok", "late"]]
    finally:
        release.set()


# --- deadline ---


@pytest.mark.parametrize("way", WAYS)
async def test_the_aggregator_keeps_its_part_of_the_deadline(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("slow", HANGS)
    proposers = [quick("p"), chat("slow")]

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(proposers=proposers, aggregator=quick("agg"), num_layers=2, deadline=limit), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"slow": 2})
    assert answer.text == "agg says: Hi"
    assert statuses(answer) == [["ok", "late"]] * 2
    assert kinds(answer) == {"deadline"}


@pytest.mark.parametrize("way", WAYS)
async def test_a_layer_without_any_answer_in_its_part_is_an_error_in_time(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("slow", HANGS)
    moa = ChatMoA(proposers=[chat("slow"), chat("slow")], aggregator=chat("agg"), num_layers=2, deadline=0.6)
    with pytest.raises(ProposersFailedError, match="deadline") as raised:
        await ask(moa, way)
    assert [reference["status"] for reference in raised.value.references] == ["late", "late"]
    assert loopback.calls("agg") == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_later_layer_without_any_answer_in_its_part_falls_back(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("slow", HANGS)
    aggregator = Quick("agg")

    async def asked(limit: float) -> Any:
        aggregator.asked.clear()
        moa = ChatMoA(proposers=[[quick("p")], [chat("slow")]], aggregator=aggregator.member, deadline=limit)
        return await ask(moa, way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"slow": 1})
    assert statuses(answer) == [["ok"], ["late"]]
    assert answer.response_metadata["moa"]["fell_back"] == [2]
    assert aggregator.asked[0][0].content.endswith("Responses from models:\n1. p says: Hi")


@pytest.mark.parametrize("way", WAYS)
async def test_an_aggregator_that_outlasts_the_deadline_has_failed(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", HANGS)

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(proposers=[quick("p")], aggregator=chat("agg"), num_layers=1, deadline=limit), way)

    error, limit = await only_hanging_calls_time_out(loopback, asked, {"agg": 1}, fails=True)
    assert isinstance(error, AggregatorFailedError)
    assert isinstance(error, ModelTimeoutError)
    assert f"the deadline ({limit:g} s) has elapsed" in str(error)
    assert [reference["text"] for reference in error.references] == ["p says: Hi"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_that_stops_in_the_middle_ends_with_the_deadline(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", Reply("one two three four", hang=True, after_chunks=2))

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(proposers=[quick("p")], aggregator=chat("agg"), num_layers=1, deadline=limit), way)

    error, _ = await only_hanging_calls_time_out(loopback, asked, {"agg": 1}, fails=True)
    assert isinstance(error, AggregatorFailedError)
    assert "deadline" in str(error)


@pytest.mark.parametrize("way", WAYS)
async def test_who_stands_in_keeps_a_part_of_the_deadline(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", HANGS)
    members: Any = {"proposers": [quick("p")], "aggregator": chat("agg"), "aggregator_fallbacks": [quick("second")]}

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(**members, num_layers=1, deadline=limit), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"agg": 1})
    assert answer.text == "second says: Hi"
    [step] = answer.response_metadata["moa"]["steps"]
    assert step["error"]["kind"] == "deadline"


async def test_what_outlasts_the_deadline_is_cancelled_at_the_server(loopback: Loopback, chat: Chat) -> None:
    loopback.script("agg", HANGS)
    loopback.script("slow", HANGS)
    proposers = [quick("p"), chat("slow")]

    async def asked(limit: float) -> Any:
        try:
            return await ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, deadline=limit).ainvoke("Hi")
        finally:
            await closed(loopback)

    error, _ = await only_hanging_calls_time_out(loopback, asked, {"slow": 1, "agg": 1}, fails=True)
    assert isinstance(error, AggregatorFailedError)
    assert {call.model for call in loopback.requests if call.disconnected} == {"slow", "agg"}


@pytest.mark.parametrize("way", WAYS)
async def test_limits_that_are_far_off_change_nothing(loopback: Loopback, chat: Chat, way: str) -> None:
    options: Any = {"proposer_timeout": LONG, "deadline": LONG, "quorum": 1.0}
    proposers = [chat("p"), chat("q")]
    answer = await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=2, **options), way)
    assert answer.text == "agg says: Hi"
    assert statuses(answer) == [["ok", "ok"]] * 2
    assert "degraded" not in answer.response_metadata["moa"]
    assert [thread for thread in threading.enumerate() if thread.name == "moa-call"] == []


async def test_traces_say_of_a_straggler_that_it_was_given_up(loopback: Loopback, chat: Chat) -> None:
    loopback.script("slow", HANGS)
    loopback.script("p", when_asked(loopback, "slow", times=2))
    tree = Tree()
    nested: Any = RunnableLambda(lambda messages: messages) | chat("slow")
    proposers: list[Any] = [chat("p"), chat("slow"), nested]
    moa = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, quorum=1, quorum_grace=0)
    await moa.ainvoke("Hi", {"callbacks": [tree]})
    runs = [run for run in tree.runs() if run.run_type == "llm" and run.name != "ChatMoA"]
    models = [run for run in runs if "slow" in str(run.extra)]
    assert len(models) == 2
    assert all(run.end_time is not None and "OutOfTimeError" in str(run.error) for run in models)
    assert tree.run_map == {}


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke"])
async def test_a_sync_mixture_that_was_given_up_asks_nobody_any_more(loopback: Loopback, chat: Chat, way: str) -> None:
    """Its thread goes on, but must not make further calls, since their answers would be paid for and not used."""
    gate = loopback.gate()
    loopback.script("q", Reply("Hi", gate=gate))
    nested = ChatMoA(proposers=[chat("q")], aggregator=chat("inner"), num_layers=1)
    # Also for sync code in the middle of async code, where cancellation does not reach it.
    proposers = [quick("p"), RunnableLambda(nested.invoke, name="nested")]

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, proposer_timeout=limit), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"nested": 0, "q": 1})
    assert statuses(answer) == [["ok", "failed"]]
    gate.open()
    await closed(loopback)
    for thread in threading.enumerate():
        if thread.name == "moa-call":
            await asyncio.to_thread(thread.join, PATIENCE)
    assert "inner" not in loopback.models


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_that_is_given_up_leaves_its_place_to_others(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("p", HANGS)
    proposers = [chat("p"), chat("q"), chat("r")]

    async def asked(limit: float) -> Any:
        options: Any = {"num_layers": 1, "proposer_timeout": limit, "max_concurrency": 1}
        return await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), **options), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"p": 1})
    assert sorted(statuses(answer)[0]) == ["failed", "ok", "ok"]
    assert kinds(answer) == {"timeout"}


@pytest.mark.parametrize("way", WAYS)
async def test_the_wait_for_a_place_is_none_of_the_proposers_time(loopback: Loopback, chat: Chat, way: str) -> None:
    names = "pqrstuvw"
    proposers = [chat(name) for name in names]

    async def asked(limit: float) -> Any:
        for name in names:
            loopback.script(name, Reply("Hi", delay=limit / 5))
        options: Any = {"num_layers": 1, "proposer_timeout": limit, "max_concurrency": 1}
        return await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), **options), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {})
    assert statuses(answer) == [["ok"] * len(names)]


# --- strategies ---


class Stuck(Embeddings):
    """Embeddings and functions that never return."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def __call__(self, *_: Any) -> Any:
        self.release.wait()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.release.wait()
        return [[1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture
async def stuck() -> AsyncIterator[Stuck]:
    it = Stuck()
    yield it
    # Before the loop ends, since it waits for its threads.
    it.release.set()


async def _forever(_: Any) -> None:
    await asyncio.Event().wait()


def passed_over(answer: AIMessage) -> dict[str, str]:
    return {step["name"]: step["error"]["kind"] for step in answer.response_metadata["moa"]["steps"]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["a function", "a Runnable"])
async def test_a_filter_and_a_condition_out_of_time_are_passed_over(
    loopback: Loopback, stuck: Stuck, way: str, kind: str
) -> None:
    def slow(layer: Any) -> Any:
        return stuck(layer)

    strategy: Any = slow if kind == "a function" else RunnableLambda(slow, _forever, name="slow")
    last = Quick("agg")
    proposers = [quick("p"), quick("q")]

    async def asked(limit: float) -> Any:
        last.asked.clear()
        options: Any = {"reference_filters": [strategy], "stop_when": strategy, "deadline": limit}
        return await ask(ChatMoA(proposers=proposers, aggregator=last.member, **options), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"slow": 0})
    assert answer.text == "agg says: Hi"
    # The next reader gets the filter's input.
    assert "1. p says: Hi\n2. q says: Hi" in last.asked[0][0].text
    moa = answer.response_metadata["moa"]
    assert [(step["node"], step["error"]["kind"]) for step in moa["steps"]] == [
        ("merge_1", "deadline"),
        ("merge_1", "deadline"),
        ("merge_2", "deadline"),
    ]
    assert any("slow failed: deadline" in words for words in moa["degraded"])


@pytest.mark.parametrize("way", WAYS)
async def test_embeddings_out_of_time_are_done_without(loopback: Loopback, stuck: Stuck, way: str) -> None:
    members: Any = {"proposers": [quick("p"), quick("q")], "aggregator": quick("agg"), "num_layers": 1}
    diverse: Any = {"diverse": {"keep": 1, "similarity": stuck}}

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(**members, reference_filters=[diverse], deadline=limit), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"embeddings": 0})
    assert answer.text == "agg says: Hi"
    assert passed_over(answer) == {"embeddings": "deadline"}


@pytest.mark.parametrize("way", WAYS)
async def test_an_aggregation_out_of_time_is_an_error_with_the_references(loopback: Loopback, stuck: Stuck, way: str) -> None:
    proposers = [quick("p"), quick("q")]

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(proposers=proposers, aggregation=stuck.__call__, num_layers=1, deadline=limit), way)

    error, _ = await only_hanging_calls_time_out(loopback, asked, {}, fails=True)
    assert isinstance(error, AggregatorFailedError)
    assert isinstance(error, ModelTimeoutError)
    assert [reference["text"] for reference in error.references] == ["p says: Hi", "q says: Hi"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_verdict_is_waited_for_as_long_as_for_a_proposer(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("judge", HANGS)
    judge: Any = {"judge": {"model": chat("judge")}}
    members: Any = {"proposers": [quick("p"), quick("q")], "aggregator": quick("agg"), "num_layers": 1}

    async def asked(limit: float) -> Any:
        return await ask(ChatMoA(**members, reference_filters=[judge], proposer_timeout=limit), way)

    answer, _ = await only_hanging_calls_time_out(loopback, asked, {"judge": 1})
    assert answer.text == "agg says: Hi"
    assert passed_over(answer) == {"judge": "timeout"}
