"""The ledger: what was answered is never asked again, whatever it holds; and what may be spent is not exceeded."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.evaluation.call import Call, Part, Run
from langchain_moa.evaluation.errors import EvaluationError
from langchain_moa.evaluation.gate import Gate, HaltedError, StoppedError
from langchain_moa.evaluation.ledger import Ledger
from langchain_moa.evaluation.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

# A million tokens of its answers are 40 cents.
NANO = "openai:gpt-4.1-nano"
PART = Part(place="layer 1, proposer 1", layer=1, model=NANO, identity={"model": NANO}, origin="o")


def _call(content: str, *, run: Run | None = None, max_tokens: int | None = None) -> Call:
    run = run or Run.of("q", [HumanMessage("Why?")])
    return Call(run=run, part=PART, content=content, max_tokens=max_tokens)


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
    # It is the same now and after it was read again.
    assert len({repr(each) for each in said}) == 1


def test_an_entry_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:

        def refuse(*_: object, **__: object) -> str:
            msg = "disk full"
            raise OSError(msg)

        monkeypatch.setattr("langchain_moa.evaluation.ledger.asdict", refuse)
        with pytest.raises(OSError, match="disk full"):
            asyncio.run(ledger.answer(_call("a"), _saying(_message(), [])))
        assert not ledger.entries


def test_half_a_line_is_what_a_killed_process_has_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        asyncio.run(ledger.answer(_call("a"), _saying(_message(), [])))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert len(Ledger(path).entries) == 1
    with Ledger(path) as ledger:
        asyncio.run(ledger.answer(_call("b"), _saying(_message(), [])))
    assert path.read_bytes().startswith(whole)
    assert len(Ledger(path).entries) == 2


def test_a_line_that_is_none_is_named_and_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"key": "of another kind"}\n')
    with pytest.raises(EvaluationError, match=r"ledger\.jsonl, line 1: no entry of a ledger"):
        Ledger(path)
    assert path.read_text() == '{"key": "of another kind"}\n'


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    waiting = Ledger(path)
    with Ledger(path) as ledger:
        with pytest.raises(EvaluationError, match="in use by another run; wait for its end, or give another --output"), waiting:
            pass
        asyncio.run(ledger.answer(_call("a"), _saying(_message(), [])))
    # What was added while it waited is not asked again.
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
        calls = [_call("a", run=Run.of("q", [HumanMessage("Why?")])) for _ in range(3)]
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
        # Each reserves 40 cents and takes 10.
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
        # What is there can still be read.
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
    # Of nobody knows how long answers, 300 tokens are expected; six at once would have cost $2.40.
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
    patience = Patience(gate, concurrency=concurrency)
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
