"""Strategies that ask the aggregator: which fallback replaces it, and where this is recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import ChatMoA
from tests.inquiries import label_of
from tests.loopback import Reply
from tests.time_limits import only_hanging_calls_time_out

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat
    from tests.loopback.reply import Body

FAILS = {"500": Reply("our fault", status=500), "empty": Reply(""), "refused": Reply("", refusal="I will not")}


@pytest.fixture(autouse=True)
def answers(loopback: Loopback) -> None:
    for place in (1, 2, 3):
        loopback.script(f"p{place}", f"answer {place}")


def mixture(chat: Chat, **fields: Any) -> ChatMoA:
    members: dict[str, Any] = {"proposers": [chat(f"p{place}") for place in (1, 2, 3)], "aggregator": chat("agg")}
    return ChatMoA(**members, **{"num_layers": 1, "aggregator_fallbacks": [chat("second"), chat("third")], **fields})


def names(text: str) -> Any:
    """A model that names the label of a text."""
    return lambda body: f"[[{label_of(body['messages'][-1]['content'], text)}]]"


async def asked(moa: ChatMoA, *, asynchronous: bool) -> tuple[AIMessage, list[tuple[str, str, str]]]:
    answer = await moa.ainvoke("Which?") if asynchronous else moa.invoke("Which?")
    steps = answer.response_metadata["moa"].get("steps", [])
    return answer, [(step["name"], step["model"], step["status"]) for step in steps]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("aggregation", ["select", "consistent"])
@pytest.mark.parametrize("bad", FAILS.values(), ids=FAILS.keys())
async def test_a_fallback_chooses_in_the_aggregators_place(
    loopback: Loopback, chat: Chat, bad: Reply, aggregation: str, asynchronous: bool
) -> None:
    loopback.script("agg", bad)
    loopback.script("second", bad)
    loopback.script("third", names("answer 2"))
    answer, steps = await asked(mixture(chat, aggregation=aggregation), asynchronous=asynchronous)
    assert answer.text == "answer 2"
    assert "fallback" not in answer.response_metadata["moa"]["selected"]
    name = steps[0][0]
    assert steps == [(name, "openai:agg", "failed"), (name, "openai:second", "failed"), (name, "openai:third", "ok")]
    assert loopback.models[3:] == ["agg", "second", "third"]
    assert len({json.dumps(request.messages) for request in loopback.requests[3:]}) == 1, "they are asked the same"
    assert answer.response_metadata["moa"]["calls"] == 6
    assert [line.partition(" failed: ")[0] for line in answer.response_metadata["moa"]["degraded"]] == [
        f"{aggregation}: {name} (openai:agg)",
        f"{aggregation}: {name} (openai:second)",
    ]


async def test_a_reply_that_cannot_be_read_is_put_right_by_who_gave_it(loopback: Loopback, chat: Chat) -> None:
    named = names("answer 3")
    # The question with the labels is then the third message from the end.
    loopback.script("agg", lambda body: named({"messages": body["messages"][:2]}) if len(body["messages"]) > 2 else "hm")
    answer, steps = await asked(mixture(chat, aggregation="select"), asynchronous=True)
    assert answer.text == "answer 3"
    assert {model for _, model, _ in steps} == {"openai:agg"}
    assert "second" not in loopback.models


async def test_when_all_fail_the_strategy_falls_back_as_ever(loopback: Loopback, chat: Chat) -> None:
    for name in ("agg", "second", "third"):
        loopback.script(name, FAILS["500"])
    answer, steps = await asked(mixture(chat, aggregation="select"), asynchronous=False)
    assert answer.response_metadata["moa"]["selected"]["fallback"] == "medoid"
    assert [model for _, model, _ in steps] == ["openai:agg", "openai:second", "openai:third"]


async def test_a_model_of_the_strategys_own_has_no_stand_in(loopback: Loopback, chat: Chat) -> None:
    loopback.script("ranker", FAILS["500"])
    moa = mixture(chat, aggregation={"select": {"model": chat("ranker")}})
    answer, _ = await asked(moa, asynchronous=True)
    assert answer.response_metadata["moa"]["selected"]["fallback"] == "medoid"
    assert loopback.models[3:] == ["ranker"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_fallback_analyses_and_then_writes(loopback: Loopback, chat: Chat, asynchronous: bool) -> None:
    def second(body: Body) -> Reply | str:
        analysis: dict[str, list[str]] = {key: [] for key in ("contradictions", "unique_points", "blind_spots")}
        is_asked = "JSON" in str(body["messages"])
        return json.dumps({"consensus": ["a point that all make"], **analysis}) if is_asked else "written by the second"

    loopback.script("agg", FAILS["500"])
    loopback.script("second", second)
    answer, steps = await asked(mixture(chat, aggregation="analyze"), asynchronous=asynchronous)
    assert answer.text == "written by the second"
    assert [(model, status) for _, model, status in steps] == [
        ("openai:agg", "failed"),
        ("openai:second", "ok"),
        ("openai:agg", "failed"),
    ]
    assert "a point that all make" in str(loopback.calls("second")[-1].messages)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_fallback_moderates(loopback: Loopback, chat: Chat, asynchronous: bool) -> None:
    def moderate(body: Body) -> str:
        label = label_of(body["messages"][-1]["content"], "answer 3")
        return json.dumps({"keep": [label], "end": True})

    loopback.script("agg", [FAILS["500"], Reply("the answer")])
    loopback.script("second", moderate)
    moa = mixture(chat, num_layers=2, reference_filters=[{"moderator": {"keep": 1}}])
    answer, steps = await asked(moa, asynchronous=asynchronous)
    assert answer.text == "the answer"
    assert answer.response_metadata["moa"]["passed_on"] == [[3]]
    assert steps == [("moderator", "openai:agg", "failed"), ("moderator", "openai:second", "ok")]
    assert loopback.calls("agg")[-1].system.endswith("\n1. answer 3")


async def test_those_that_may_have_to_stand_in_keep_their_parts_of_the_deadline(loopback: Loopback, chat: Chat) -> None:
    loopback.script("agg", Reply(hang=True))
    loopback.script("second", names("answer 1"))

    async def within(limit: float) -> AIMessage:
        return (await asked(mixture(chat, aggregation="select", deadline=limit), asynchronous=True))[0]

    answer, _ = await only_hanging_calls_time_out(loopback, within, {"agg": 1})
    assert answer.text == "answer 1"
    steps = answer.response_metadata["moa"]["steps"]
    assert [(step["model"], step["status"]) for step in steps] == [("openai:agg", "failed"), ("openai:second", "ok")]
