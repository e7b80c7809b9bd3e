"""A failed layer reports whether a retry may succeed, and everything that retries follows it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from langchain_moa import ChatMoA, Proposer, ProposersFailedError, Retry, create_moa
from langchain_moa.limits.retry import is_retryable
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

BUSY = Reply("slow down", status=429)
BROKEN = Reply("our fault", status=500)
LOST = Reply(drop=True, after_chunks=0)
WRONG = Reply("wrong key", status=401)
REFUSAL = Reply(None, refusal="No.")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("replies", "wanted", "worth_it"),
    [
        ([BUSY, BROKEN, LOST], 3, True),
        ([BUSY, WRONG, WRONG], 1, True),
        ([BUSY, BUSY, WRONG], 3, False),
        ([BUSY, REFUSAL, BROKEN], 3, False),
        ([BROKEN, Reply(""), BROKEN], 3, False),
        ([WRONG, WRONG, WRONG], 1, False),
    ],
    ids=["all in passing", "one in passing is enough", "a wrong key", "a refusal", "an empty answer", "wrong keys"],
)
async def test_a_layer_is_worth_another_try_where_enough_have_failed_in_passing(
    loopback: Loopback, chat: Chat, replies: list[Reply], wanted: int, way: str, *, worth_it: bool
) -> None:
    for name, reply in zip("abc", replies, strict=True):
        loopback.script(name, reply)
    moa = ChatMoA(proposers=[chat(name) for name in "abc"], aggregator=chat("agg"), num_layers=1, min_references=wanted)
    with pytest.raises(ProposersFailedError) as raised:
        await ask(moa, way)
    assert raised.value.is_retryable is worth_it
    assert is_retryable(raised.value) is worth_it
    assert pickle.loads(pickle.dumps(raised.value)).is_retryable is worth_it  # noqa: S301  # of our own making


def test_good_answers_that_are_too_few_do_not_count_against_it(loopback: Loopback, chat: Chat) -> None:
    loopback.script("b", BUSY)
    with pytest.raises(ProposersFailedError) as raised:
        ChatMoA(proposers=[chat("a"), chat("b")], aggregator=chat("agg"), num_layers=1, min_references=2).invoke("Hi")
    assert raised.value.is_retryable


@pytest.mark.parametrize(("reply", "calls"), [(BUSY, 3), (WRONG, 1)], ids=["in passing", "for good"])
def test_a_mixture_around_goes_by_it(loopback: Loopback, chat: Chat, reply: Reply, calls: int) -> None:
    loopback.script("a", [reply, reply, Reply("a draft")])
    inner = ChatMoA(proposers=[chat("a")], aggregator=chat("inner"), num_layers=1)
    proposers: list[Any] = [Proposer(inner, retry=Retry(attempts=3, initial=0)), chat("b")]
    answer = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1).invoke("Hi")
    assert len(loopback.calls("a")) == calls
    assert answer.response_metadata["moa"]["layers"][0][0]["status"] == ("ok" if calls > 1 else "failed")


def test_it_is_known_after_a_checkpoint(loopback: Loopback, chat: Chat) -> None:
    loopback.script("a", BUSY)
    saver = InMemorySaver()
    builder = create_moa([chat("a")], chat("agg"), num_layers=1)
    thread: Any = {"configurable": {"thread_id": "1"}}
    question: Any = {"messages": [("user", "Hi")]}
    builder.compile(checkpointer=saver, interrupt_before=["merge_1"]).invoke(question, thread)
    with pytest.raises(ProposersFailedError) as raised:
        builder.compile(checkpointer=saver).invoke(None, thread)
    assert raised.value.is_retryable
    assert len(loopback.calls("a")) == 1
