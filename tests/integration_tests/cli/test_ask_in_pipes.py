"""`ask` as scripts use it: the contents of each stream, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.integration_tests.cli.conftest import Command
    from tests.loopback import Loopback

MEMBERS = ["-p", "openai:p", "-p", "openai:q", "-a", "openai:agg"]


def test_standard_output_is_the_answer_and_nothing_else(moa: Command, loopback: Loopback) -> None:
    loopback.script("agg", Reply(chunks=["**The** ", "answer\n", "\tis größer \x1b[1m😀"]))
    done = moa("ask", *MEMBERS, "Why?")
    assert (done.code, done.out, done.err) == (0, "**The** answer\n\tis größer \x1b[1m😀\n", "")
    assert sorted(loopback.models) == ["agg", "p", "p", "q", "q"]
    assert loopback.calls("agg")[0].stream
    assert loopback.calls("p")[0].user == "Why?"


def test_options_reach_the_models(moa: Command, loopback: Loopback) -> None:
    done = moa(
        *("ask", *MEMBERS, "--layers", "1", "--system", "Be brief.", "--temperature", "0.25", "--max-tokens", "17"),
        *("--set", "stop=[END]", "Why", "is", "it?"),
    )
    assert done.code == 0
    assert len(loopback.requests) == 3
    for request in loopback.requests:
        assert request.system.startswith("Be brief.")
        assert request.user == "Why is it?"
        assert request.body["temperature"] == 0.25
        assert request.body["max_completion_tokens"] == 17
        assert request.body["stop"] == ["END"]


def test_piped_text_follows_the_question(moa: Command, loopback: Loopback) -> None:
    assert moa("ask", *MEMBERS, "-l", "1", "What is wrong?", stdin="line 1\nline 2\n").code == 0
    assert loopback.requests[0].user == "What is wrong?\n\nline 1\nline 2"
    loopback.reset()
    assert moa("ask", *MEMBERS, "-l", "1", stdin="Größe?").code == 0
    assert loopback.requests[0].user == "Größe?"


def test_json_is_one_document(moa: Command, loopback: Loopback) -> None:
    loopback.script("q", Reply("no", status=500))
    done = moa("ask", *MEMBERS, "-l", "1", "--json", "--set", "max_retries=0", "Why?")
    document = json.loads(done.out)
    assert done.code == 0
    assert document["answer"] == "agg says: Why?"
    assert [reference["status"] for reference in document["references"]] == ["ok", "failed"]
    assert document["references"][0]["text"] == "p says: Why?"
    assert document["usage"]["total_tokens"] >= document["references"][0]["usage"]["total_tokens"]
    assert document["moa"]["calls"] == 3
    assert document["error"] is None


def test_a_failed_proposer_is_a_warning_and_no_failure(moa: Command, loopback: Loopback) -> None:
    loopback.script("q", Reply("Slow down, key sk-abcdefgh12345678.", status=429))
    done = moa("ask", *MEMBERS, "-l", "1", "--set", "max_retries=0", "Why?")
    assert (done.code, done.out) == (0, "agg says: Why?\n")
    assert done.err.startswith("warning: layer 1")
    assert done.err.count("\n") == 1
    assert "openai:q" in done.err
    assert "Slow down" in done.err
    assert "sk-abcdefgh12345678" not in done.err
    assert moa("ask", *MEMBERS, "-l", "1", "--set", "max_retries=0", "--quiet", "Why?").err == ""


def test_no_answer_is_exit_code_1_and_one_message(moa: Command, loopback: Loopback) -> None:
    for model in ("p", "q"):
        loopback.script(model, Reply("Out of order.", status=500))
    done = moa("ask", *MEMBERS, "--set", "max_retries=0", "Why?")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: all 2 proposers in layer 1 failed (min_references=1):")
    assert done.err.count("Out of order.") == 2
    assert "Traceback" not in done.err
    assert "Traceback" in moa("ask", *MEMBERS, "--set", "max_retries=0", "--debug", "Why?").err


def test_an_aggregator_that_fails_ends_the_line_it_had_begun(moa: Command, loopback: Loopback) -> None:
    loopback.script("agg", Reply("one two three four", drop=True, after_chunks=2))
    done = moa("ask", *MEMBERS, "-l", "1", "--set", "max_retries=0", "Why?")
    assert (done.code, done.out) == (1, "one two\n")
    assert done.err.startswith("error: the aggregator openai:agg failed")


def test_json_of_a_failure_has_what_was_paid_for(moa: Command, loopback: Loopback) -> None:
    loopback.script("agg", Reply("Out of order.", status=500))
    done = moa("ask", *MEMBERS, "-l", "1", "--json", "--set", "max_retries=0", "Why?")
    document = json.loads(done.out)
    assert done.code == 1
    assert document["answer"] is None
    assert [reference["text"] for reference in document["references"]] == ["p says: Why?", "q says: Why?"]
    assert "Out of order." in document["error"]
    assert done.err.startswith("error: ")


def test_an_answer_that_was_cut_is_said_to_be(moa: Command, loopback: Loopback) -> None:
    loopback.script("agg", Reply("in all directions,", finish_reason="length"))
    done = moa("ask", *MEMBERS, "-l", "1", "Why?")
    assert (done.code, done.out) == (0, "in all directions,\n")
    assert done.err == "warning: aggregator: openai:agg: the answer was cut at max_tokens\n"
    assert moa("ask", *MEMBERS, "-l", "1", "--quiet", "Why?").err == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-p", "openai:p"], "aggregator"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--preset", "absent"], "choose one of:"),
        (["-p", "together:p", "-a", "openai:a"], "TOGETHER_API_KEY"),
        ([*MEMBERS, "--layers", "0"], "num_layers"),
        ([*MEMBERS, "--timeout", "0"], "timeout"),
    ],
)
def test_wrong_configuration_is_exit_code_2(moa: Command, loopback: Loopback, args: list[str], message: str) -> None:
    done = moa("ask", *args, "Why?")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert message in done.err
    assert loopback.requests == []


def test_no_question_is_exit_code_2(moa: Command) -> None:
    done = moa("ask", *MEMBERS)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: there is no question")


def test_a_file_in_the_folder_is_the_mixture(moa: Command, loopback: Loopback) -> None:
    Path("moa.yaml").write_text("proposers: [openai:x]\naggregator: openai:y\nnum_layers: 1\n", encoding="utf-8")
    done = moa("ask", "Why?")
    assert (done.out, done.err) == ("y says: Why?\n", "note: using ./moa.yaml\n")
    assert loopback.models == ["x", "y"]


def test_references_go_to_standard_error(moa: Command) -> None:
    done = moa("ask", *MEMBERS, "-l", "1", "--show-references", "Why?")
    assert done.out == "agg says: Why?\n"
    lines = [line for line in done.err.splitlines() if line]
    assert lines[1::2] == ["p says: Why?", "q says: Why?"]
    assert lines[0].startswith("layer 1, 1: openai:p")
