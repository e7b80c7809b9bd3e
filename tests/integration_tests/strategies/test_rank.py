"""Which proposers rank, and how long the others wait for their rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from langchain_moa import ChatMoA, Proposer, create_moa
from tests.inquiries import label_of, turn
from tests.integration_tests.strategies.panel import QUESTION, TEXTS, Panel
from tests.loopback import Reply
from tests.time_limits import only_hanging_calls_time_out, when_asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.loopback.fixtures import Chat
    from tests.loopback.reply import Body

BEST_FIRST = (TEXTS[2], TEXTS[0], TEXTS[1])
RANKED = "".join(f"\n{number}. {text}" for number, text in enumerate(BEST_FIRST, start=1))


def asks_for_a_ranking(body: Body) -> bool:
    return "Rank the responses" in str(body["messages"][-1]["content"])


def ranks(body: Body, order: tuple[str, ...] = BEST_FIRST) -> str:
    asked = body["messages"][-1]["content"]
    return " > ".join(f"[[{label_of(asked, text)}]]" for text in order if f"\n{text}\n" in asked)


def peer(own: str, ranking: Reply | Callable[[Body], str] = ranks) -> Callable[[Body], Reply | str]:
    """A proposer with this answer, which ranks the other answers in this way."""

    def answer(body: Body) -> Reply | str:
        if not asks_for_a_ranking(body):
            return own
        return ranking if isinstance(ranking, Reply) else ranking(body)

    return answer


@pytest.fixture
def peers(panel: Panel) -> Panel:
    for place, text in enumerate(TEXTS, start=1):
        panel.server.script(f"p{place}", peer(text))
    return panel


async def asked(moa: ChatMoA, *, asynchronous: bool) -> AIMessage:
    return await moa.ainvoke(QUESTION) if asynchronous else moa.invoke(QUESTION)


def steps_of(answer: AIMessage) -> list[tuple[str, str, str | None]]:
    steps = answer.response_metadata["moa"].get("steps", [])
    return [(step["node"], step["status"], step.get("error", {}).get("kind")) for step in steps]


both = pytest.mark.parametrize("asynchronous", [False, True])


@both
async def test_one_that_gave_no_answer_is_not_asked_to_rank(peers: Panel, asynchronous: bool) -> None:
    peers.server.script("p2", Reply("no such key", status=401))
    answer = await asked(peers.model(aggregation="rank"), asynchronous=asynchronous)
    assert len(peers.server.calls("p2")) == 1
    moa = answer.response_metadata["moa"]
    assert moa["degraded"] == [moa["degraded"][0]], "it is told once"
    assert "steps" not in moa, "each of the two others has one answer before it, and nothing to rank"


@both
async def test_one_that_is_late_is_not_asked_to_rank(peers: Panel, chat: Chat, asynchronous: bool) -> None:
    peers.server.script("p4", Reply(hang=True))
    answers = when_asked(peers.server, "p4", text=TEXTS[0])

    async def first(body: Body) -> str:
        return ranks(body) if asks_for_a_ranking(body) else await answers(body)

    peers.server.script("p1", first)  # so the layer is not closed before all four have been asked
    proposers = [*peers.members["proposers"], chat("p4")]
    moa = peers.model(proposers=proposers, aggregation="rank", quorum=3, quorum_grace=0)
    answer = await asked(moa, asynchronous=asynchronous)
    assert len(peers.server.calls("p4")) == 1
    assert steps_of(answer) == [("rank_1", "ok", None), ("rank_2", "ok", None), ("rank_3", "ok", None)]
    assert peers.server.calls("agg")[0].system.endswith(RANKED)


@both
async def test_a_ranking_has_as_long_as_a_proposal(peers: Panel, asynchronous: bool) -> None:
    peers.server.script("p3", peer(TEXTS[2], Reply(hang=True)))

    async def within(limit: float) -> AIMessage:
        return await asked(peers.model(aggregation="rank", proposer_timeout=limit), asynchronous=asynchronous)

    answer, limit = await only_hanging_calls_time_out(peers.server, within, {"p3": 2})
    assert sorted(steps_of(answer)) == [("rank_1", "ok", None), ("rank_2", "ok", None), ("rank_3", "failed", "timeout")]
    # The rankings that arrived count: the third answer is best in both, and each of the others was ranked once.
    assert peers.server.calls("agg")[0].system.partition("models:\n")[2].startswith(f"1. {TEXTS[2]}")
    assert f"rank_3: peer (openai:p3) failed: timeout: no answer within {limit:g} s" in str(
        answer.response_metadata["moa"]["degraded"]
    )


@both
@pytest.mark.parametrize("of_round", [{}, {"quorum": 3}], ids=["all", "quorum"])
@pytest.mark.parametrize("field", ["proposer_timeout", "deadline"])
async def test_a_fallback_has_time_to_rank(
    peers: Panel, chat: Chat, field: str, of_round: dict[str, Any], *, asynchronous: bool
) -> None:
    peers.server.script("p3", peer(TEXTS[2], Reply(hang=True)))
    peers.server.script("second", ranks)
    proposers = [*peers.members["proposers"][:2], Proposer(chat("p3"), fallbacks=[chat("second")])]

    async def within(limit: float) -> AIMessage:
        # A ranking and its fallback have a third of the deadline each.
        fields = {field: limit if field == "proposer_timeout" else 3 * limit}
        return await asked(
            peers.model(proposers=proposers, aggregation="rank", **of_round, **fields), asynchronous=asynchronous
        )

    answer, _ = await only_hanging_calls_time_out(peers.server, within, {"p3": 2})
    assert len(peers.server.calls("second")) == 1
    assert ("rank_3", "ok", None) in steps_of(answer)
    assert ("rank_3", "failed", field.removeprefix("proposer_")) in steps_of(answer)


@both
async def test_a_quorum_closes_the_ranking_too(peers: Panel, chat: Chat, asynchronous: bool) -> None:
    peers.server.script("p4", peer("no idea", Reply(hang=True)))
    proposers = [*peers.members["proposers"], chat("p4")]
    # All four have answered before the round of answers closes, and only three rank.
    gate = peers.server.gate()
    for place in (1, 2, 3):
        behaviour = peer(TEXTS[place - 1], lambda body: ranks(body, (*BEST_FIRST, "no idea")))
        peers.server.script(f"p{place}", _behind(gate, behaviour))
    peers.server.script("p4", _opening(gate, peer("no idea", Reply(hang=True))))

    async def within(grace: float) -> AIMessage:
        moa = peers.model(proposers=proposers, aggregation="rank", quorum=3, quorum_grace=grace)
        return await asked(moa, asynchronous=asynchronous)

    answer, _ = await only_hanging_calls_time_out(peers.server, within, {"p4": 2})
    assert sorted(steps_of(answer)) == [
        *((f"rank_{place}", "ok", None) for place in (1, 2, 3)),
        ("rank_4", "failed", "quorum"),
    ]
    assert peers.server.calls("agg")[0].system.endswith(f"{RANKED}\n4. no idea")


def _behind(gate: Any, behaviour: Callable[[Body], Reply | str]) -> Callable[[Body], Reply | str]:
    def answer(body: Body) -> Reply | str:
        found = behaviour(body)
        return found if asks_for_a_ranking(body) else Reply(str(found), gate=gate)

    return answer


def _opening(gate: Any, behaviour: Callable[[Body], Reply | str]) -> Callable[[Body], Reply | str]:
    def answer(body: Body) -> Reply | str:
        gate.open()
        return behaviour(body)

    return answer


@both
async def test_a_ranking_that_cannot_be_read_closes_nothing(peers: Panel, asynchronous: bool) -> None:
    for place in (1, 2):
        peers.server.script(f"p{place}", peer(TEXTS[place - 1], Reply("no idea")))
    late = peer(TEXTS[2], lambda body: ranks(body, (TEXTS[1], TEXTS[0])))

    async def within(grace: float) -> AIMessage:
        late_by = 2 * grace
        peers.server.script("p3", lambda body: Reply(str(late(body)), delay=late_by) if asks_for_a_ranking(body) else TEXTS[2])
        return await asked(peers.model(aggregation="rank", quorum=1, quorum_grace=grace), asynchronous=asynchronous)

    answer, _ = await only_hanging_calls_time_out(peers.server, within, {})
    assert ("rank_3", "ok", None) in steps_of(answer)
    assert peers.server.calls("agg")[0].system.endswith(f"\n1. {TEXTS[1]}\n2. {TEXTS[2]}\n3. {TEXTS[0]}")


def test_after_an_early_exit_those_rank_that_have_answered(peers: Panel, chat: Chat) -> None:
    strong = [chat("strong")]
    graph = create_moa(
        [peers.members["proposers"], strong], peers.members["aggregator"], aggregation="rank", stop_when=lambda layer: True
    ).compile()
    state = graph.invoke(turn())
    assert peers.server.calls("strong") == []
    assert [step["model"] for step in state["steps"]] == ["openai:p1", "openai:p2", "openai:p3"]
    assert peers.server.calls("agg")[0].system.endswith(RANKED)


def test_steps_of_an_agent_keep_the_ranking_of_the_turn(peers: Panel) -> None:
    moa = peers.model(aggregation="rank", references_per="turn")
    moa.invoke(QUESTION)
    before = len(peers.server.requests)
    called = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
    moa.invoke([*QUESTION, called, ToolMessage("seen", tool_call_id="1")])
    assert peers.server.models[before:] == ["agg"]
    assert peers.server.calls("agg")[-1].system.endswith(RANKED)
