"""The output of `batch_answers`: its lines, resuming from it, and runs that do not belong to it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import Retry, batch_answers
from langchain_moa.batch.limits import BatchError
from langchain_moa.batch.run import BatchRun
from langchain_moa.data.rows import RowError
from tests.integration_tests.batch.asking import answered, asked, lines_of, pair, prompts
from tests.loopback import Reply

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback


def test_what_is_in_the_output_is_not_asked_again(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert len(answered(pair(loopback), prompts(5), output=out)) == 5
    loopback.reset()
    assert {answer.id for answer in answered(pair(loopback), prompts(7), output=out)} == {"r5", "r6"}
    assert sorted(asked(loopback, "a")) == ["question 5", "question 6"]
    assert sorted(line["id"] for line in lines_of(out)[5:]) == ["r5", "r6"]


def test_a_row_that_was_cut_off_pays_only_for_what_is_missing(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    loopback.script("last", Reply(hang=True))

    async def begin() -> None:
        async def work() -> None:
            async for _ in batch_answers(pair(loopback), prompts(3), output=out, concurrency=3):
                pass

        task = asyncio.create_task(work())
        await asyncio.to_thread(loopback.wait_for, 3, "last")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(begin())
    assert out.read_text() == ""
    loopback.settle()
    loopback.reset()
    loopback.script("last", "done")
    answers = answered(pair(loopback), prompts(3), output=out)
    assert [answer.answer for answer in answers] == ["done"] * 3
    assert loopback.models == ["last"] * 3
    # The tokens of calls that were already paid for are counted.
    assert all(answer.tokens is not None and answer.tokens["output_tokens"] == 2 * 4 + 1 for answer in answers)


def test_the_journal_stays_small(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    loopback.script("last", lambda body: Reply(status=400) if "question 3" in str(body["messages"]) else "ok")
    answered(pair(loopback), prompts(6), output=out)
    with closing(sqlite3.connect(tmp_path / "out.jsonl.journal")) as journal:
        kept = journal.execute("SELECT row, COUNT(*) FROM calls GROUP BY row").fetchall()
    # Only a failed row may need its calls again.
    assert kept == [("r3", 2)]


def test_failed_rows_say_why_and_are_asked_again_only_if_you_say_so(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    loopback.script("last", lambda body: Reply("no", status=400) if "question 1" in str(body["messages"]) else "ok")
    answers = {answer.id: answer for answer in answered(pair(loopback), prompts(3), output=out)}
    assert answers["r1"].answer is None
    assert answers["r1"].error is not None
    assert "Error code: 400 - no" in answers["r1"].error
    assert answers["r0"].error is None
    failed = next(line for line in lines_of(out) if line["id"] == "r1")
    assert failed["answer"] is None
    assert failed["error"] == answers["r1"].error
    loopback.reset()
    loopback.script("last", "now")
    assert answered(pair(loopback), prompts(3), output=out) == []
    assert loopback.requests == []
    [again] = answered(pair(loopback), prompts(3), output=out, retry_failed=True)
    assert (again.id, again.answer) == ("r1", "now")
    # Its proposers are already paid for.
    assert loopback.models == ["last"]
    assert Counter(line["id"] for line in lines_of(out)) == {"r0": 1, "r1": 1, "r2": 1}


def test_the_output_can_be_put_in_order(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    first = loopback.gate()
    loopback.script("last", lambda body: Reply("late", gate=first) if "question 0" in str(body["messages"]) else "ok")

    async def collect() -> list[Any]:
        ids = []
        async for answer in batch_answers(pair(loopback), prompts(9), output=out, concurrency=2, ordered=True):
            ids.append(answer.id)
            if len(ids) == 8:
                first.open()
        return ids

    assert asyncio.run(collect())[-1] == "r0"
    assert [line["id"] for line in lines_of(out)] == [f"r{i}" for i in range(9)]
    assert answered(pair(loopback), prompts(9), output=out) == []


def test_columns_named_like_a_field_of_the_output_are_kept(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows = [{"question": "1 + 1?", "answer": "2", "error": "x", "input_answer": "y", "tokens": 3}]
    answered(pair(loopback), rows, output=out)
    [line] = lines_of(out)
    assert line["answer"] == "last says: 1 + 1?"
    assert (line["input_input_answer"], line["input_answer"]) == ("2", "y")
    assert (line["input_error"], line["input_tokens"], line["error"]) == ("x", 3, None)


def test_a_second_run_on_one_output_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with (
        BatchRun(pair(loopback), [], output=out),
        pytest.raises(BatchError, match=r"out\.jsonl\.journal is in use by another run"),
    ):
        answered(pair(loopback), ["a"], output=out)
    assert loopback.requests == []
    assert len(answered(pair(loopback), ["a"], output=out)) == 1


def test_another_mixture_on_one_output_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    answered(pair(loopback), ["a"], output=out)
    loopback.reset()
    with pytest.raises(BatchError, match="was started with another mixture; give another --output"):
        answered(pair(loopback, temperature=0.3), ["a", "b"], output=out)
    assert loopback.requests == []
    # How calls are made does not change the answers.
    assert len(answered(pair(loopback, retry=Retry(attempts=5)), ["a", "b"], output=out)) == 1


def test_an_id_that_asks_something_else_now_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    assert len(answered(pair(loopback), rows, output=out)) == 2
    loopback.reset()
    rows.write_text('{"prompt": "new"}\n{"prompt": "a"}\n{"prompt": "b"}\n')
    with pytest.raises(RowError, match=r"line 1: the id '1' already has an answer in .*, to another prompt"):
        answered(pair(loopback), rows, output=out)
    assert loopback.requests == []


def test_the_column_that_is_asked_may_be_named_like_a_field_of_the_output(loopback: Loopback, tmp_path: Path) -> None:
    rows = [{"id": 1, "answer": "a", "input_answer": "b"}, {"id": 2, "answer": "c"}]
    options = {"output": tmp_path / "out.jsonl", "prompt_field": "answer"}
    assert {answer.answer for answer in answered(pair(loopback), rows, **options)} == {"last says: a", "last says: c"}
    assert answered(pair(loopback), rows, **options) == []
    with pytest.raises(RowError, match=r"the id '1' already has an answer in .*, to another prompt"):
        answered(pair(loopback), [{"id": 1, "answer": "z"}], **options)


def test_another_system_message_or_column_on_one_output_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    out, rows = tmp_path / "out.jsonl", [{"id": 1, "x": "a", "y": "b"}]
    assert len(answered(pair(loopback), rows, output=out, system="Be brief.", prompt_field="x")) == 1
    with pytest.raises(BatchError, match=r"was started with another system message \(--system\); give another --output"):
        answered(pair(loopback), rows, output=out, system="Be long.", prompt_field="x")
    with pytest.raises(BatchError, match="was started with another --prompt-field; give another --output"):
        answered(pair(loopback), rows, output=out, system="Be brief.", prompt_field="y")
    assert answered(pair(loopback), rows, output=out, system="Be brief.", prompt_field="x") == []


def test_two_names_of_one_output_are_one_output(loopback: Loopback, tmp_path: Path) -> None:
    out, link = tmp_path / "out.jsonl", tmp_path / "link.jsonl"
    out.touch()
    link.symlink_to(out)
    with BatchRun(pair(loopback), [], output=link), pytest.raises(BatchError, match="is in use by another run"):
        BatchRun(pair(loopback), [], output=out)
    assert len(answered(pair(loopback), prompts(2), output=link, ordered=True)) == 2
    assert link.is_symlink()
    assert len(lines_of(out)) == 2
    with pytest.raises(BatchError, match="is the input; give another --output"):
        answered(pair(loopback), link, output=out)
    with pytest.raises(BatchError, match="is a folder; give a file as --output"):
        answered(pair(loopback), [], output=tmp_path)


def test_each_line_is_json_whatever_its_columns_are(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    columns = {"score": float("nan"), "all": [float("inf"), 1.5], "deep": {"x": -float("inf")}}
    answered(pair(loopback), [{"prompt": "a", **columns}], output=out)
    assert "NaN" not in out.read_text()
    assert "Infinity" not in out.read_text()
    [line] = lines_of(out)
    assert (line["score"], line["all"], line["deep"]) == (None, [None, 1.5], {"x": None})


def test_it_takes_half_lines_for_rows_that_are_not_answered(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    answered(pair(loopback), prompts(4), output=out, concurrency=1)
    first, second, third, fourth = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(first + second[:40] + b"\n" + third + fourth[:30])
    loopback.reset()
    assert {answer.id for answer in answered(pair(loopback), prompts(4), output=out)} == {"r1", "r3"}
    whole = [json.loads(line)["id"] for line in out.read_bytes().splitlines() if line != second[:40]]
    assert sorted(whole) == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize("content", [b"Dear diary,\n", b'{"id": 1, "text": "a"}\n', b"half a line", b"[1]\n"])
def test_a_file_of_another_kind_is_left_alone(loopback: Loopback, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(content)
    with pytest.raises(BatchError, match="give another --output"):
        answered(pair(loopback), ["a"], output=out)
    assert out.read_bytes() == content
    (tmp_path / "b.jsonl.journal").write_bytes(b"no database" * 100)
    with pytest.raises(BatchError, match="is not a journal"):
        answered(pair(loopback), ["a"], output=tmp_path / "b.jsonl")


def test_a_run_that_asked_nothing_does_not_bind_the_next_one(loopback: Loopback, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.csv", tmp_path / "out.jsonl"
    with pytest.raises(RowError, match="does not exist"):
        answered(pair(loopback), rows, output=out)
    assert list(tmp_path.iterdir()) == []
    rows.write_text("id,text\n1,a\n")
    with pytest.raises(RowError, match="choose one with --prompt-field"):
        answered(pair(loopback), rows, output=out)
    other = pair(loopback, temperature=0.3)
    assert len(answered(other, rows, output=out, prompt_field="text", system="Be brief.")) == 1
