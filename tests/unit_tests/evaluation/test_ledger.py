"""The ledger: an answered question is never asked again, whatever it contains, and the cost limit is never exceeded."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.batch.calls import CallRequest, CallSite, QuestionRun
from langchain_moa.batch.limits import CircuitBreaker, EvaluationError, Gate, HaltedError, StoppedError
from langchain_moa.evaluation.ledger import Ledger, write_whole
from tests.full_disk import full_at

pytest.importorskip("filelock", reason="the extra eval is not installed")

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

# Its output costs 40 cents per million tokens.
NANO = "openai:gpt-4.1-nano"
PART = CallSite(place="layer 1, proposer 1", layer=1, model=NANO, identity={"model": NANO}, origin="o")


def _call(content: str, *, run: QuestionRun | None = None, max_tokens: int | None = None) -> CallRequest:
    run = run or QuestionRun.of("q", [HumanMessage("Why?")])
    return CallRequest(run=run, site=PART, content=content, max_tokens=max_tokens)


def _message(tokens: int = 1_000_000, **more: Any) -> AIMessage:
    usage = UsageMetadata(input_tokens=0, output_tokens=tokens, total_tokens=tokens)
    return AIMessage("So.", usage_metadata=usage, **more)


def _saying(message: AIMessage, asked: list[str], name: str = "") -> Callable[[], Awaitable[AIMessage]]:
    async def ask() -> AIMessage:
        asked.append(name)
        await asyncio.sleep(0)
        return message

    return ask


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("half a character: \ud83d"),
        AIMessage("", response_metadata={"at": datetime(2026, 1, 1, tzinfo=UTC), "by": object(), ("a", "b"): 1}),
        AIMessage([{"type": "text", "text": "a\u2028b\x85c"}], response_metadata={"score": float("nan")}),
        _message(logprobs=[{"token": "\r\n"}]),
    ],
)
def test_whatever_an_answer_holds_it_is_kept_and_not_paid_again(tmp_path: Path, message: AIMessage) -> None:
    asked: list[str] = []
    said = []
    for _ in range(2):
        with Ledger(tmp_path / "ledger.jsonl") as ledger:
            said.append(asyncio.run(ledger.answer(_call("a"), _saying(message, asked))).answer)
            said.append(asyncio.run(ledger.answer(_call("a"), _saying(message, asked))).answer)
    assert len(asked) == 1
    assert {each.text for each in said} == {message.text}
    # The same before and after it is read again.
    assert len({repr(each) for each in said}) == 1


def test_a_full_disk_stops_every_further_call_and_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    asked: list[str] = []

    async def work(ledger: Ledger) -> list[Any]:
        await ledger.answer(_call("a"), _saying(_message(), asked, "a"))
        size = path.stat().st_size
        with full_at(size + size // 2):
            # Two calls are running when the first answer cannot be written; the others have not started.
            under_way = await asyncio.gather(*(ledger.answer(_call(n), _saying(_message(), asked, n)) for n in "bc"))
            later = [ledger.answer(_call(name), _saying(_message(), asked, name)) for name in "de"]
            return [*under_way, *await asyncio.gather(*later, return_exceptions=True)]

    with Ledger(path) as ledger:
        found = asyncio.run(work(ledger))
        assert [each.answer.text for each in found[:2]] == ["So."] * 2
        assert [type(each) for each in found[2:]] == [HaltedError] * 2
        assert asked == ["a", "b", "c"]
        assert ledger.gate.reason == "write"
        assert f"{path} cannot be written (File too large): no further call is made" in ledger.gate.why
        assert ledger.unsaved == 2
        # Answers that are only in memory are paid for as well.
        assert ledger.budget.spent == pytest.approx(3 * 0.4)
    # There is disk space again when the run ends.
    assert ledger.unsaved == 0
    assert len(Ledger(path).records) == 3
    assert not Ledger(path).skipped


def test_answers_that_cannot_be_saved_until_the_end_leave_a_ledger_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with full_at(700), Ledger(path) as ledger:
        asyncio.run(ledger.answer(_call("a"), _saying(_message(), [])))
        asyncio.run(ledger.answer(_call("b"), _saying(_message(), [])))
        assert not ledger.save()
    assert ledger.unsaved == 1
    with Ledger(path) as ledger:
        assert len(ledger.records) == 1
        asyncio.run(ledger.answer(_call("b"), _saying(_message(), [])))
    assert len(Ledger(path).records) == 2


def test_half_a_line_is_skipped_by_its_number_and_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        asyncio.run(ledger.answer(_call("a"), _saying(_message(), [])))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert (len(Ledger(path).records), Ledger(path).skipped) == (1, [2])
    with Ledger(path) as ledger:
        asyncio.run(ledger.answer(_call("b"), _saying(_message(), [])))
    assert path.read_bytes().startswith(whole)
    assert (len(Ledger(path).records), Ledger(path).skipped) == (2, [])
    # A record after a partial line, in the middle of the file.
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first[:40] + first + second)
    with Ledger(path) as ledger:
        assert (len(ledger.records), ledger.skipped) == (1, [1])
        asyncio.run(ledger.answer(_call("a"), _saying(_message(), [])))
    assert len(Ledger(path).records) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_ledger_and_the_files_of_a_report_are_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.touch(mode=0o644)
    with Ledger(path):
        pass
    write_whole(tmp_path / "table.md", "| a |")
    assert {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {
        "ledger.jsonl": 0o600,
        ".ledger.jsonl.lock": 0o600,
        "table.md": 0o600,
    }


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    write_whole(path, "before")
    with full_at(10), pytest.raises(OSError, match="File too large"):
        write_whole(path, "x" * 100)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["table.md"]


def test_a_line_that_is_none_is_named_and_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"key": "of another kind"}\n')
    with pytest.raises(EvaluationError, match=r"ledger\.jsonl, line 1: not a record of a ledger"):
        Ledger(path)
    assert path.read_text() == '{"key": "of another kind"}\n'


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    waiting = Ledger(path)
    with Ledger(path) as ledger:
        with pytest.raises(EvaluationError, match="in use by another run; wait for its end, or give another --output"), waiting:
            pass
        asyncio.run(ledger.answer(_call("a"), _saying(_message(), [])))
    # Answers that were added while it waited are not asked for again.
    asked: list[str] = []
    with waiting:
        asyncio.run(waiting.answer(_call("a"), _saying(_message(), asked)))
    assert not asked
    assert waiting.budget.spent == pytest.approx(0.4)


def test_the_same_call_at_the_same_time_is_made_once_and_fails_once_in_a_run(tmp_path: Path) -> None:
    asked: list[str] = []

    async def fail() -> AIMessage:
        asked.append("fail")
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def work(ledger: Ledger, ask: Callable[[], Awaitable[AIMessage]]) -> list[Any]:
        calls = [_call("a", run=QuestionRun.of("q", [HumanMessage("Why?")])) for _ in range(3)]
        return await asyncio.gather(*(ledger.answer(call, ask) for call in calls), return_exceptions=True)

    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        assert [type(each) for each in asyncio.run(work(ledger, fail))] == [ZeroDivisionError] * 3
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        first, second, third = asyncio.run(work(ledger, _saying(_message(), asked, "say")))
    assert asked == ["fail", "say"]
    assert first is second is third


def test_what_is_reserved_makes_others_wait_and_what_does_not_fit_closes_the_gate(tmp_path: Path) -> None:
    asked: list[str] = []

    async def work(ledger: Ledger) -> list[Any]:
        # Each reserves 40 cents and uses 10.
        calls = (ledger.answer(_call(name, max_tokens=1_000_000), _saying(_message(250_000), asked, name)) for name in "abcd")
        return await asyncio.gather(*calls, return_exceptions=True)

    with Ledger(tmp_path / "ledger.jsonl", max_cost_usd=0.65) as ledger:
        *answered, last = asyncio.run(work(ledger))
        assert [entry.answer.text for entry in answered] == ["So."] * 3
        assert isinstance(last, HaltedError)
        assert asked == ["a", "b", "c"]
        assert ledger.gate.reason == "cost"
        assert "--max-cost-usd 0.65: $0.3500 is left, and the next call may cost $0.4000" in ledger.gate.why
        with pytest.raises(StoppedError):
            ledger.gate.require_open()
        # The existing answers can still be read.
        assert asyncio.run(ledger.answer(_call("a", max_tokens=1_000_000), _saying(_message(), asked))).answer.text == "So."
    with Ledger(tmp_path / "ledger.jsonl", max_cost_usd=0.65) as ledger:
        assert isinstance(asyncio.run(work(ledger))[-1], HaltedError)
    assert asked == ["a", "b", "c"]


def test_the_first_answer_of_a_model_is_waited_for(tmp_path: Path) -> None:
    under_way, most = 0, 0

    async def ask() -> AIMessage:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return _message(1_000_000)

    async def work(ledger: Ledger) -> list[Any]:
        return await asyncio.gather(*(ledger.answer(_call(name), ask) for name in "abcdef"), return_exceptions=True)

    with Ledger(tmp_path / "ledger.jsonl", max_cost_usd=1) as ledger:
        found = asyncio.run(work(ledger))
    # Without known answers, 300 tokens are expected; six concurrent calls would have cost $2.40.
    assert sum(isinstance(each, HaltedError) for each in found) == 4
    assert most == 1
    assert ledger.budget.spent == pytest.approx(0.8)


def test_a_closed_gate_keeps_its_first_reason_and_lets_what_waits_go(tmp_path: Path) -> None:
    async def work(ledger: Ledger) -> list[Any]:
        async def close() -> AIMessage:
            await asyncio.sleep(0)
            ledger.gate.close("signal", "SIGINT came")
            ledger.gate.close("failures", "nothing works")
            return _message(10)

        calls = (ledger.answer(_call(name, max_tokens=1_000_000), close) for name in "abc")
        return await asyncio.gather(*calls, return_exceptions=True)

    with Ledger(tmp_path / "ledger.jsonl", max_cost_usd=0.5) as ledger:
        first, *others = asyncio.run(work(ledger))
    assert first.answer.text == "So."
    assert [type(each) for each in others] == [HaltedError] * 2
    assert (ledger.gate.reason, ledger.gate.why) == ("signal", "SIGINT came")


@pytest.mark.parametrize(("concurrency", "most"), [(1, 8), (20, 20)])
def test_failures_in_a_row_end_a_run_whatever_was_before(concurrency: int, most: int) -> None:
    gate = Gate()
    patience = CircuitBreaker(gate, concurrency=concurrency)
    for _ in range(3):
        for _ in range(most - 1):
            patience.count("a", "Timeout: late")
            patience.count("b", None)
        patience.count("a", None)
    assert gate.reason is None
    for number in range(most):
        assert gate.reason is None
        patience.count("a", f"Timeout: {number}")
    assert gate.why == f"a failed {most} times in a row, and the run was given up; the last: Timeout: {most - 1}"


def test_the_entries_are_plain_json_lines(tmp_path: Path) -> None:
    with Ledger(tmp_path / "deep" / "ledger.jsonl") as ledger:
        asyncio.run(ledger.answer(_call("a"), _saying(_message(1000), [])))
    (line,) = (tmp_path / "deep" / "ledger.jsonl").read_text(encoding="ascii").splitlines()
    entry = json.loads(line)
    assert (entry["question"], entry["epoch"], entry["place"], entry["model"]) == ("q", 1, "layer 1, proposer 1", NANO)
    assert entry["cost_usd"] == pytest.approx(0.0004)
    assert entry["message"]["data"]["content"] == "So."
