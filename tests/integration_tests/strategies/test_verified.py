"""Answers chosen by a check: what is asked, cancelled and shown, and what the answer reports."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import ChatMoA
from langchain_moa.drawing import draw_mermaid
from langchain_moa.engine.graph import build_graph
from tests.integration_tests.strategies.panel import TEXTS, Panel, every_way, sum_of
from tests.loopback import Reply
from tests.time_limits import when_asked

if TYPE_CHECKING:
    from pathlib import Path

ASKED = "What is 6 times 7?"


def says_42(text: str, question: str) -> bool | str:
    assert question == ASKED
    return "42" in text or f"there is no 42 in {text!r}"


async def says_42_async(text: str, question: str) -> bool | str:
    await asyncio.sleep(0)
    return says_42(text, question)


def verified(check: Any, **fields: Any) -> dict[str, Any]:
    return {"verified": {"check": check, **fields}}


@pytest.mark.parametrize("check", [says_42, says_42_async, partial(says_42_async)])
async def test_the_first_reference_that_passes_is_the_answer_unchanged(panel: Panel, check: Any) -> None:
    panel.server.script("p3", Reply(hang=True))
    panel.server.script("p2", when_asked(panel.server, "p3", text=TEXTS[1]))
    moa = panel.model(aggregation=verified(check))
    for answer in [moa.invoke(ASKED), await moa.ainvoke(ASKED), sum_of([chunk async for chunk in moa.astream(ASKED)])]:
        assert answer.text == TEXTS[1]
        account = answer.response_metadata["moa"]
        assert account["verified"] is True
        assert account["selected"]["name"] == "openai:p2"
        assert [call["status"] for call in account["layers"][0]][1:] == ["ok", "cancelled"]
        assert account["layers"][0][2]["error"]["kind"] == "decided"
        assert "degraded" not in account
    assert not panel.server.calls("agg")
    await asyncio.to_thread(panel.server.settle)
    assert all(request.disconnected for request in panel.server.calls("p3"))


async def test_where_none_passes_the_aggregator_reads_what_the_check_said_and_is_checked(panel: Panel) -> None:
    panel.server.script("p2", "It is 43.")
    panel.server.script("p3", "so 44")
    panel.server.script("agg", "It is 42, then.")
    for answer in await every_way(panel.model(aggregation=verified(says_42))):
        assert answer.text == "It is 42, then."
        account = answer.response_metadata["moa"]
        assert (account["verified"], account["check"]) == (True, {"passed": True, "said": ""})
        said = [call["check"] for call in account["layers"][0]]
        assert said[1] == {"passed": False, "said": "there is no 42 in 'It is 43.'"}
    shown = panel.server.calls("agg")[0].system
    assert "\n2. It is 43.\n\n[A check of this response has failed: there is no 42 in 'It is 43.']" in shown


def test_an_answer_that_does_not_pass_says_so(panel: Panel) -> None:
    answer = panel.model(aggregation=verified(lambda _text, _question: False)).invoke(ASKED)
    assert answer.text == "the answer of the aggregator"
    assert answer.response_metadata["moa"]["verified"] is False
    assert answer.response_metadata["moa"]["check"] == {"passed": False, "said": ""}
    assert "[A check of this response has failed]" in panel.server.calls("agg")[0].system


def test_the_next_layer_reads_what_the_check_said_and_may_end_it_all(panel: Panel) -> None:
    one, two, three = panel.members["proposers"]
    panel.server.script("p2", "It is 42.")
    moa = panel.model(proposers=[[one], [two], [three]], num_layers=3, aggregation=verified(says_42))
    answer = moa.invoke(ASKED)
    assert answer.text == "It is 42."
    assert answer.response_metadata["moa"]["stopped"] == ("the answer of openai:p2 (layer 2, proposer 1) has passed the check")
    assert panel.server.models == ["p1", "p2"]
    assert "\n1. It is 41.\n\n[A check of this response has failed: there is no 42" in panel.server.calls("p2")[0].system


def test_a_check_that_raises_costs_no_answer(panel: Panel, caplog: pytest.LogCaptureFixture) -> None:
    known: dict[str, bool] = {}

    def mistaken(text: str, _: str) -> bool:
        return known[text]

    account = panel.model(aggregation=verified(mistaken)).invoke(ASKED).response_metadata["moa"]
    assert account["verified"] is False
    assert account["check"]["said"] == "the check raised KeyError: 'the answer of the aggregator'"
    assert "the check raised KeyError" in caplog.text

    def asserting(text: str, _: str) -> bool:
        assert text == "nothing", "it says something"
        return True

    account = panel.model(aggregation=verified(asserting)).invoke(ASKED).response_metadata["moa"]
    assert account["check"]["said"].startswith("it says something")
    returning_nothing: Any = lambda _text, _question: None  # noqa: E731
    account = panel.model(aggregation=verified(returning_nothing)).invoke(ASKED).response_metadata["moa"]
    assert "the check returned NoneType; return True, False, or a message of what is wrong" in account["check"]["said"]


def test_a_check_that_hangs_is_left_behind(panel: Panel) -> None:
    released = threading.Event()

    def hanging(_text: str, _question: str) -> bool:
        return released.wait(600)

    try:
        account = panel.model(aggregation=verified(hanging, timeout=0.01)).invoke(ASKED).response_metadata["moa"]
    finally:
        released.set()
    assert account["check"] == {"passed": False, "said": "the check exceeded its timeout of 0.01 s"}


async def test_a_check_does_not_run_on_the_event_loop(panel: Panel) -> None:
    threads = set()

    def noting(_text: str, _question: str) -> bool:
        threads.add(threading.current_thread())
        return False

    await panel.model(aggregation=verified(noting)).ainvoke(ASKED)
    assert threads
    assert threading.current_thread() not in threads


def test_a_file_is_named_in_a_configuration(panel: Panel, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("WANTED = '42'")
    mine = tmp_path / "mine.py"
    mine.write_text("from helper import WANTED\n\n\ndef check(text, question):\n    return WANTED in text\n")
    (tmp_path / "moa.yaml").write_text(f'num_layers: 1\nproposers: [x]\naggregation: {{verified: {{check: "{mine}:check"}}}}')
    moa = ChatMoA.from_config(tmp_path / "moa.yaml", **panel.members)
    assert moa.invoke(ASKED).text in TEXTS[1:]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no.py:check", "verified: check: no.py:check: there is no file no.py"),
        ("mine", "'mine': give the file and its function, as in mine.py:check"),
        (7, "give a callable .text, question., or 'file.py:function', not int"),
    ],
)
def test_a_wrong_check_is_refused_at_construction(panel: Panel, name: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        panel.model(aggregation=verified(name))


def test_files_without_the_function_or_that_raise_are_refused(panel: Panel, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(ValueError, match="has no function 'check'"):
        panel.model(aggregation=verified(f"{tmp_path / 'mine.py'}:check"))
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ValueError, match="raised ZeroDivisionError"):
        panel.model(aggregation=verified(f"{tmp_path / 'broken.py'}:check"))


def test_without_an_aggregator_the_medoid_may_be_the_answer(panel: Panel) -> None:
    proposers = panel.members["proposers"]
    moa = ChatMoA(proposers=proposers, num_layers=1, aggregation=verified(lambda _t, _q: False, otherwise="medoid"))
    account = moa.invoke(ASKED).response_metadata["moa"]
    assert account["verified"] is False
    assert account["selected"]["because"] == "no reference has passed the check"
    with pytest.raises(ValueError, match="aggregator is missing, and aggregation: verified asks it"):
        ChatMoA(proposers=proposers, num_layers=1, aggregation=verified(says_42))


def test_a_chosen_answer_can_call_no_tool(panel: Panel) -> None:
    with pytest.raises(ValueError, match="the aggregation 'verified' does not write an answer itself"):
        panel.model(aggregation=verified(says_42)).bind_tools([{"name": "f", "description": "d", "parameters": {}}])


def test_the_drawing_shows_the_check_of_the_answer(panel: Panel) -> None:
    drawn = draw_mermaid(build_graph(panel.model(aggregation=verified(says_42))))
    assert "ends early: check passed" in drawn
    assert "aggregator --> step_verify" in drawn
