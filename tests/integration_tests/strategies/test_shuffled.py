"""Shuffled references at the wire, and where their order is recorded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typer.testing import CliRunner

from langchain_moa import ChatMoA, create_moa
from langchain_moa.cli.app import app
from tests.inquiries import turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

LAYER = ("p1", "p2", "p3", "p4")
_DRAFTS = re.compile(r"(?:^\d\. |^\[draft [0-9a-f]{12}\]\n)p(\d) says", re.MULTILINE)


def orders(loopback: Loopback, *, calls: tuple[str, ...] = ("p1", "agg")) -> list[list[int]]:
    """The order in which the second layer and the aggregator were shown the proposers' answers."""
    systems = [request.system for name in calls for request in loopback.calls(name)]
    return [[int(place) for place in _DRAFTS.findall(system)] for system in systems if "p1 says" in system]


def mixture(chat: Chat, seed: int = 7, **options: Any) -> ChatMoA:
    members: dict[str, Any] = {"proposers": [chat(name) for name in LAYER], "aggregator": chat("agg")}
    return ChatMoA(**members, **{"reference_filters": {"shuffled": {"seed": seed}}, **options})


@pytest.mark.parametrize("prompt", ["paper", "hardened"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_readers_are_shown_the_order_that_the_answer_records(
    loopback: Loopback, chat: Chat, prompt: str, asynchronous: bool
) -> None:
    seen = set()
    for question in ("One?", "Two?", "Three?"):
        for _ in range(2):
            loopback.reset()
            moa = mixture(chat, prompt=prompt)
            answer = await moa.ainvoke(question) if asynchronous else moa.invoke(question)
            recorded = answer.response_metadata["moa"]["passed_on"]
            assert orders(loopback) == recorded
            # All members of a layer are shown the same order.
            assert orders(loopback, calls=LAYER) == [recorded[0]] * 4
            assert [sorted(layer) for layer in recorded] == [[1, 2, 3, 4]] * 2
            seen.add(str(recorded))
    # The order is the same for the same question, and differs for another question.
    assert len(seen) == 3


def test_the_same_seed_and_references_make_the_same_prompts(loopback: Loopback, chat: Chat) -> None:
    sent = []
    for seed in (7, 7, 8):
        loopback.reset()
        mixture(chat, seed, num_layers=1).invoke("One?")
        sent.append(loopback.calls("agg")[0].messages)
    assert sent[0] == sent[1] != sent[2]


def test_the_event_and_the_state_have_the_order_too(loopback: Loopback, chat: Chat) -> None:
    graph = create_moa([chat(name) for name in LAYER], chat("agg"), reference_filters=["shuffled"]).compile()
    events: list[Any] = []
    state: Any = None
    for mode, data in graph.stream(turn("One?"), stream_mode=["custom", "values"]):
        if mode == "values":
            state = data
        elif isinstance(data, dict) and data["moa"] == "merged":
            events.append(data["references"])
    assert state["passed_on"] == events == orders(loopback)
    assert [reference["proposer"] for reference in state["merged"]] == events[-1]
    assert [reference["proposer"] for reference in state["references"]] == [1, 2, 3, 4] * 2


def test_filters_before_it_are_recorded_with_it_and_every_turn_anew(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p2", "p1 says: One?")  # repeats it and is dropped
    fields: dict[str, Any] = {"reference_filters": ["duplicates", "shuffled"]}
    graph = create_moa([chat(name) for name in LAYER], chat("agg"), **fields).compile(checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    first = graph.invoke(turn("One?"), thread)["messages"][-1].response_metadata["moa"]["passed_on"]
    assert [sorted(layer) for layer in first] == [[1, 3, 4]] * 2
    loopback.script("p2", "p2 says: Two?")
    second = graph.invoke(turn("Two?"), thread)["messages"][-1].response_metadata["moa"]["passed_on"]
    assert [sorted(layer) for layer in second] == [[1, 2, 3, 4]] * 2


def test_without_filters_there_is_nothing_to_record(loopback: Loopback, chat: Chat) -> None:
    answer = mixture(chat, reference_filters=()).invoke("One?")
    assert "passed_on" not in answer.response_metadata["moa"]
    assert orders(loopback) == [[1, 2, 3, 4]] * 2


def test_a_file_and_the_command_line_take_it(
    loopback: Loopback, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    file = tmp_path / "moa.yaml"
    members = "".join(f"  - openai:{name}\n" for name in LAYER)
    file.write_text(f"proposers:\n{members}aggregator: openai:agg\nnum_layers: 1\n")
    with file.open("a") as more:
        more.write("reference_filters:\n  - shuffled: {seed: 7}\n")
    ChatMoA.from_config(file).invoke("One?")
    ChatMoA.from_config(file, reference_filters={"shuffled": {"seed": 8}}).invoke("One?")
    written, overridden = orders(loopback)
    loopback.reset()
    mixture(chat, num_layers=1).invoke("One?")
    assert orders(loopback) == [written]
    loopback.reset()
    arguments = ["ask", "--config", str(file), "--set", "reference_filters={shuffled: {seed: 8}}", "One?"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert orders(loopback) == [overridden]
    assert written != overridden
