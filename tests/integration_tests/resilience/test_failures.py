"""A mixture continues with good references, reports failures, and loses nothing that is paid for."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_moa import AggregatorFailedError, ChatMoA, MoAError, Proposer, ProposersFailedError, create_moa
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Reply, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


@pytest.fixture
def moa(chat: Chat) -> ChatMoA:
    return ChatMoA(proposers=[chat("p"), chat("q"), chat("r")], aggregator=chat("agg"), num_layers=2)


BAD = {
    "empty": Reply(""),
    "null": Reply(None),
    "whitespace": Reply(" \n\u00a0\u200b"),
    "refusal": Reply(None, refusal="I cannot help with that."),
    "tool call": Reply(None, tool_calls=[ToolCall("search")]),
    "content filter": Reply("half an ans", finish_reason="content_filter"),
    "thoughts": Reply("<think>I wonder", finish_reason="length"),
    "400": Reply("bad request", status=400),
    "401": Reply("wrong key", status=401),
    "404": Reply("no such model", status=404),
    "429": Reply("slow down", status=429),
    "500": Reply("our fault", status=500),
    "503": Reply("overloaded", status=503),
    "cut off": Reply("half an answer", drop=True),
    "no answer": Reply(drop=True, after_chunks=0),
    "no JSON": Reply(malformed=True),
    "no choices": Reply(no_choices=True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_what_is_no_answer_is_in_no_prompt(loopback: Loopback, moa: ChatMoA, bad: Reply, way: str) -> None:
    loopback.script("q", bad)
    answer = await ask(moa, way)
    assert answer.text == "agg says: Hi"
    for request in [*loopback.requests[3:6], loopback.calls("agg")[0]]:
        assert request.system.endswith("Responses from models:\n1. p says: Hi\n2. r says: Hi")
    calls = answer.response_metadata["moa"]["layers"]
    assert [[call["status"] for call in layer] for layer in calls] == [["ok", "failed", "ok"]] * 2
    assert all(layer[1]["error"]["message"] for layer in calls)


async def test_a_failure_is_visible(loopback: Loopback, moa: ChatMoA, caplog: pytest.LogCaptureFixture) -> None:
    loopback.script("q", Reply("slow down", status=429))
    with caplog.at_level(logging.INFO, logger="langchain_moa"):
        answer = await moa.ainvoke("Hi")
    degraded = answer.response_metadata["moa"]["degraded"]
    assert [line.partition(":")[0] for line in degraded] == ["layer 1", "layer 2"]
    assert all("proposer 2, openai:q, failed: OpenAIRateLimitError" in line for line in degraded)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert all(line in record.getMessage() for line in degraded)


async def test_an_error_of_a_server_does_not_begin_a_line_of_the_log(
    loopback: Loopback, moa: ChatMoA, caplog: pytest.LogCaptureFixture
) -> None:
    loopback.script("q", Reply("no\r\n\x1b]0;PWNED\x07ERROR forged \u202e", status=400))
    with caplog.at_level(logging.INFO, logger="langchain_moa"):
        await moa.ainvoke("Hi")
    (record,) = [each.getMessage() for each in caplog.records if "is degraded" in each.getMessage()]
    assert "ERROR forged" in record
    assert not {"\n", "\r", "\x1b", "\x07", "\u202e"} & set(record)


async def test_an_answer_that_nothing_is_missing_from_says_nothing(moa: ChatMoA, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="langchain_moa"):
        answer = await moa.ainvoke("Hi")
    assert not {"degraded", "fell_back"} & answer.response_metadata["moa"].keys()
    assert not [record for record in caplog.records if record.name == "langchain_moa"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_was_cut_says_so(loopback: Loopback, moa: ChatMoA, way: str) -> None:
    loopback.script("agg", Reply("The sky is, in all directions,", finish_reason="length"))
    answer = await ask(moa, way)
    assert answer.response_metadata["moa"]["degraded"] == ["aggregator: openai:agg: the answer was cut at max_tokens"]


async def test_a_stream_without_an_end_says_so(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", Reply("The sky is", finish_reason=""))
    whole = [chunk async for chunk in moa.astream("Hi")]
    assert "".join(chunk.text for chunk in whole) == "The sky is"
    [said] = whole[-1].response_metadata["moa"]["degraded"]
    assert said.startswith("aggregator: openai:agg: the stream ended without a finish reason")


def test_failures_are_events_of_the_graph(loopback: Loopback, chat: Chat) -> None:
    loopback.script("q", Reply("slow down", status=429))
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile()
    question: Any = {"messages": [("user", "Hi")]}
    events = [event for event in graph.stream(question, stream_mode="custom") if isinstance(event, dict)]
    failed = [event for event in events if event["moa"] == "proposed" and event["status"] == "failed"]
    assert [(event["proposer"], event["error"]["kind"]) for event in failed] == [(2, "OpenAIRateLimitError")]
    [degraded] = [event for event in events if event["moa"] == "degraded"]
    assert "proposer 2, openai:q" in degraded["degraded"][0]


# --- a layer that loses too many ---


@pytest.mark.parametrize("way", WAYS)
async def test_a_first_layer_without_an_answer_is_one_error_that_names_them_all(
    loopback: Loopback, chat: Chat, way: str
) -> None:
    loopback.script("p", Reply("our fault", status=500))
    loopback.script("q", Reply(None, refusal="No."))
    loopback.script("r", Reply(" "))
    proposers: list[Any] = [chat("p"), Proposer(chat("q"), name="the shy one"), chat("r")]
    with pytest.raises(ProposersFailedError) as raised:
        await ask(ChatMoA(proposers=proposers, aggregator=chat("agg")), way)
    assert isinstance(raised.value, MoAError)
    assert str(raised.value).splitlines() == [
        "all 3 proposers in layer 1 failed (min_references=1):",
        "  - proposer 1, openai:p: OpenAIAPIError: Error code: 500 - our fault",
        "  - proposer 2, the shy one (openai:q): refusal: the model refused to answer",
        "  - proposer 3, openai:r: empty: the model answered nothing (finish reason: stop)",
    ]
    assert [reference["status"] for reference in raised.value.references] == ["failed"] * 3
    assert loopback.calls("agg") == []


@pytest.mark.parametrize("way", WAYS)
async def test_too_few_answers_are_kept_in_the_error(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("q", Reply("our fault", status=500))
    moa = ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"), min_references=2)
    with pytest.raises(ProposersFailedError, match="only 1 of 2 proposers in layer 1 succeeded") as raised:
        await ask(moa, way)
    assert [reference["text"] for reference in raised.value.references] == ["p says: Hi", ""]


@pytest.mark.parametrize("way", WAYS)
async def test_a_later_layer_that_loses_everyone_falls_back_and_says_so(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("p", ["the first draft", Reply("our fault", status=500), "the third draft"])
    loopback.script("q", ["another draft", Reply("our fault", status=500), "yet another draft"])
    answer = await ask(ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"), num_layers=3), way)
    third = loopback.requests[4]
    assert third.system.endswith("Responses from models:\n1. the first draft\n2. another draft")
    assert loopback.calls("agg")[0].system.endswith("Responses from models:\n1. the third draft\n2. yet another draft")
    moa = answer.response_metadata["moa"]
    assert moa["fell_back"] == [2]
    assert "layer 2 went on with the references of layer 1" in moa["degraded"]


async def test_a_member_that_raises_what_is_no_error_of_a_model(loopback: Loopback, chat: Chat) -> None:
    def raises(error: BaseException) -> Callable[[Any], str]:
        def run(_: Any) -> str:
            raise error

        return run

    class Odd(Exception):  # noqa: N818  # an exception of whatever name
        def __str__(self) -> str:
            return ""

    odd = [RunnableLambda(raises(error)) for error in (ValueError("a bug"), Odd(), StopIteration(), RecursionError())]
    moa = ChatMoA(proposers=[*odd, chat("p")], aggregator=chat("agg"), num_layers=1)
    for answer in (moa.invoke("Hi"), await moa.ainvoke("Hi")):
        assert answer.text == "agg says: Hi"
        [layer] = answer.response_metadata["moa"]["layers"]
        assert [call["status"] for call in layer] == ["failed"] * 4 + ["ok"]
        assert all(call["error"]["message"] for call in layer[:4])


async def test_a_member_that_cancels_itself_has_failed(loopback: Loopback, chat: Chat) -> None:
    async def cancels_itself(_: Any) -> str:
        raise asyncio.CancelledError

    proposers: list[Any] = [RunnableLambda(cancels_itself), chat("p")]
    answer = await ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1).ainvoke("Hi")
    assert answer.response_metadata["moa"]["layers"][0][0]["error"]["kind"] == "CancelledError"
    with pytest.raises(AggregatorFailedError, match="CancelledError"):
        await ChatMoA(proposers=[chat("p")], aggregator=RunnableLambda(cancels_itself), num_layers=1).ainvoke("Hi")
