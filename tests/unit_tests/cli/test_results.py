"""The table of calls, the JSON document, and the displayed references."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.cli.results import ReferencesView, calls_table, failure_document, result_document
from langchain_moa.cli.run_views import RunResult
from tests.unit_tests.cli.screen import Screen

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference

LONG = "together:Qwen/Qwen3-235B-A22B-Instruct-2507-tput-with-a-very-long-name"
USAGE = UsageMetadata(input_tokens=1000, output_tokens=234, total_tokens=1234)


def call(name: str = LONG, **more: Any) -> dict[str, Any]:
    return {"name": name, "model": name, "status": "ok", "seconds": 1.26, "usage": USAGE, **more}


def reference(**more: Any) -> Reference:
    place = {"turn": "t", "layer": 1, "proposer": 1, "name": "openai:a", "model": "openai:a"}
    result = {"text": "An answer.", "status": "ok", "error": None, "usage": None, "seconds": 2.0}
    return cast("Reference", {**place, **result, **more})


def result(**moa: Any) -> RunResult:
    calls = {"layers": [[call(), call("openai:b")]], "aggregator": call("openai:sol"), "calls": 3}
    return RunResult(
        message=AIMessage("The answer, größer."),
        references=[reference()],
        usage=USAGE,
        moa={**calls, **moa},
        seconds=3.5,
    )


def shown(run: RunResult, width: int = 80) -> list[str]:
    return Screen(width=width).drawn(calls_table(run.moa, seconds=run.seconds, width=width))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_has_every_call_and_fits(width: int) -> None:
    title, first, second, aggregator, total = shown(result(), width)
    assert title.split() == ["model", "seconds", "in", "out"]
    assert first.split()[:2] == ["layer", "1"]
    assert first.split()[-3:] == ["1.3", "1,000", "234"]
    assert "name" in first
    assert second.split() == ["openai:b", "1.3", "1,000", "234"]
    assert aggregator.split() == ["aggregator", "openai:sol", "1.3", "1,000", "234"]
    assert total.split() == ["total", "3", "calls", "3.5", "3,000", "702"]
    assert max(map(len, [title, first, second, aggregator, total])) <= width


def test_dollars_where_a_price_is_known_and_a_sum_where_all_are() -> None:
    layers = [[call(cost_usd=0.00001), call(cost_usd=0.0)]]
    lines = shown(result(layers=layers, aggregator=call("openai:sol", cost_usd=0.1234), cost_usd=0.12341))
    assert [line.split()[-1] for line in lines] == ["cost", "<$0.0001", "$0", "$0.1234", "$0.1234"]
    lines = shown(result(layers=[[call(cost_usd=0.5), call()]]))
    assert [line.split()[-1] for line in lines[:-1]] == ["cost", "$0.5000", "?", "?", "$0.5000"]
    assert lines[-1] == "? is not known; the total is at least this"


def test_what_nobody_counted_is_not_guessed() -> None:
    lines = shown(result(layers=[[call(usage=None)]]))
    assert lines[1].split()[-2:] == ["?", "?"]
    assert lines[-2].split()[-2:] == ["1,000", "234"]
    assert lines[-1] == "? is not known; the total is at least this"
    assert shown(result(layers=[[call(usage=None)]], aggregator=None))[-1].split()[-2:] == ["?", "?"]


def test_a_failed_call_says_so() -> None:
    lines = shown(result(layers=[[call("openai:a", status="failed", usage=None), call("openai:b", status="late")]]))
    assert lines[1].split()[-1] == "failed"
    assert lines[2].split()[-1] == "late"


def test_the_calls_of_strategies_have_their_rows_and_no_aggregator_none() -> None:
    lines = shown(result(steps=[call("ranker", node="judge"), call("ranker", node="judge")], aggregator=None))
    assert [line.split()[0] for line in lines[3:]] == ["judge", "ranker", "total"]


def test_the_document_has_the_same_keys_for_answer_and_failure() -> None:
    answered = json.loads(result_document(result()))
    failed = json.loads(failure_document("all failed", [reference(text="", status="failed")]))
    assert list(answered) == list(failed) == ["answer", "references", "usage", "moa", "error"]
    assert answered["answer"] == "The answer, größer."
    assert answered["references"] == [dict(reference())]
    assert answered["usage"]["total_tokens"] == 1234
    assert answered["moa"]["calls"] == 3
    assert answered["error"] is None
    assert failed["answer"] is None
    assert failed["error"] == "all failed"
    assert "größer" in result_document(result())


def test_references_are_shown_once_each_as_they_come() -> None:
    screen = Screen(width=60)
    watcher = ReferencesView(screen.console)
    first, second = reference(text="One [b]\x1b[31m.\n"), reference(proposer=2, name="openai:b", text="Two.")
    failed = reference(layer=2, status="failed", text="", error={"kind": "Timeout", "message": "too slow"})
    watcher.on_references([])
    watcher.on_references([first, second])
    watcher.on_references([first, second])
    watcher.on_references([first, second, failed])
    written = screen.text
    assert [line for line in written.splitlines() if line and not line.startswith("layer")] == [
        "One [b][31m.",
        "Two.",
        "failed: Timeout: too slow",
    ]
    assert written.count("layer 1, 1: openai:a  2.0 s") == 1
    assert "layer 2, 1: openai:a" in written


@pytest.mark.parametrize(
    ("metadata", "cut"),
    [
        ({"finish_reason": "length"}, True),
        ({"stop_reason": "max_tokens"}, True),
        ({"finish_reason": "MAX_TOKENS"}, True),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, True),
        ({"finish_reason": "stop"}, False),
        ({"incomplete_details": None}, False),
        ({}, False),
    ],
)
def test_an_answer_that_was_cut_is_known_by_every_spelling(metadata: dict[str, Any], cut: bool) -> None:
    run = replace(result(), message=AIMessage("The", response_metadata=metadata))
    assert run.is_cut is cut
    assert run.remarks == (["the answer was cut at max_tokens"] if cut else [])


def test_a_cut_is_said_once() -> None:
    run = replace(
        result(degraded=["answer: cut at max_tokens"]), message=AIMessage("The", response_metadata={"finish_reason": "length"})
    )
    assert run.remarks == ["answer: cut at max_tokens"]


def test_the_document_steers_no_terminal_and_is_the_same_for_a_program() -> None:
    evil = "a\x1b]0;t\x07\x9b31m\u202e\x7f\U000e0041 größer \U0001f600"
    text = failure_document(evil, [])
    assert json.loads(text)["error"] == evil
    assert not set(text) & set("\x1b\x07\x9b\u202e\x7f\U000e0041")
    assert "größer \U0001f600" in text
