from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.data.reference import Step, merge_steps
from langchain_moa.data.state import MoAState, steps_of
from langchain_moa.data.usage import account, total_usage
from tests.inquiries import reference


def step(turn: str, name: str, **more: Any) -> Step:
    made = Step(turn=turn, node="select", name=name, model="p:m", text="", status="ok", error=None, usage=None, seconds=0.1)
    made.update(more)  # type: ignore[typeddict-item]  # a test's own keys
    return made


def test_steps_are_kept_in_the_order_of_the_calls() -> None:
    one, two, three = step("t", "one"), step("t", "two"), step("t", "one")
    assert merge_steps(None, [one]) == [one]
    assert merge_steps([one], [two, three]) == [one, two, three]
    assert merge_steps([one], []) == [one]
    assert merge_steps(None, None) == []


def test_a_new_turn_drops_those_of_the_old_one() -> None:
    old, new = step("1", "old"), step("2", "new")
    left = [old]
    assert merge_steps(left, [new]) == [new]
    assert left == [old]
    assert steps_of(MoAState(messages=[HumanMessage("Hi", id="2")], steps=[old, new])) == [new]


def test_the_account_counts_them() -> None:
    usage = UsageMetadata(input_tokens=3, output_tokens=4, total_tokens=7)
    failed = step("t", "ranker", status="failed", error={"kind": "X", "message": "y"})
    moa = account([reference("a")], None, steps=[step("t", "ranker", usage=usage), failed], stopped="enough")
    assert [each["status"] for each in moa["steps"]] == ["ok", "failed"]
    assert "text" not in moa["steps"][0]
    assert moa["steps"][1]["error"] == {"kind": "X", "message": "y"}
    assert (moa["calls"], moa["aggregator"], moa["stopped"]) == (3, None, "enough")
    assert total_usage(moa) == usage
