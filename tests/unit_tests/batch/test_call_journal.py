"""The journal of calls: what was answered is never asked again, whatever it holds; and what may be spent is not exceeded."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.batch import call_journal
from langchain_moa.batch.call_journal import CallJournal
from langchain_moa.batch.calls import CallRequest, CallSite, QuestionRun
from langchain_moa.batch.journal import BatchJournal
from langchain_moa.batch.limits import BatchError, CircuitBreaker, Gate, HaltedError, StoppedError
from langchain_moa.data.files import write_whole
from tests.full_disk import full_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

# A million tokens of its answers are 40 cents.
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
        with CallJournal(tmp_path / "calls.journal") as journal:
            said.append(asyncio.run(journal.answer(_call("a"), _saying(message, asked))).answer)
            said.append(asyncio.run(journal.answer(_call("a"), _saying(message, asked))).answer)
    assert len(asked) == 1
    assert {each.text for each in said} == {message.text}
    # It is the same now and after it was read again.
    assert len({repr(each) for each in said}) == 1


def _largest(folder: Path) -> int:
    return max(each.stat().st_size for each in folder.iterdir())


def test_a_full_disk_stops_every_further_call_and_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    asked: list[str] = []

    async def work(journal: CallJournal) -> list[Any]:
        await journal.answer(_call("a"), _saying(_message(), asked, "a"))
        with full_at(_largest(tmp_path)):
            # Two are under way when the first one cannot be written; the others have not begun.
            under_way = await asyncio.gather(*(journal.answer(_call(n), _saying(_message(), asked, n)) for n in "bc"))
            later = [journal.answer(_call(name), _saying(_message(), asked, name)) for name in "de"]
            ended = await asyncio.gather(*later, return_exceptions=True)
            # What is only in memory is found, too.
            again = await journal.answer(_call("c"), _saying(_message(), asked, "c"))
            assert not journal.save()
            return [*under_way, again, *ended]

    with CallJournal(path) as journal:
        found = asyncio.run(work(journal))
        assert [each.answer.text for each in found[:3]] == ["So."] * 3
        assert [type(each) for each in found[3:]] == [HaltedError] * 2
        assert asked == ["a", "b", "c"]
        assert journal.gate.reason == "write"
        assert re.search(r"calls\.journal cannot be written \(.*\): no further call is made", journal.gate.why)
        assert len(journal.unsaved) == 2
        # What is only in memory has been paid for, too.
        assert journal.budget.spent == pytest.approx(3 * 0.4)
        assert len(journal) == 3
    # There is room again when the run ends.
    assert not journal.unsaved
    with CallJournal(path) as journal:
        assert len(list(journal.records())) == 3
        assert journal.budget.spent == pytest.approx(3 * 0.4)


def test_calls_that_cannot_be_saved_until_the_end_leave_a_journal_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    with CallJournal(path) as journal:
        asyncio.run(journal.answer(_call("a"), _saying(_message(), [])))
    with full_at(1000), CallJournal(path) as journal:
        asyncio.run(journal.answer(_call("b"), _saying(_message(), [])))
        assert not journal.save()
    assert len(journal.unsaved) == 1
    with CallJournal(path) as journal:
        assert len(journal) == 1
        asyncio.run(journal.answer(_call("b"), _saying(_message(), [])))
        assert len(journal) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_journal_and_the_files_of_a_report_are_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    path.touch(mode=0o644)
    with CallJournal(path):
        write_whole(tmp_path / "table.md", "| a |")
        assert {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {
            "calls.journal": 0o600,
            "calls.journal-wal": 0o600,
            "table.md": 0o600,
        }
    assert sorted(each.name for each in tmp_path.iterdir()) == ["calls.journal", "table.md"]


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    write_whole(path, "before")
    with full_at(10), pytest.raises(OSError, match=r"File too large: .*table\.md"):
        write_whole(path, "x" * 100)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["table.md"]


def test_a_file_that_is_no_journal_is_named_and_left(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    path.write_text('{"key": "of another kind"}\n')
    with pytest.raises(BatchError, match=r"calls\.journal is not a journal \(.*\); give another --output, or remove the file"):
        CallJournal(path)
    assert path.read_text() == '{"key": "of another kind"}\n'


def test_nothing_is_asked_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_journal, "disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(BatchError, match=r"the disk has no room for .*calls\.journal; free some space, or give another"):
        CallJournal(tmp_path / "calls.journal")
    assert not list(tmp_path.iterdir())
    CallJournal(None).close()


def test_a_journal_that_the_disk_has_no_room_for_is_not_called_something_else(tmp_path: Path) -> None:
    with full_at(100), pytest.raises(BatchError, match=r"calls\.journal cannot be written \(.*\); free some space"):
        CallJournal(tmp_path / "calls.journal")


def test_the_journal_of_a_batch_is_not_that_of_an_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "out.journal"
    BatchJournal(path).close()
    with pytest.raises(BatchError, match=r"out\.journal is a journal of something else; give another --output"):
        CallJournal(path)
    BatchJournal(path).close()


def test_reading_creates_no_file(tmp_path: Path) -> None:
    with CallJournal.read(tmp_path / "deep" / "calls.journal") as journal:
        assert len(journal) == 0
    assert not list(tmp_path.iterdir())


def test_only_evaluations_share_the_answer_of_a_call(tmp_path: Path) -> None:
    async def work(journal: CallJournal) -> list[str]:
        asked: list[str] = []
        runs = [QuestionRun.of(name, [HumanMessage("Why?")]) for name in ("q", "r")]
        await asyncio.gather(*(journal.answer(_call("a", run=run), _saying(_message(), asked, run.question)) for run in runs))
        return asked

    for kind, asked in ((CallJournal, ["q"]), (BatchJournal, ["q", "r"])):
        with kind(tmp_path / kind.__name__) as journal:
            assert asyncio.run(work(journal)) == asked


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    with CallJournal(path) as journal:
        with pytest.raises(BatchError, match="in use by another run; wait for its end, or give another --output"):
            CallJournal(path)
        with pytest.raises(BatchError, match="in use by another run"):
            CallJournal.read(path)
        asyncio.run(journal.answer(_call("a"), _saying(_message(), [])))
    asked: list[str] = []
    with CallJournal.read(path) as journal:
        asyncio.run(journal.answer(_call("a"), _saying(_message(), asked)))
        assert journal.budget.spent == pytest.approx(0.4)
    assert not asked


def test_the_same_call_at_the_same_time_is_made_once_and_fails_once_in_a_run(tmp_path: Path) -> None:
    asked: list[str] = []

    async def fail() -> AIMessage:
        asked.append("fail")
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def work(journal: CallJournal, ask: Callable[[], Awaitable[AIMessage]]) -> list[Any]:
        calls = [_call("a", run=QuestionRun.of("q", [HumanMessage("Why?")])) for _ in range(3)]
        return await asyncio.gather(*(journal.answer(call, ask) for call in calls), return_exceptions=True)

    with CallJournal(tmp_path / "calls.journal") as journal:
        assert [type(each) for each in asyncio.run(work(journal, fail))] == [ZeroDivisionError] * 3
    with CallJournal(tmp_path / "calls.journal") as journal:
        first, second, third = asyncio.run(work(journal, _saying(_message(), asked, "say")))
    assert asked == ["fail", "say"]
    assert first == second == third


def test_what_is_reserved_makes_others_wait_and_what_does_not_fit_closes_the_gate(tmp_path: Path) -> None:
    asked: list[str] = []

    async def work(journal: CallJournal) -> list[Any]:
        # Each reserves 40 cents and takes 10.
        calls = (journal.answer(_call(name, max_tokens=1_000_000), _saying(_message(250_000), asked, name)) for name in "abcd")
        return await asyncio.gather(*calls, return_exceptions=True)

    with CallJournal(tmp_path / "calls.journal", max_cost_usd=0.65) as journal:
        *answered, last = asyncio.run(work(journal))
        assert [entry.answer.text for entry in answered] == ["So."] * 3
        assert isinstance(last, HaltedError)
        assert asked == ["a", "b", "c"]
        assert journal.gate.reason == "cost"
        assert "--max-cost-usd 0.65: $0.3500 is left, and the next call may cost $0.4000" in journal.gate.why
        with pytest.raises(StoppedError):
            journal.gate.require_open()
        # What is there can still be read.
        assert asyncio.run(journal.answer(_call("a", max_tokens=1_000_000), _saying(_message(), asked))).answer.text == "So."
    with CallJournal(tmp_path / "calls.journal", max_cost_usd=0.65) as journal:
        assert isinstance(asyncio.run(work(journal))[-1], HaltedError)
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

    async def work(journal: CallJournal) -> list[Any]:
        return await asyncio.gather(*(journal.answer(_call(name), ask) for name in "abcdef"), return_exceptions=True)

    with CallJournal(tmp_path / "calls.journal", max_cost_usd=1) as journal:
        found = asyncio.run(work(journal))
    # Before the first answer, 300 tokens are expected; six at once would have cost $2.40.
    assert sum(isinstance(each, HaltedError) for each in found) == 4
    assert most == 1
    assert journal.budget.spent == pytest.approx(0.8)


def test_a_closed_gate_keeps_its_first_reason_and_lets_what_waits_go(tmp_path: Path) -> None:
    async def work(journal: CallJournal) -> list[Any]:
        async def close() -> AIMessage:
            await asyncio.sleep(0)
            journal.gate.close("signal", "SIGINT came")
            journal.gate.close("failures", "nothing works")
            return _message(10)

        calls = (journal.answer(_call(name, max_tokens=1_000_000), close) for name in "abc")
        return await asyncio.gather(*calls, return_exceptions=True)

    with CallJournal(tmp_path / "calls.journal", max_cost_usd=0.5) as journal:
        first, *others = asyncio.run(work(journal))
    assert first.answer.text == "So."
    assert [type(each) for each in others] == [HaltedError] * 2
    assert (journal.gate.reason, journal.gate.why) == ("signal", "SIGINT came")


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


def test_the_records_are_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calls.journal"
    with CallJournal(path) as journal:
        asyncio.run(journal.answer(_call("a"), _saying(_message(1000), [])))
    with closing(sqlite3.connect(path)) as database:
        ((line,),) = database.execute("SELECT record FROM calls").fetchall()
    entry = json.loads(line)
    assert (entry["question"], entry["epoch"], entry["place"], entry["model"]) == ("q", 1, "layer 1, proposer 1", NANO)
    assert entry["cost_usd"] == pytest.approx(0.0004)
    assert entry["message"]["data"]["content"] == "So."
