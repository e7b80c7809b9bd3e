"""What a chat keeps: the conversation, the totals, and the questions of earlier chats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from langchain_core.messages import AIMessage
from prompt_toolkit.history import InMemoryHistory

from langchain_moa import Mixture, create_moa
from langchain_moa.cli.chat import prompt
from langchain_moa.cli.chat.conversation import ChatTotals, ChatTurn, Conversation
from langchain_moa.cli.chat.mixture_views import graph_boxes, members_table
from langchain_moa.cli.chat.prompt import PrivateHistory, open_history
from langchain_moa.cli.run_views import RunResult
from langchain_moa.cli.spending import Spending
from langchain_moa.drawing.diagram import read
from tests.unit_tests.cli.screen import Screen

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_moa.data.reference import Reference


def reference(proposer: int, status: str = "ok") -> Reference:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15} if status == "ok" else None
    error = None if status == "ok" else {"kind": "late", "message": "too slow"}
    place: dict[str, Any] = {"turn": "1", "layer": 1, "proposer": proposer, "name": "openai:a", "model": "openai:a"}
    return {**place, "text": "a", "status": status, "error": error, "usage": usage, "seconds": 0.25}  # type: ignore[typeddict-item]  # a status by name


def answered(status: str = "late") -> ChatTurn:
    references = [reference(1), reference(2, status)]
    last = {"name": "openai:agg", "model": "openai:agg", "status": "ok", "seconds": 1.5}
    usage: Any = {"input_tokens": 1000, "output_tokens": 20, "total_tokens": 1020}
    first = {**references[0], "usage": usage, "cost_usd": 0.0125}
    moa = {"layers": [[first, references[1]]], "aggregator": {**last, "usage": usage, "cost_usd": 0.00002}, "calls": 3}
    result = RunResult(message=AIMessage("b"), references=references, usage=usage, moa=moa, seconds=2.0)
    return ChatTurn("Why?", result=result, references=references)


def mixture(**options: Any) -> Mixture:
    members = {"proposers": ["openai:a", "openai:b"], "aggregator": "openai:agg", "api_key": "test", "num_layers": 1}
    return Mixture(**{**members, **options})


def test_of_earlier_turns_the_question_and_the_answer_are_sent() -> None:
    conversation = Conversation("Be brief.", [("Why?", "So.")])
    sent = conversation.asked("And then?")
    assert [(message.type, message.text) for message in sent] == [
        *[("system", "Be brief."), ("human", "Why?"), ("ai", "So."), ("human", "And then?")]
    ]
    assert conversation.turns == [("Why?", "So.")]


def test_a_conversation_can_be_read_by_people_and_programs() -> None:
    conversation = Conversation("Be brief.", [("Why?\n", "*So*.")])
    assert conversation.to_markdown("A chat") == (
        "# A chat\n\n## System\n\nBe brief.\n\n## You\n\nWhy?\n\n## Mixture\n\n*So*.\n"
    )
    assert [message["role"] for message in json.loads(conversation.to_json())] == ["system", "user", "assistant"]


def test_a_question_without_an_answer_counts_what_was_paid_for() -> None:
    totals = ChatTotals()
    totals.add(answered())
    assert str(totals) == "1 question, 3 calls · 2,000 tokens in, 40 out · $0.0125"
    totals.add(ChatTurn("Why?", references=[reference(1), reference(2, "late")]))
    # The price of one of these is not known; the known costs of the others are still shown.
    assert str(totals) == "2 questions, 5 calls · 2,010 tokens in, 45 out · at least $0.0125"


def test_what_was_not_counted_or_is_too_little_for_its_digits_is_said() -> None:
    turn = answered()
    assert turn.result is not None
    turn.result.moa["layers"] = []
    assert str(Spending.of(turn.moa)) == "1,000 tokens in, 20 out · <$0.0001"
    turn.result.moa["steps"] = [{"name": "a", "model": "a", "status": "ok", "seconds": 1.0}]
    assert str(Spending.of(turn.moa)).startswith("at least 1,000 tokens in, 20 out · at least")


def test_the_history_is_its_owners_alone_and_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "no-shape-of-a-key")
    file = tmp_path / "folder" / "chat-history"
    file.parent.mkdir()
    file.write_text("\n# 2026\n+earlier\n", encoding="utf-8")
    file.chmod(0o644)
    kept = PrivateHistory(file)
    kept.append_string("is no-shape-of-a-key\na key?")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "no-shape" not in file.read_text(encoding="utf-8")
    assert list(PrivateHistory(file).load_history_strings()) == ["is **********\na key?", "earlier"]


def test_a_history_that_can_no_longer_be_written_does_not_end_the_chat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = PrivateHistory(tmp_path / "chat-history")
    (tmp_path / "chat-history").unlink()
    (tmp_path / "chat-history").mkdir()
    kept.append_string("first")
    kept.append_string("second")
    assert kept.get_strings() == ["first", "second"]
    assert capsys.readouterr().err.count("will not be saved: ") == 1


def test_a_history_that_cannot_be_kept_is_told_and_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(prompt, "history_file", lambda: tmp_path / "file" / "chat-history")
    assert isinstance(open_history(kept=True), InMemoryHistory)
    assert "will not be saved" in capsys.readouterr().err
    homeless = RuntimeError("could not determine the home directory")
    monkeypatch.setattr(prompt, "history_file", Mock(side_effect=homeless))
    assert isinstance(open_history(kept=True), InMemoryHistory)
    assert "will not be saved: could not determine" in capsys.readouterr().err
    assert isinstance(open_history(kept=False), InMemoryHistory)
    assert capsys.readouterr().err == ""


def test_the_graph_stands_side_by_side_or_one_below_the_other() -> None:
    diagram = read(create_moa(mixture(num_layers=2)))
    wide, narrow = Screen(width=120), Screen(width=40)
    beside = wide.drawn(graph_boxes(diagram, None, wide.console))
    assert [beside[0].count(title) for title in ("layer 1", "layer 2", "aggregator")] == [1, 1, 1]
    assert "→" in "".join(beside)
    below = narrow.drawn(graph_boxes(diagram, None, narrow.console))
    assert [line.strip() for line in below].count("↓") == 2
    assert max(map(len, below)) <= 40


@pytest.mark.parametrize("status", ["late", "cancelled"])
def test_the_graph_says_what_has_become_of_each_call(status: str) -> None:
    screen = Screen(width=120)
    drawn = "\n".join(screen.drawn(graph_boxes(read(create_moa(mixture())), answered(status), screen.console)))
    assert "✓ openai:a 0.2 s" in drawn
    assert "\N{EN DASH} openai:b" in drawn
    assert "✓ openai:agg 1.5 s" in drawn


def test_the_steps_of_an_aggregation_are_one_stage() -> None:
    screen = Screen(width=160)
    drawn = screen.drawn(graph_boxes(read(create_moa(mixture(aggregation="rank"))), None, screen.console))
    titles = drawn[0] + drawn[1]
    assert [title in titles for title in ("layer 1", "rank", "aggregation")] == [True] * 3
    assert any("rank 1 openai:a" in line for line in drawn)


def test_the_members_are_listed_once_for_layers_that_are_alike() -> None:
    sceptic = {"model": "openai:b", "name": "sceptic", "settings": {"seed": 1}, "system_prompt": "Doubt\nit."}
    screen = Screen(width=120)
    described = mixture(proposers=["openai:a", sceptic], num_layers=2, aggregator_fallbacks=["openai:c"])
    _, first, second, aggregator, fallback = screen.drawn(members_table(described, width=120))
    assert first.split() == ["layers", "1-2", "openai:a"]
    assert second.split("  ")[-1].strip() == "sceptic · seed=1 · “Doubt it.”"
    assert aggregator.split() == ["aggregator", "openai:agg"]
    assert fallback.split() == ["fallback", "openai:c"]
