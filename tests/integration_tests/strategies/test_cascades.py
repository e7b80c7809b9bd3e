"""Blind layers, votes that end early, and undecided votes: what is sent, and what the answer reports."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import ChatMoA, Mixture, create_moa
from langchain_moa.drawing import draw_mermaid
from langchain_moa.engine.graph import build_graph
from langchain_moa.prompting.prompts import SYNTHESIZE
from tests.inquiries import turn
from tests.integration_tests.strategies.panel import TEXTS, Panel, every_way
from tests.loopback import Reply
from tests.time_limits import when_asked

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

AGREE: dict[str, Any] = {"agreement": {"threshold": 1, "extract": "number"}}
VOTE: dict[str, Any] = {"vote": {"extract": "number", "over": "all"}}


def answers(server: Loopback, **texts: str) -> None:
    for model, text in texts.items():
        server.script(model, text)


class TestBlind:
    @pytest.mark.parametrize("prompt", ["blind", {2: "blind"}, {"2": "blind"}])
    async def test_a_blind_layer_sees_the_question_alone_and_the_aggregator_everything(self, panel: Panel, prompt: Any) -> None:
        one, two, three = panel.members["proposers"]
        await every_way(panel.model(proposers=[[one, two], [three]], prompt=prompt, num_layers=2))
        assert {request.system for request in panel.server.calls("p3")} == {"Be brief."}
        for request in panel.server.calls("agg"):
            shown = "".join(f"\n{number}. {text}" for number, text in enumerate(TEXTS, start=1))
            assert request.system == f"Be brief.\n\n{SYNTHESIZE}\n\nResponses from models:{shown}"

    def test_each_reader_can_have_a_prompt_of_its_own(self, panel: Panel) -> None:
        one, two, three = panel.members["proposers"]
        prompt = {2: "Improve on these.", "aggregator": "Write one answer from these."}
        panel.model(proposers=[[one], [two], [three]], prompt=prompt, num_layers=3).invoke("6 * 7")
        assert panel.server.calls("p2")[0].system == f"Improve on these.\n\nResponses from models:\n1. {TEXTS[0]}"
        assert panel.server.calls("p3")[0].system == f"{SYNTHESIZE}\n\nResponses from models:\n1. {TEXTS[1]}"
        assert panel.server.calls("agg")[0].system == f"Write one answer from these.\n\nResponses from models:\n1. {TEXTS[2]}"

    @pytest.mark.parametrize(
        ("prompt", "text"),
        [
            ({3: "blind"}, "prompt names layer 3, but num_layers is 2"),
            ({1: "blind"}, "1 does not read references"),
            ({"last": "blind"}, "'last' does not read references"),
            ({"aggregator": "blind"}, "aggregator: it must see the references"),
            ({2: "blid"}, "unknown prompt 'blid'; choose one of: paper, hardened, blind"),
            ({2: 7}, "2: give a prompt's name, an instruction or a callable, not int"),
            ({}, "the mapping is empty"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, panel: Panel, prompt: Any, text: str) -> None:
        with pytest.raises(ValueError, match=text):
            panel.model(prompt=prompt, num_layers=2)

    def test_a_blind_layer_that_fails_keeps_what_was_there_before(self, panel: Panel) -> None:
        one, two, three = panel.members["proposers"]
        panel.server.script("p3", Reply("no", status=400))
        filters = ["duplicates"]
        answer = panel.model(proposers=[[one, two], [three]], prompt="blind", num_layers=2, reference_filters=filters).invoke(
            "?"
        )
        assert answer.text == "the answer of the aggregator"
        assert [text in panel.server.calls("agg")[0].system for text in TEXTS] == [True, True, False]


class TestCascade:
    def test_two_that_agree_are_enough(self, panel: Panel) -> None:
        answers(panel.server, p1="It is 42.", p2="so 42.0")
        one, two, three = panel.members["proposers"]
        moa = panel.model(proposers=[[one, two], [three]], prompt="blind", num_layers=2, aggregation=VOTE, stop_when=AGREE)
        account = moa.invoke("6 * 7").response_metadata["moa"]
        assert sorted(panel.server.models) == ["p1", "p2"]
        assert account["stopped"] == "2 of 2 answers of layer 1 agree: 42"
        assert account["selected"]["votes"] == account["selected"]["of"] == 2
        assert account["selected"]["agreement"] == 1.0

    async def test_the_third_decides_where_they_disagree(self, panel: Panel) -> None:
        one, two, three = panel.members["proposers"]
        moa = panel.model(proposers=[[one, two], [three]], prompt="blind", num_layers=2, aggregation=VOTE, stop_when=AGREE)
        for answer in [moa.invoke("6 * 7"), await moa.ainvoke("6 * 7")]:
            account = answer.response_metadata["moa"]
            assert answer.text == TEXTS[1]
            assert "stopped" not in account
            assert (account["selected"]["votes"], account["selected"]["of"]) == (2, 3)
        assert panel.server.calls("p3")[0].system == ""

    def test_of_three_different_answers_that_of_the_most_trusted_counts(self, panel: Panel) -> None:
        answers(panel.server, p1="1", p2="2", p3="3")
        one, two, three = panel.members["proposers"]
        cascade: dict[str, Any] = {"proposers": [[one, two], [three]], "prompt": "blind", "num_layers": 2, "stop_when": AGREE}
        assert panel.model(**cascade, aggregation=VOTE).invoke("?").text == "1"
        trusting = {"vote": {**VOTE["vote"], "trust": ["openai:p3", "openai:p2"]}}
        assert panel.model(**cascade, aggregation=trusting).invoke("?").text == "3"
        with pytest.raises(
            ValueError, match="trust names 'p4', which is not a proposer; the proposers are openai:p1, openai:p2, openai:p3"
        ):
            panel.model(**cascade, aggregation={"vote": {"trust": ["p4"]}})

    def test_all_answers_so_far_count_for_the_agreement(self, panel: Panel) -> None:
        answers(panel.server, p1="42", p2="41", p3="42")
        one, two, three = panel.members["proposers"]
        moa = panel.model(
            proposers=[[one, two], [three], [one]],
            prompt="blind",
            num_layers=3,
            stop_when={"agreement": {"threshold": 0.6, "extract": "number"}},
        )
        account = moa.invoke("6 * 7").response_metadata["moa"]
        assert account["stopped"] == "2 of 3 answers so far agree: 42"
        assert len(account["layers"]) == 2

    def test_a_seeing_layer_counts_alone_unless_all_are_to_count(self, panel: Panel) -> None:
        answers(panel.server, p1="42", p2="41", p3="42")
        one, two, three = panel.members["proposers"]
        mixed: dict[str, Any] = {"proposers": [[one, two], [three]], "num_layers": 2}
        account = panel.model(**mixed, aggregation={"vote": {"extract": "number"}}).invoke("?").response_metadata["moa"]
        assert (account["selected"]["votes"], account["selected"]["of"]) == (1, 1)
        account = panel.model(**mixed, aggregation=VOTE).invoke("?").response_metadata["moa"]
        assert (account["selected"]["votes"], account["selected"]["of"]) == (2, 3)


class TestDecided:
    async def test_a_decided_vote_cancels_the_rest_of_its_layer(self, panel: Panel) -> None:
        answers(panel.server, p1="42")
        panel.server.script("p3", Reply(hang=True))
        panel.server.script("p2", when_asked(panel.server, "p3", text="so 42"))
        moa = panel.model(aggregation={"vote": {"extract": "number"}}, stop_when="agreement")
        account = (await moa.ainvoke("6 * 7")).response_metadata["moa"]
        assert account["selected"]["answer"] == "42"
        cancelled = account["layers"][0][2]
        assert cancelled["status"] == "cancelled"
        assert cancelled["error"] == {
            "kind": "decided",
            "message": "its answer was not needed: 2 of 3 votes are for 42",
        }
        assert "degraded" not in account
        await asyncio.to_thread(panel.server.settle)
        assert [request.disconnected for request in panel.server.calls("p3")] == [True]

    async def test_a_call_that_was_waiting_for_its_turn_is_neither_made_nor_counted(self, panel: Panel) -> None:
        answers(panel.server, p1="42", p2="42", p3="42")
        moa = panel.model(aggregation={"vote": {"extract": "number"}}, stop_when="agreement", max_concurrency=1)
        for answer in [moa.invoke("6 * 7"), await moa.ainvoke("6 * 7")]:
            account = answer.response_metadata["moa"]
            statuses = [(call["status"], call.get("sent")) for call in account["layers"][0]]
            assert sorted(statuses, key=str) == [("cancelled", False), ("ok", None), ("ok", None)]
            assert account["calls"] == 2
        assert len(panel.server.models) == 4

    def test_without_the_condition_all_are_waited_for(self, panel: Panel) -> None:
        answers(panel.server, p1="42", p2="so 42")
        panel.server.script("p3", Reply("41", after="p2"))
        account = panel.model(aggregation={"vote": {"extract": "number"}}).invoke("6 * 7").response_metadata["moa"]
        assert account["selected"]["of"] == 3

    def test_a_failure_may_decide(self, panel: Panel) -> None:
        # One answer is 42, one failed: the third can at most make a tie, which the first proposer wins.
        answers(panel.server, p1="42")
        panel.server.script("p2", Reply("no", status=400))
        panel.server.script("p3", Reply(hang=True))
        moa = panel.model(aggregation={"vote": {"extract": "number"}}, stop_when="agreement")
        assert moa.invoke("6 * 7").text == "42"

    def test_layers_that_cannot_change_the_vote_are_not_asked(self, panel: Panel) -> None:
        answers(panel.server, p1="42", p2="42", p3="41")
        one, two, three = panel.members["proposers"]
        # A majority of five: two for, one against, one more for, and it is decided.
        moa = panel.model(
            proposers=[[one, two, three], [one], [two]], prompt="blind", num_layers=3, aggregation=VOTE, stop_when=AGREE
        )
        account = moa.invoke("6 * 7").response_metadata["moa"]
        assert len(account["layers"]) == 2
        assert account["stopped"] == "3 of 5 votes are for 42"

    def test_the_stream_says_so(self, panel: Panel) -> None:
        answers(panel.server, p1="42", p2="42")
        panel.server.script("p3", Reply(hang=True))
        mixture = Mixture(
            proposers=panel.members["proposers"],
            num_layers=1,
            aggregation={"vote": {"extract": "number"}},
            stop_when="agreement",
        )
        events = list(create_moa(mixture).compile().stream(turn("6 * 7"), stream_mode="custom"))
        [decided] = [event for event in events if event["moa"] == "decided"]
        assert decided == {"moa": "decided", "layer": 1, "reason": "2 of 3 votes are for 42"}
        assert "ends early: vote decided" in draw_mermaid(create_moa(mixture))

    def test_the_drawing_says_so(self, panel: Panel) -> None:
        one, two, three = panel.members["proposers"]
        moa = panel.model(proposers=[[one, two], [three]], prompt="blind", num_layers=2, aggregation=VOTE, stop_when=AGREE)
        drawn = draw_mermaid(build_graph(moa))
        assert "blind: does not see the layers before" in drawn
        assert "stop: agreement, vote decided" in drawn


class TestUndecided:
    @pytest.mark.parametrize("writer", ["aggregator", "model"])
    async def test_a_model_writes_where_the_vote_is_undecided(self, panel: Panel, chat: Chat, writer: str) -> None:
        answers(panel.server, p1="1", p2="2", p3="3", strong="It is 42.")
        undecided: Any = "aggregator" if writer == "aggregator" else chat("strong")
        fields: dict[str, Any] = {"aggregation": {"vote": {"extract": "number", "threshold": 0.6, "undecided": undecided}}}
        moa = (
            panel.model(**fields)
            if writer == "aggregator"
            else ChatMoA(proposers=panel.members["proposers"], num_layers=1, **fields)
        )
        said, asked = ("the answer of the aggregator", "agg") if writer == "aggregator" else ("It is 42.", "strong")
        for answer in await every_way(moa):
            assert answer.text == said
            account = answer.response_metadata["moa"]
            assert account["undecided"] == {
                "by": "vote",
                "answer": "1",
                "votes": 1,
                "of": 3,
                "agreement": 0.3333,
                "tie": True,
            }
        assert panel.server.calls(asked)[0].system.endswith("Responses from models:\n1. 1\n2. 2\n3. 3")

    async def test_a_decided_vote_asks_nobody(self, panel: Panel) -> None:
        aggregation = {"vote": {"extract": "number", "threshold": 0.6, "undecided": "aggregator"}}
        for answer in await every_way(panel.model(aggregation=aggregation)):
            assert answer.text == TEXTS[1]
            assert answer.response_metadata["moa"]["selected"]["agreement"] == 0.6667
        assert not panel.server.calls("agg")

    def test_without_a_next_step_the_metadata_say_so(self, panel: Panel) -> None:
        answers(panel.server, p1="1", p2="2", p3="3")
        answer = panel.model(aggregation={"vote": {"extract": "number", "threshold": 0.6}}).invoke("6 * 7")
        assert answer.text == "1"
        assert answer.response_metadata["moa"]["selected"]["undecided"] is True

    def test_a_conversation_goes_on_from_turn_to_turn(self, panel: Panel) -> None:
        from langgraph.checkpoint.memory import InMemorySaver

        aggregation = {"vote": {"extract": "number", "threshold": 0.6, "undecided": "aggregator"}}
        graph = create_moa(**panel.members, num_layers=1, aggregation=aggregation).compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        panel.server.script("p2", ["2", "41", "7"])
        assert graph.invoke(turn("?"), config)["messages"][-1].text == "the answer of the aggregator"
        assert graph.invoke(turn("??"), config)["messages"][-1].text == TEXTS[0]
        assert graph.invoke(turn("???"), config)["messages"][-1].text == "the answer of the aggregator"

    def test_what_is_never_used_is_refused(self, panel: Panel) -> None:
        with pytest.raises(ValueError, match="undecided has no effect without a threshold"):
            panel.model(aggregation={"vote": {"undecided": "aggregator"}})
        with pytest.raises(ValueError, match="aggregator is missing, and aggregation: vote asks it"):
            ChatMoA(
                proposers=panel.members["proposers"],
                aggregation={"vote": {"threshold": 0.5, "undecided": "aggregator"}},
            )
