"""Retries at the wire: what is sent again, how often, and when."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import AggregatorFailedError, ChatMoA, Proposer, Retry
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

AT_ONCE = Retry(attempts=3, initial=0)

PASSES = {
    "429": Reply("slow down", status=429),
    "500": Reply("our fault", status=500),
    "503": Reply("overloaded", status=503),
    "no answer": Reply(drop=True, after_chunks=0),
}

STAYS = {
    "400": Reply("bad request", status=400),
    "401": Reply("wrong key", status=401),
    "403": Reply("not for you", status=403),
    "404": Reply("no such model", status=404),
    "quota": Reply("pay first", status=429, code="insufficient_quota"),
    "empty": Reply(""),
    "refusal": Reply(None, refusal="No."),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", PASSES.values(), ids=PASSES.keys())
async def test_what_may_pass_is_sent_again(loopback: Loopback, chat: Chat, bad: Reply, way: str) -> None:
    loopback.script("p", [bad, bad, Reply("a draft")])
    loopback.script("agg", [bad, bad, Reply("the answer")])
    answer = await ask(ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, retry=AT_ONCE), way)
    assert answer.text == "the answer"
    assert loopback.models == ["p"] * 3 + ["agg"] * 3
    assert "degraded" not in answer.response_metadata["moa"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", STAYS.values(), ids=STAYS.keys())
async def test_what_stays_wrong_is_sent_once(loopback: Loopback, chat: Chat, bad: Reply, way: str) -> None:
    loopback.script("q", bad)
    proposers = [chat("p"), chat("q")]
    answer = await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, retry=AT_ONCE), way)
    assert sorted(loopback.models) == ["agg", "p", "q"]
    assert len(answer.response_metadata["moa"]["degraded"]) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_after_the_last_attempt_it_has_failed(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", Reply("our fault", status=500))
    with pytest.raises(AggregatorFailedError, match="our fault"):
        await ask(ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, retry=AT_ONCE), way)
    assert loopback.models == ["p"] + ["agg"] * 3


@pytest.mark.parametrize("way", WAYS)
async def test_every_member_is_tried_again_before_the_next_stands_in(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", Reply("our fault", status=500))
    moa = ChatMoA(
        proposers=[chat("p")], aggregator=chat("agg"), aggregator_fallbacks=[chat("second")], num_layers=1, retry=AT_ONCE
    )
    assert (await ask(moa, way)).text == "second says: Hi"
    assert loopback.models == ["p", "agg", "agg", "agg", "second"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_waits_as_long_as_the_server_asks(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("p", [Reply("slow down", status=429, headers={"retry-after-ms": "300"}), Reply("a draft")])
    await ask(ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, retry=AT_ONCE), way)
    first, second = loopback.calls("p")
    assert second.arrived - first.arrived >= 0.3


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_does_not_wait_for_a_server_beyond_its_time(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("q", Reply("slow down", status=429, headers={"retry-after": "3600"}))
    moa = ChatMoA(
        proposers=[chat("p"), chat("q")],
        aggregator=chat("agg"),
        num_layers=1,
        proposer_timeout=600,
        retry=Retry(maximum=7200),
    )
    answer = await ask(moa, way)
    assert answer.response_metadata["moa"]["layers"][0][1]["error"]["kind"] == "OpenAIRateLimitError"
    assert len(loopback.calls("q")) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_retries_are_not_multiplied_with_the_clients_own(loopback: Loopback, chat: Chat, way: str) -> None:
    # The client waits at least half a second before its only retry; the test is that it makes two calls and not six.
    loopback.script("q", Reply("our fault", status=500, headers={"retry-after-ms": "1"}))
    proposers = [chat("p"), chat("q", max_retries=1)]
    answer = await ask(ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, retry=AT_ONCE), way)
    assert answer.response_metadata["moa"]["layers"][0][1]["status"] == "failed"
    assert len(loopback.calls("q")) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_models_given_as_strings_are_tried_as_often_as_the_policy_says(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    loopback.script("q", Reply("our fault", status=500, headers={"retry-after-ms": "1"}))
    settings = {"base_url": loopback.url}
    proposers = [Proposer(f"openai:{name}", settings=settings) for name in ("p", "q")]
    aggregator = Proposer("openai:agg", settings=settings)
    with ChatMoAOf(proposers, aggregator, retry=AT_ONCE) as moa:
        await ask(moa, way)
    assert len(loopback.calls("q")) == 3


class ChatMoAOf:
    """A mixture of models given as strings, whose clients are closed afterwards."""

    def __init__(self, proposers: list[Proposer], aggregator: Proposer, **options: Any) -> None:
        self.moa = ChatMoA(proposers=proposers, aggregator=aggregator, num_layers=1, **options)

    def __enter__(self) -> ChatMoA:
        return self.moa

    def __exit__(self, *_: object) -> None:
        members = [*self.moa.members.layers[0], self.moa.members.aggregator]
        for member in members:
            client: Any = member.chat_model
            client.root_client.close()


async def test_a_member_may_have_a_policy_of_its_own(loopback: Loopback, chat: Chat) -> None:
    bad = Reply("our fault", status=500)
    for name in ("p", "q", "r"):
        loopback.script(name, bad)
    proposers: list[Any] = [
        Proposer(chat("p"), retry=Retry(attempts=2, initial=0)),
        Proposer(chat("q"), retry=Retry(attempts=1)),
        chat("r"),
        chat("s"),
    ]
    await ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, retry=AT_ONCE).ainvoke("Hi")
    assert [len(loopback.calls(name)) for name in "pqrs"] == [2, 1, 3, 1]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_has_begun_is_not_tried_again(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", [Reply("one two three four", drop=True, after_chunks=2), Reply("another answer")])
    with pytest.raises(AggregatorFailedError):
        await ask(ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, retry=AT_ONCE), way)
    assert len(loopback.calls("agg")) == 1


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_broke_off_before_its_first_word_is(loopback: Loopback, chat: Chat, way: str) -> None:
    loopback.script("agg", [Reply("one two", status=500, after_chunks=0), Reply("the answer")])
    answer = await ask(ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, retry=AT_ONCE), way)
    assert answer.text == "the answer"
    assert answer.response_metadata["model_name"] == "agg"


async def test_retries_are_logged_without_what_the_server_said(
    loopback: Loopback, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    loopback.script("p", [Reply("slow down", status=429), Reply("a draft")])
    with caplog.at_level(logging.INFO, logger="langchain_moa"):
        await ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1, retry=AT_ONCE).ainvoke("Hi")
    [record] = [record for record in caplog.records if record.name == "langchain_moa"]
    assert record.getMessage() == "attempt 1 failed with OpenAIRateLimitError; the next in 0.00 s"
