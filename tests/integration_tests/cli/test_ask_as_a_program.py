"""`ask` in its own process: signals, pipes that close, and the script's entry point."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.loopback import Reply
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback

MEMBERS = ["-p", "openai:p", "-p", "openai:q", "-a", "openai:agg"]


def test_standard_output_is_the_answer_and_nothing_else(program: Program, loopback: Loopback) -> None:
    done = program("ask", *MEMBERS, "What is wrong?", stdin="line 1\nGröße\n")
    assert (done.code, done.out, done.err) == (0, "agg says: What is wrong?\n\nline 1\nGröße\n", "")
    assert sorted(loopback.models) == ["agg", "p", "p", "q", "q"]


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_calls(program: Program, loopback: Loopback, by: signal.Signals, code: int) -> None:
    loopback.script("p", Reply(hang=True))
    done = program.signalled("ask", *MEMBERS, "Why?", calls=2, by=by)
    assert (done.code, done.out, done.err) == (code, "", "")
    assert [request.model for request in loopback.settle() if request.disconnected] == ["p"]


def test_a_signal_in_the_answer_ends_its_line(program: Program, loopback: Loopback) -> None:
    loopback.script("agg", Reply("one two three", hang=True, after_chunks=2))
    done = program.signalled("ask", *MEMBERS, "-l", "1", "Why?", calls=3)
    assert done.code == 130
    assert done.out in {"", "one\n", "one two\n"}
    assert done.err == ""
    assert loopback.settle()[-1].disconnected


def test_whoever_reads_no_further_gets_no_traceback(program: Program, loopback: Loopback) -> None:
    loopback.script("agg", Reply("word " * 200, chunk_delay=0.001))
    with program.start("ask", *MEMBERS, "-l", "1", "Why?") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == "word"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_an_answer_that_a_full_disk_does_not_take_is_not_lost(program: Program, form: list[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = program.start("ask", *MEMBERS, "-l", "1", *form, "Why?", stdout=full)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "agg says: Why?" in err
    assert err.endswith(
        "error: the answer could not be written to standard output (No space left on device); it is on standard error\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("args", [["--version"], ["--help"], ["ask", "--help"], ["presets"]], ids=" ".join)
def test_output_that_a_full_disk_does_not_take_is_one_error(program: Program, args: list[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = program.start(*args, stdout=full)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err.startswith("error: [Errno 28] No space left on device")
    assert err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_references_of_a_failed_answer_that_a_full_disk_does_not_take_are_not_lost(
    program: Program, loopback: Loopback
) -> None:
    loopback.script("agg", Reply("no", status=400))
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = program.start("ask", *MEMBERS, "-l", "1", "--json", "Why?", stdout=full)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert '"text": "p says: Why?"' in err
    assert "the aggregator openai:agg failed" in err
