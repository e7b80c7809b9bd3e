"""What strategies send to models: how much of the references, and which limits."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import ChatMoA, Proposer, create_moa
from langchain_moa.strategies import Ask
from langchain_moa.strategies.inquiry import decide
from tests.inquiries import turn
from tests.integration_tests.strategies.panel import ANALYSIS, QUESTION, Panel

if TYPE_CHECKING:
    from tests.loopback.fixtures import Chat

LONG = " ".join(f"Sentence number {number} says nothing new." for number in range(400))

# Each asks the model `judge` about the references in its own way.
ASKING: dict[str, dict[str, Any]] = {
    "select": {"aggregation": {"select": {"model": "judge"}}},
    "consistent": {"aggregation": {"consistent": {"model": "judge"}}},
    "analyze": {"aggregation": {"analyze": {"model": "judge"}}},
    "judge": {"reference_filters": [{"judge": {"model": "judge"}}]},
    "the filter moderator": {"num_layers": 2, "reference_filters": [{"moderator": {"model": "judge"}}]},
    "the condition moderator": {"num_layers": 2, "stop_when": {"moderator": {"model": "judge"}}},
    "residual": {"num_layers": 3, "stop_when": {"residual": {"model": "judge"}}},
}


def asking(how: str, judge: Any) -> dict[str, Any]:
    """The fields of a mixture with a strategy that asks this model."""

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: judge if key == "model" else replaced(item) for key, item in value.items()}
        return [replaced(item) for item in value] if isinstance(value, list) else value

    return {name: replaced(value) for name, value in ASKING[how].items()}


@pytest.fixture
def long(panel: Panel) -> Panel:
    """Proposers with long and different answers."""
    for place in (1, 2, 3):
        panel.server.script(f"p{place}", f"{LONG} Said by {place}.")
    panel.server.script("judge", "?")
    return panel


@pytest.mark.parametrize("how", ASKING)
async def test_each_reference_is_cut_as_for_every_other_reader(long: Panel, chat: Chat, how: str) -> None:
    moa = long.model(**asking(how, chat("judge")), max_reference_tokens=16)
    moa.invoke(QUESTION)
    await moa.ainvoke(QUESTION)
    for asked in long.server.calls("judge"):
        assert "Sentence number 0 says nothing new. […]" in asked.messages[1]["content"]
        assert "Sentence number 2" not in str(asked.messages)


@pytest.mark.parametrize("how", ASKING)
def test_a_prompt_fits_into_the_window_of_whoever_is_asked(
    long: Panel, chat: Chat, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    moa = long.model(**asking(how, chat("judge", profile={"max_input_tokens": 1000})))
    with caplog.at_level(logging.WARNING, "langchain_moa"):
        moa.invoke(QUESTION)
    first, second = long.server.calls("judge")[:2]
    assert max(len(str(asked.messages)) for asked in (first, second)) < 4 * 1000
    assert second.roles == ["system", "user", "assistant", "user"], "the repair has the question before it"
    assert second.messages[0] == first.messages[0]
    assert second.messages[1]["content"].startswith("The conversation:")
    assert first.messages[1]["content"].count(" […]") >= 3
    assert "the prompt for openai:judge did not fit into 1000 tokens: references cut to " in caplog.text


def twice(messages: Any, references: Any) -> Any:
    """An aggregation that asks without references, and then once more."""
    said, _ = yield from decide(Ask(messages=messages, name="judge"), lambda reply: reply if "A" in reply else None, form="A")
    return said or references[0]


def test_the_question_stays_where_a_repair_does_not_fit(long: Panel, chat: Chat) -> None:
    long.server.script("judge", "word " * 1000)
    judge = chat("judge", profile={"max_input_tokens": 1000})
    long.model(aggregation=twice, aggregator=judge).invoke(QUESTION)
    first, second = long.server.calls("judge")
    assert second.messages[: len(first.messages)] == first.messages
    assert second.user.startswith("That could not be read.")


def test_the_stream_tells_what_was_cut(long: Panel, chat: Chat) -> None:
    graph = create_moa(
        long.model(aggregation={"select": {"model": chat("judge", profile={"max_input_tokens": 1000})}})
    ).compile()
    events = [each for each in graph.stream(turn(), stream_mode="custom") if isinstance(each, dict)]
    trimmed = [(event["name"], event["trimmed"][0].partition(" to ")[0]) for event in events if event["moa"] == "trimmed"]
    assert set(trimmed) == {("openai:judge", "references cut")}


def test_a_stand_in_is_sent_what_fits_into_its_own_window(long: Panel, chat: Chat) -> None:
    long.server.script("agg", "")
    stand_in = chat("judge", profile={"max_input_tokens": 1000})
    long.model(aggregation="select", aggregator_fallbacks=[stand_in]).invoke(QUESTION)
    (whole, *_), (cut, *_) = long.server.calls("agg"), long.server.calls("judge")
    assert len(str(whole.messages)) > 40_000
    assert len(str(cut.messages)) < 4000


def test_a_window_of_a_sequence_is_cut_for_whoever_writes_it(long: Panel, chat: Chat) -> None:
    aggregator = Proposer(chat("judge", profile={"max_input_tokens": 1000}), system_prompt="You are fair.")
    long.model(aggregation={"sequential": {"window": 2}}, aggregator=aggregator).invoke(QUESTION)
    for asked in long.server.calls("judge"):
        assert asked.system.startswith("Be brief.\n\nYou are fair.\n\nYou have been provided with")
        assert len(str(asked.messages)) < 4000


def test_a_question_of_ones_own_may_show_references_too(long: Panel) -> None:
    def asking(messages: Any, references: Any) -> Any:
        return (yield Ask(messages=messages, references=references[:1], name="oracle"))["text"]

    long.model(aggregation=asking, max_reference_tokens=16).invoke(QUESTION)
    (asked,) = long.server.calls("agg")
    assert asked.system.endswith("Responses from models:\n1. Sentence number 0 says nothing new. […]")


class TestLimits:
    """Limits that end an answer early do not apply to verdicts."""

    def ends(self, body: Any) -> set[str]:
        return {"max_tokens", "max_completion_tokens", "stop"} & set(body)

    @pytest.mark.parametrize("how", ASKING)
    async def test_a_verdict_has_none_of_the_users(self, panel: Panel, chat: Chat, how: str) -> None:
        panel.server.script("judge", "?")
        moa = panel.model(**asking(how, chat("judge")), max_tokens=16, stop=["#"])
        for answer in (moa.invoke(QUESTION), await moa.ainvoke(QUESTION, max_tokens=8, stop=["!"])):
            assert answer.text
        assert all(self.ends(asked.body) == set() for asked in panel.server.calls("judge"))
        assert all(self.ends(asked.body) == {"max_completion_tokens", "stop"} for asked in panel.server.calls("p1"))

    def test_an_analysis_is_not_cut_by_the_limit_of_the_answer(self, panel: Panel) -> None:
        panel.server.script("agg", [json.dumps(ANALYSIS), "written"])
        panel.model(aggregation="analyze", max_tokens=16).invoke(QUESTION)
        analyst, writer = panel.server.calls("agg")
        assert (self.ends(analyst.body), self.ends(writer.body)) == (set(), {"max_completion_tokens"})

    def test_a_draft_has_them(self, panel: Panel) -> None:
        panel.model(aggregation={"sequential": {"window": 2}}, max_tokens=16, stop=["#"]).invoke(QUESTION)
        assert [self.ends(asked.body) for asked in panel.server.calls("agg")] == [{"max_completion_tokens", "stop"}] * 2

    def test_the_models_own_limit_stays(self, panel: Panel, chat: Chat) -> None:
        panel.model(aggregation={"select": {"model": chat("judge", max_tokens=64)}}).invoke(QUESTION)
        assert self.ends(panel.server.calls("judge")[0].body) == {"max_completion_tokens"}


def test_one_reference_is_not_analysed(panel: Panel, chat: Chat) -> None:
    ChatMoA(proposers=[chat("p1")], aggregator=chat("agg"), num_layers=1, aggregation="analyze").invoke(QUESTION)
    assert panel.server.models == ["p1", "agg"]


# Strategies that ask for JSON, each with a name that must be in its schema.
JSON = {
    "analyze": "blind_spots",
    "judge": "A",
    "the filter moderator": "keep",
    "the condition moderator": "end",
    "residual": "changed",
}


class TestStructuredOutput:
    """JSON is requested natively if the model's profile supports it."""

    @pytest.mark.parametrize("how", JSON)
    async def test_a_model_that_has_it_is_held_to_the_schema(self, panel: Panel, chat: Chat, how: str) -> None:
        panel.server.script("judge", "?")
        judge = Proposer(chat("judge", profile={"structured_output": True}), system_prompt="You are strict.")
        moa = panel.model(**asking(how, judge))
        moa.invoke(QUESTION)
        await moa.ainvoke(QUESTION)
        calls = panel.server.calls("judge")
        assert len(calls) >= 4
        for asked in calls:
            sent = asked.body["response_format"]
            assert sent["type"] == "json_schema"
            assert JSON[how] in sent["json_schema"]["schema"]["properties"]
            assert sent["json_schema"]["schema"]["additionalProperties"] is False
            assert asked.system.endswith("\n\nYou are strict.")
            assert "JSON of the form" in asked.messages[-1]["content"]
        assert all("response_format" not in asked.body for asked in panel.server.requests if asked.model != "judge")

    @pytest.mark.parametrize("how", ASKING)
    def test_a_model_that_does_not_say_so_is_asked_in_words(self, panel: Panel, chat: Chat, how: str) -> None:
        panel.server.script("judge", "?")
        panel.model(**asking(how, chat("judge", profile={"structured_output": False}))).invoke(QUESTION)
        panel.model(**asking(how, chat("judge"))).invoke(QUESTION)
        assert all("response_format" not in asked.body for asked in panel.server.calls("judge"))

    def test_labels_are_no_json(self, panel: Panel, chat: Chat) -> None:
        panel.model(**asking("select", chat("judge", profile={"structured_output": True}))).invoke(QUESTION)
        assert all("response_format" not in asked.body for asked in panel.server.calls("judge"))

    def test_the_text_is_read_as_ever(self, panel: Panel, chat: Chat) -> None:
        panel.server.script("judge", [json.dumps(ANALYSIS)[:-2], json.dumps(ANALYSIS)])
        moa = panel.model(**asking("analyze", chat("judge", profile={"structured_output": True})))
        answer = moa.invoke(QUESTION)
        assert len(panel.server.calls("judge")) == 2, "one that is cut is asked for once more"
        assert "Blind spots:\n- Why.\n[analysis " in panel.server.calls("agg")[0].system
        assert answer.response_metadata["moa"]["calls"] == 6

    def test_a_binding_keeps_what_is_bound(self, panel: Panel, chat: Chat) -> None:
        judge = chat("judge", profile={"structured_output": True}).bind(seed=7).with_retry()
        panel.model(**asking("analyze", judge)).invoke(QUESTION)
        (asked, _) = panel.server.calls("judge")
        assert (asked.body["seed"], asked.body["response_format"]["type"]) == (7, "json_schema")

    def test_where_another_model_may_answer_it_is_asked_in_words(self, panel: Panel, chat: Chat) -> None:
        judge = chat("judge", profile={"structured_output": True}).with_fallbacks([chat("agg")])
        panel.model(**asking("analyze", judge)).invoke(QUESTION)
        assert "response_format" not in panel.server.calls("judge")[0].body

    def test_a_mixture_that_is_asked_hands_it_to_its_aggregator(self, panel: Panel, chat: Chat) -> None:
        panel.server.script("judge", json.dumps(ANALYSIS))
        inner = ChatMoA(proposers=[chat("p1")], aggregator=chat("judge", profile={"structured_output": True}), num_layers=1)
        panel.model(**asking("analyze", inner)).invoke(QUESTION)
        assert panel.server.calls("judge")[0].body["response_format"]["type"] == "json_schema"
        assert "Blind spots:\n- Why.\n[analysis " in panel.server.calls("agg")[0].system
