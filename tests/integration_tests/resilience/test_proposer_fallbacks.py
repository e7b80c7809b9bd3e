"""A proposer's own fallbacks: which one is asked when it fails, and what is recorded of the failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_moa import ChatMoA, Mixture, Proposer, ProposersFailedError, create_moa
from langchain_moa.runs import record_moa
from tests.loopback import Reply, Usage

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

PAID = Usage(prompt=10, completion=2)
FAILURES = {
    "an error": (Reply("busy", status=500), "OpenAIAPIError"),
    "a wrong request": (Reply("wrong", status=400), "OpenAIInvalidRequestError"),
    "nothing": (Reply("", usage=PAID), "empty"),
    "a refusal": (Reply(None, refusal="No.", usage=PAID), "refusal"),
    "a filter": (Reply("half", finish_reason="content_filter", usage=PAID), "content_filter"),
}


async def ask(moa: ChatMoA, asynchronous: bool) -> Any:
    return await moa.ainvoke("Hi") if asynchronous else moa.invoke("Hi")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("how", FAILURES)
async def test_a_fallback_answers_in_its_place(loopback: Loopback, chat: Chat, how: str, asynchronous: bool) -> None:
    reply, _ = FAILURES[how]
    loopback.script("first", reply)
    loopback.script("second", Reply("The draft.", usage=PAID))
    proposer = Proposer(chat("first"), name="sceptic", system_prompt="Doubt it.", fallbacks=[chat("second"), chat("third")])
    moa = ChatMoA(proposers=[proposer], aggregator=chat("agg"), num_layers=1)
    account = (await ask(moa, asynchronous)).response_metadata["moa"]
    assert loopback.models == ["first", "second", "agg"]
    assert "1. The draft." in loopback.calls("agg")[0].system
    # It takes over the role of the proposer that it replaces, and differs from it in its model.
    assert loopback.calls("second")[0].system == "Doubt it."
    (reference,) = account["layers"][0]
    assert (reference["name"], reference["model"], reference["status"]) == ("sceptic", "openai:second", "ok")
    (failed,) = account["steps"]
    assert (failed["node"], failed["model"], failed["status"]) == ("layer_1_proposer_1", "openai:first", "failed")
    assert any("layer_1_proposer_1: sceptic (openai:first) failed" in words for words in account["degraded"])
    paid = 3 if reply.usage is PAID else 2
    assert account["calls"] == 3
    assert sum(bool(call.get("usage")) for call in (reference, failed, account["aggregator"])) == paid


def test_nobody_is_asked_in_place_of_one_that_has_answered(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(proposers=[Proposer(chat("p"), fallbacks=[chat("second")])], aggregator=chat("agg"), num_layers=2)
    account = moa.invoke("Hi").response_metadata["moa"]
    assert loopback.models == ["p", "p", "agg"]
    assert "steps" not in account


def test_one_that_is_out_of_time_is_followed(loopback: Loopback, chat: Chat) -> None:
    loopback.script("slow", Reply(hang=True))
    proposer = Proposer(chat("slow"), fallbacks=[chat("second")])
    moa = ChatMoA(proposers=[proposer], aggregator=chat("agg"), num_layers=1, proposer_timeout=1.5)
    account = moa.invoke("Hi").response_metadata["moa"]
    assert account["layers"][0][0]["model"] == "openai:second"
    assert account["steps"][0]["error"]["kind"] == "timeout"


async def test_one_that_is_not_waited_for_is_not_followed(loopback: Loopback, chat: Chat) -> None:
    loopback.script("slow", Reply(hang=True))
    proposers: list[Any] = [chat("quick"), Proposer(chat("slow"), fallbacks=[chat("second")])]
    moa = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1, quorum=1, quorum_grace=0)
    account = (await moa.ainvoke("Hi")).response_metadata["moa"]
    assert account["layers"][0][1]["status"] == "late"
    assert not loopback.calls("second")


def test_all_that_failed_is_in_the_error(loopback: Loopback, chat: Chat) -> None:
    for model, status in (("first", 500), ("second", 401)):
        loopback.script(model, Reply(f"{model} is down", status=status))
    proposer = Proposer(chat("first"), fallbacks=[chat("second")])
    with pytest.raises(ProposersFailedError, match="second is down") as caught:
        ChatMoA(proposers=[proposer], aggregator=chat("agg"), num_layers=1).invoke("Hi")
    assert "openai:first failed: " in str(caught.value)
    assert "first is down" in str(caught.value)
    # The first one may answer the next time.
    assert caught.value.is_retryable
    assert [step["model"] for step in caught.value.steps] == ["openai:first"]


def test_each_has_its_own_policy_of_retries(loopback: Loopback, chat: Chat) -> None:
    loopback.script("first", Reply("busy", status=503))
    loopback.script("second", [Reply("busy", status=503), Reply("The draft.")])
    retry = {"attempts": 2, "initial": 0.0}
    proposer = Proposer(chat("first"), retry={"attempts": 1}, fallbacks=[{"model": chat("second"), "retry": retry}])  # type: ignore[arg-type]  # coerced
    ChatMoA(proposers=[proposer], aggregator=chat("agg"), num_layers=1).invoke("Hi")
    assert loopback.models == ["first", "second", "second", "agg"]


async def test_the_graph_shows_each_call(loopback: Loopback, chat: Chat) -> None:
    loopback.script("first", Reply("busy", status=500))
    graph = create_moa([Proposer(chat("first"), fallbacks=[chat("second")])], chat("agg"), num_layers=1).compile()
    question: Any = {"messages": [("user", "Hi")]}
    seen = [event async for event in graph.astream(question, stream_mode="custom")]
    asked = [(event["moa"], event["model"]) for event in seen if event["moa"] in {"proposing", "proposed"}]
    assert asked == [("proposing", "openai:first"), ("proposing", "openai:second"), ("proposed", "openai:second")]


def test_the_record_of_a_run_has_each_call_once(loopback: Loopback, chat: Chat) -> None:
    loopback.script("first", Reply("", usage=PAID))
    loopback.script("second", Reply("The draft.", usage=PAID))
    proposers: list[Any] = [Proposer(chat("first"), fallbacks=[chat("second")]), chat("other")]
    with record_moa() as runs:
        ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=1).invoke("Hi")
    (run,) = runs
    made = sorted((call.role, call.model, call.status, call.text) for call in run.calls)
    assert made == [
        ("aggregator", "openai:agg", "ok", "agg says: Hi"),
        ("proposer", "openai:other", "ok", "other says: Hi"),
        ("proposer", "openai:second", "ok", "The draft."),
        ("step", "openai:first", "failed", ""),
    ]


def test_a_strategy_finds_the_reference_of_a_fallback(loopback: Loopback, chat: Chat) -> None:
    loopback.script("first", Reply("busy", status=500))
    loopback.script("second", Reply("ANSWER: 4"))
    loopback.script("other", Reply("ANSWER: 4"))
    proposers: list[Any] = [Proposer(chat("first"), fallbacks=[chat("second")]), chat("other")]
    answer = ChatMoA(proposers=proposers, num_layers=1, aggregation="vote").invoke("2 + 2?")
    assert answer.text == "ANSWER: 4"


def test_the_aggregators_own_fallbacks_come_before_those_of_the_mixture(loopback: Loopback, chat: Chat) -> None:
    for model in ("agg", "own"):
        loopback.script(model, Reply("busy", status=500))
    aggregator = Proposer(chat("agg"), fallbacks=[chat("own")])
    moa = ChatMoA(proposers=[chat("p")], aggregator=aggregator, aggregator_fallbacks=[chat("last")], num_layers=1)
    assert moa.invoke("Hi").text == "last says: Hi"
    assert loopback.models == ["p", "agg", "own", "last"]


def test_a_file_has_fallbacks(tmp_path: Any) -> None:
    file = tmp_path / "moa.yaml"
    file.write_text(
        "proposers:\n- {model: 'openai:a', name: sceptic, fallbacks: ['openai:b', {model: 'openai:c', name: c}]}\n"
        "aggregator: {model: 'openai:d', fallbacks: 'openai:e'}\nnum_layers: 1\n"
    )
    members = Mixture.from_config(file, api_key="none").members
    (proposer,) = members.layers[0]
    assert [(each.id, each.name) for each in proposer.fallbacks] == [("openai:b", "sceptic"), ("openai:c", "c")]
    assert [each.id for each in members.fallbacks] == ["openai:e"]


def test_fallbacks_that_are_none() -> None:
    inner = Proposer("openai:b", fallbacks=["openai:c"])
    with pytest.raises(ValueError, match="fallbacks: item 1 has fallbacks of its own; list them all here"):
        Proposer("openai:a", fallbacks=[inner])
    with pytest.raises(ValueError, match="fallbacks: item 2: 3 is not a member"):
        Proposer("openai:a", fallbacks=["openai:b", 3])
    moa: Any = {"proposers": [Proposer(RunnableLambda(str), fallbacks=["nobody:x"])], "aggregator": RunnableLambda(str)}
    with pytest.raises(ValueError, match="proposers: item 1: fallbacks: item 1: cannot make the model 'nobody:x'"):
        Mixture(**moa)
