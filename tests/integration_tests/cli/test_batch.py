"""`langchain-moa batch` as a program: files in and out, killed and resumed, ended by signals, with progress."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import stat
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.full_disk import full_at
from tests.integration_tests.cli.program import until_signal_is_heard
from tests.loopback import Reply, Usage
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback

MEMBERS = ("-p", "openai:a", "-p", "openai:b", "-a", "openai:last", "-l", "1")


def _batch(*more: str, rows: str = "rows.jsonl", members: tuple[str, ...] = MEMBERS) -> tuple[str, ...]:
    return ("batch", rows, "-o", "out.jsonl", *members, *more)


def _write(folder: Path, number: int) -> None:
    rows = [{"id": f"r{each}", "prompt": f"question {each}."} for each in range(number)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_rows_are_answered_and_where_is_said(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 3)
    done = moa(*_batch("--references", "--ordered", "-s", "Be brief.", "-t", "0.5"))
    assert done.code == 0, done.err
    assert done.out == "out.jsonl\n"
    assert "3 rows; 9 calls; no price is known" in done.err
    assert "3 answers" in done.err
    assert [(row["id"], row["answer"], len(row["references"])) for row in _read(tmp_path)] == [
        (f"r{number}", f"last says: question {number}.", 2) for number in range(3)
    ]
    assert {request.body["temperature"] for request in loopback.requests} == {0.5}
    assert all("Be brief." in request.system for request in loopback.requests)
    again = moa(*_batch("-s", "Be brief.", "-t", "0.5"))
    assert again.code == 0
    assert "3 rows, 3 of them in out.jsonl already; 0 calls" in again.err
    assert len(loopback.requests) == 9


def test_quiet_says_nothing(moa: Command, tmp_path: Path) -> None:
    _write(tmp_path, 2)
    done = moa(*_batch("--quiet"))
    assert (done.code, done.out, done.err) == (0, "out.jsonl\n", "")


def test_an_estimate_asks_nothing_and_writes_nothing(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 1000)
    members = ("-p", "openai:gpt-4.1-nano", "-a", "openai:gpt-4.1-nano", "-l", "1")
    done = moa(*_batch("--estimate", members=members))
    assert done.code == 0, done.err
    assert "1,000 rows; 2,000 calls; $0.24 and more, with answers of 300 tokens" in done.err
    assert loopback.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_an_estimate_says_both_prices(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 1000)
    members = ("-p", "openai:gpt-4.1-nano", "-a", "openai:gpt-4.1-nano", "-l", "1")
    done = moa(*_batch("--estimate", "--half-price", members=members))
    assert "$0.24 and more; $0.12 where the providers have batch jobs, with answers of 300 tokens" in done.err
    assert loopback.requests == []


def test_a_provider_without_jobs_is_asked_directly_and_that_is_said(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 3)
    done = moa(*_batch("--half-price", "--poll", "0.1"))
    assert done.code == 0, done.err
    assert "0 batch jobs submitted; called directly, without batch jobs: openai:a, openai:b, openai:last" in done.err
    assert len(loopback.requests) == 9
    refused = moa(
        *_batch("--half-price", "--max-cost-usd", "1", members=("-p", "openai:gpt-4.1-nano", "-a", "openai:gpt-4.1-nano"))
    )
    assert refused.code == 2
    assert "--max-cost-usd with --half-price needs --max-tokens" in refused.err


@pytest.mark.parametrize(
    ("content", "more", "told"),
    [
        ('{"prompt": "a"}\n{"text": "b"}\n', (), "rows.jsonl, line 2: no prompt"),
        ('{"prompt": "a"}\n', ("--prompt-field", "text"), "no column 'text' (--prompt-field)"),
        ('{"prompt": "a"}\n', ("--max-cost-usd", "1"), "--max-cost-usd cannot be kept: the prices of"),
        ("", (), "rows.jsonl has no rows"),
        (
            '{"prompt": "a"}\n',
            ("--ray", "local", "--half-price"),
            "--half-price works in one process only, and --ray uses several",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    moa: Command, loopback: Loopback, tmp_path: Path, content: str, more: tuple[str, ...], told: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    done = moa(*_batch(*more))
    assert done.code == 2
    assert told in done.err
    assert loopback.requests == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes on this system")
def test_an_output_that_cannot_be_read_again_is_refused(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe", 0o644)
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        done = moa("batch", "rows.jsonl", "--output", name, "-p", "openai:a", "-a", "openai:agg")
        assert done.code == 2
        assert f"{name} is not a regular file; give a file as --output" in done.err
    for name in ("-", "answers.csv", "answers.Parquet"):
        done = moa("batch", "rows.jsonl", "--output", name, "-p", "openai:a", "-a", "openai:agg")
        assert done.code == 2
        assert f"{name}: the output is a file of JSON lines; give a name such as answers.jsonl" in done.err
    assert stat.S_IMODE((tmp_path / "pipe").stat().st_mode) == 0o644
    assert {path.name for path in tmp_path.iterdir()} >= {"rows.jsonl", "pipe", "link"}
    assert not [path for path in tmp_path.iterdir() if "journal" in path.name]
    assert loopback.requests == []


def test_failed_rows_make_the_exit_code_and_can_be_asked_again(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 3)
    loopback.script("last", lambda body: Reply("no", status=400) if "question 1." in str(body["messages"]) else "ok")
    done = moa(*_batch())
    assert done.code == 1
    assert "no answer to row r1: " in done.err
    assert "1 row failed; the reasons are in out.jsonl, and --retry-failed asks them again" in done.err
    assert moa(*_batch()).code == 1
    loopback.script("last", "now")
    done = moa(*_batch("--retry-failed"))
    assert done.code == 0, done.err
    assert Counter(row["answer"] for row in _read(tmp_path)) == {"ok": 2, "now": 1}


def test_rows_that_a_full_disk_does_not_take_are_written_by_the_next_run(
    moa: Command, loopback: Loopback, tmp_path: Path
) -> None:
    rows = [{"prompt": f"question {number}", "page": "x" * 200_000} for number in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with full_at(300_000):
        done = moa(*_batch("--concurrency", "1"))
    assert done.code == 1
    assert re.search(r"out\.jsonl cannot be written \(.*\): no further call is made", done.err)
    assert "1 row could not be written to out.jsonl; free some space" in done.err
    assert "lost" not in done.err
    assert len(loopback.requests) == 6
    assert moa(*_batch("--concurrency", "1")).code == 0
    assert len(loopback.requests) == 12
    assert len(_read(tmp_path)) == 4


def test_the_money_is_not_exceeded(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 50)
    loopback.script("*", Reply("so", usage=Usage(prompt=0, completion=1_000_000)))  # 40 cents
    members = ("-p", "openai:gpt-4.1-nano", "-a", "openai:gpt-4.1-nano", "-l", "1", "--max-tokens", "1000000")
    done = moa(*_batch("--max-cost-usd", "2", members=members))
    assert done.code == 1
    assert "--max-cost-usd 2: $" in done.err
    assert len(loopback.requests) <= 5
    assert "rows left; run the same command to resume" in done.err


def test_a_run_that_is_killed_again_and_again_asks_each_row_once(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 500)
    loopback.script("*", lambda body: Reply(f"{body['model']} said", delay=0.002))
    chance = random.Random(7)  # noqa: S311  # where the run is killed
    calls = 0
    for _ in range(5):
        calls += chance.randrange(80, 250)
        assert program.signalled(*_batch("--concurrency", "8"), calls=calls, by=signal.SIGKILL).code == -signal.SIGKILL
        calls = len(loopback.settle())
    done = program(*_batch("--concurrency", "8", "--ordered"))
    assert done.code == 0, done.err
    assert [row["id"] for row in _read(tmp_path)] == [f"r{number}" for number in range(500)]
    assert {row["error"] for row in _read(tmp_path)} == {None}
    asked = Counter((request.model, request.user) for request in loopback.requests)
    assert len(asked) == 1500
    # Only calls that were running when the process was killed are paid twice: at most a row's two proposers per slot.
    assert sum(asked.values()) - 1500 <= 5 * 8 * 2


def test_ctrl_c_lets_what_is_under_way_end(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 100)
    gate = loopback.gate()
    loopback.script("last", Reply("done", gate=gate))
    with program.begun(*_batch("--concurrency", "2"), calls=6) as process:
        process.send_signal(signal.SIGINT)
        until_signal_is_heard(process)
        gate.open()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert len(loopback.requests) == 6
    assert [row["answer"] for row in _read(tmp_path)] == ["done", "done"]
    assert "98 rows left; run the same command to resume" in err


def test_a_second_signal_ends_it_at_once_and_pays_only_what_is_missing(
    program: Program, loopback: Loopback, tmp_path: Path
) -> None:
    _write(tmp_path, 3)
    loopback.script("last", Reply(hang=True))
    with program.begun(*_batch(), calls=9) as process:
        process.send_signal(signal.SIGTERM)
        until_signal_is_heard(process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    loopback.settle()
    loopback.reset()
    loopback.script("last", "done")
    assert program(*_batch()).code == 0
    assert loopback.models == ["last"] * 3


def test_two_runs_on_one_output_are_refused(program: Program, moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 2)
    gate = loopback.gate()
    loopback.script("last", Reply("done", gate=gate))
    with program.begun(*_batch(), calls=6) as process:
        second = moa(*_batch())
        assert second.code == 2
        assert "out.jsonl.journal is in use by another run; wait for its end, or give another --output" in second.err
        gate.open()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert len(loopback.requests) == 6


def test_a_terminal_shows_how_far_it_is_and_a_pipe_does_not(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 4)
    gate = loopback.gate()
    loopback.script("last", lambda body: Reply("ok", gate=gate) if "question 3." in str(body["messages"]) else "ok")
    done = program.in_terminal(*_batch("--concurrency", "1"), seen="3/4", then=gate.open, width=100)
    assert done.code == 0, done.text
    assert "rows, " in done.text
    assert "/s" in done.text
    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "out.jsonl.journal").unlink()
    piped = program(*_batch())
    assert "3/4" not in piped.err
    assert "\x1b" not in piped.err
    assert len(loopback.requests) == 24


def test_a_sum_without_every_price_says_so(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _write(tmp_path, 2)
    for model in ("gpt-4.1-nano", "b"):
        loopback.script(model, Reply("So.", usage=Usage(prompt=1_000_000, completion=0)))
    members = ("-p", "openai:b", "-a", "openai:gpt-4.1-nano", "-l", "1")
    assert "2 answers; at least $0.2000 in all" in moa(*_batch(members=members)).err
    questions = "".join(json.dumps({"question": f"{each} + 1?", "answer": "2"}) + "\n" for each in range(2))
    (tmp_path / "questions.jsonl").write_text(questions)
    compared = moa("eval", "compare", "--task", "questions.jsonl", "-o", "compared", "--yes", *members)
    assert "calls made for at least $" in compared.err
    assert "calls priced); the results are in" in compared.err
