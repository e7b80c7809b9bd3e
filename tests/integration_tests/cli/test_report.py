"""Reports on the command line: of answers, and pages of recorded runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_moa.runs import MoARun, read_runs
from tests.loopback import Reply
from tests.recorded_runs import a_run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Done
    from tests.loopback import Loopback


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key-that-is-long-enough")
    return "test-key-that-is-long-enough"


def _ask(moa: Command, report: str) -> Done:
    return moa("ask", "-q", "-l", "1", "-p", "openai:a", "-p", "openai:b", "-a", "openai:c", "--report", report, "Why?")


def test_ask_writes_the_form_that_the_name_says(moa: Command, tmp_path: Path, key: str) -> None:
    assert _ask(moa, "run.html").out == "c says: Why?\n"
    assert "<title>Why?</title>" in (tmp_path / "run.html").read_text()
    assert _ask(moa, "run.json").code == 0
    run = MoARun.from_json(tmp_path / "run.json")
    assert run.text == "c says: Why?"
    assert run.config == {"proposers": ["openai:a", "openai:b"], "num_layers": 1, "aggregator": "openai:c"}
    for _ in range(2):
        assert _ask(moa, "runs.jsonl").code == 0
    assert [each.text for each in read_runs(tmp_path / "runs.jsonl")] == [run.text] * 2
    assert key not in "".join(file.read_text() for file in tmp_path.iterdir())


def test_the_first_tokens_of_the_proposers_are_there_on_request(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    asked = ("ask", "-q", "-l", "1", "-p", "openai:a", "-a", "openai:c")
    assert moa(*asked, "--report", "run.json", "--first-tokens", "Why?").code == 0
    assert [call.first_token is not None for call in MoARun.from_json(tmp_path / "run.json").calls] == [True, True]
    assert loopback.calls("a")[0].stream
    refused = moa(*asked, "--first-tokens", "Why?")
    assert refused.code == 2
    assert "--first-tokens is for a report" in refused.err
    assert len(loopback.requests) == 2


def test_a_run_that_failed_has_a_report_too(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("c", Reply("out of order", status=400))
    assert _ask(moa, "run.json").code == 1
    run = MoARun.from_json(tmp_path / "run.json")
    assert (run.status, [call.status for call in run.calls]) == ("failed", ["ok", "ok", "failed"])


@pytest.mark.parametrize(
    ("name", "words"), [("run.txt", "must end in .html, .json or .jsonl"), ("no/run.html", "no folder no")]
)
def test_a_report_that_cannot_be_is_refused_before_anyone_is_asked(
    moa: Command, loopback: Loopback, name: str, words: str
) -> None:
    done = _ask(moa, name)
    assert done.code == 2
    assert words in " ".join(done.err.split())
    assert loopback.requests == []


def test_report_makes_pages(moa: Command, tmp_path: Path) -> None:
    run = a_run()
    run.save(tmp_path / "run.json")
    for _ in range(3):
        run.save(tmp_path / "runs.jsonl")
    assert moa("report", "run.json").out == "run.html\n"
    assert (tmp_path / "run.html").read_text() == run.to_html()
    assert moa("report", "runs.jsonl", "-o", "summary.html").out == "summary.html\n"
    assert "<title>3 runs</title>" in (tmp_path / "summary.html").read_text()
    assert moa("report", "runs.jsonl", "run.json").out == "runs.html\n"
    assert "<title>4 runs</title>" in (tmp_path / "runs.html").read_text()


def test_report_makes_the_page_of_one_run_of_many(moa: Command, tmp_path: Path) -> None:
    for number in range(1, 4):
        a_run(id=f"run-{number}", answer=f"Answer {number}.").save(tmp_path / "runs.jsonl")
    assert moa("report", "runs.jsonl", "--run", "2").out == "runs-2.html\n"
    assert "<p>Answer 2.</p>" in (tmp_path / "runs-2.html").read_text()
    assert moa("report", "runs.jsonl", "--run", "run-3", "-o", "third.html").out == "third.html\n"
    assert "<p>Answer 3.</p>" in (tmp_path / "third.html").read_text()
    refused = moa("report", "runs.jsonl", "--run", "4")
    assert refused.code == 2
    assert "--run 4: there is no such run; give a number from 1 to 3, or an id" in refused.err


def test_report_writes_over_nothing_unless_it_is_told_to(moa: Command, tmp_path: Path) -> None:
    a_run().save(tmp_path / "run.json")
    (tmp_path / "run.html").write_text("mine")
    refused = moa("report", "run.json")
    assert refused.code == 2
    assert "run.html already exists; to overwrite it, give --output run.html" in " ".join(refused.err.split())
    assert (tmp_path / "run.html").read_text() == "mine"
    assert moa("report", "run.json", "-o", "run.html").code == 0
    assert (tmp_path / "run.html").read_text() == a_run().to_html()


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("wrong.jsonl", 2, "wrong.jsonl, line 1: not a recorded run: id is missing"),
        ("empty.jsonl", 2, "there are none to summarize"),
        ("page.html", 2, "is the input; give another name for the page"),
        ("none.jsonl", 2, "there is no file none.jsonl"),
    ],
)
def test_report_says_what_is_wrong(moa: Command, tmp_path: Path, name: str, code: int, words: str) -> None:
    (tmp_path / "wrong.jsonl").write_text("{}\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "page.html").write_text("")
    done = moa("report", name)
    assert done.code == code
    assert words in " ".join(done.err.split())
