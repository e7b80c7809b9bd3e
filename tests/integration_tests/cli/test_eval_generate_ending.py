"""How runs of `eval generate` end early, what is then missing, and how they continue."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.integration_tests.cli.answers import FLASK, generate, read, write
from tests.integration_tests.cli.program import until_signal_is_heard
from tests.loopback import Reply, Usage
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback


def test_a_killed_run_goes_on_and_pays_nothing_twice(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    loopback.script("last", ["one", Reply(hang=True)])
    arguments = generate("flask", "--concurrency", "1", "--set", "num_layers=1")
    assert program.signalled(*arguments, calls=6, by=signal.SIGKILL).code == -signal.SIGKILL
    assert not (tmp_path / "answers").exists()
    assert loopback.models.count("a") == 2
    loopback.reset()
    loopback.script("last", ["two", "three"])
    done = program(*arguments)
    assert done.code == 0, done.err
    assert "3 answers, 1 of them from the journal" in done.err
    assert [row["text"] for row in read(tmp_path)] == ["one", "two", "three"]
    # The second question's proposers have answered; only the third one's are asked.
    assert loopback.models.count("a") == loopback.models.count("b") == 1
    assert "Question 2" in loopback.calls("last")[0].user
    assert "1. a says: Question 2" in loopback.calls("last")[0].system


def test_the_first_signal_waits_for_the_calls_under_way(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    gate = loopback.gate()
    loopback.script("last", ["one", Reply("two", gate=gate)])
    arguments = generate("flask", "--concurrency", "1", "--set", "num_layers=1")
    with program.begun(*arguments, calls=6) as process:
        process.send_signal(signal.SIGINT)
        until_signal_is_heard(process)
        gate.open()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert len(loopback.requests) == 6
    assert "6 answers are kept in answers.journal; run the same command to resume" in err
    loopback.reset()
    loopback.script("last", "three")
    done = program(*arguments)
    assert done.code == 0, done.err
    assert sorted(loopback.models) == ["a", "b", "last"]
    assert [row["text"] for row in read(tmp_path)] == ["one", "two", "three"]


def test_the_second_signal_ends_it_at_once(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    loopback.script("last", Reply(hang=True))
    with program.begun(*generate("flask", "--set", "num_layers=1"), calls=9) as process:
        process.send_signal(signal.SIGTERM)
        until_signal_is_heard(process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert "6 answers are kept in answers.journal" in err
    assert not (tmp_path / "answers").exists()


def test_what_failed_is_told_and_asked_again(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    arguments = generate("flask", "--concurrency", "1", "--set", "num_layers=1", "--set", "min_references=2")
    loopback.script("b", [Reply(status=500), "b", "b"])
    loopback.script("last", [Reply(status=500), "three"])
    done = moa(*arguments)
    assert done.code == 1
    assert "no answer to the question of questions, line 1" in done.err
    assert "no answer to the question of questions, line 2" in done.err
    assert "answers lacks 2 of 3 answers; run the same command to ask again" in done.err
    assert [row["question_id"] for row in read(tmp_path)] == [3]
    loopback.reset()
    loopback.script("last", "later")
    done = moa(*arguments)
    assert done.code == 0, done.err
    assert [row["text"] for row in read(tmp_path)] == ["later", "later", "three"]
    # In the first question's layer, one call failed; the second question lacks only its aggregator.
    assert sorted(loopback.models) == ["b", "last", "last"]
    loopback.reset()
    assert moa(*arguments).code == 0
    assert not loopback.requests


def test_it_gives_up_where_nothing_works(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"idx": number, "instruction": f"Question {number}"} for number in range(50)])
    loopback.script("*", Reply(status=401))
    done = moa(*generate("flask", "--concurrency", "2"))
    assert done.code == 1
    assert (
        "moa failed 8 times in a row, and the run was given up; the last: OpenAIAuthenticationError: Error code: 401"
        in done.err
    )
    assert len(loopback.calls("a")) < 12


def test_it_gives_up_after_a_good_beginning_too(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"idx": number, "instruction": f"Question {number}"} for number in range(50)])
    loopback.script("*", lambda body: "x" if "Question 0" in str(body) else Reply(status=401))
    done = moa(*generate("flask", "--concurrency", "1", "--set", "num_layers=1"))
    assert done.code == 1
    assert len(loopback.calls("a")) == 9
    assert "answers lacks 49 of 50 answers" in done.err


def test_an_answer_that_does_without_a_member_says_so(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    loopback.script("b", ["b", Reply(status=400), "b"])
    arguments = generate("flask", "--concurrency", "1", "--set", "num_layers=1")
    done = moa(*arguments)
    assert done.code == 0, done.err
    assert "1 answer is degraded by failed calls: layer 1, proposer 2 (openai:b), OpenAIInvalidRequestError" in done.err
    loopback.reset()
    done = moa(*arguments)
    assert "degraded" not in done.err
    assert sorted(loopback.models) == ["b", "last"]
    assert "2. b" in loopback.calls("last")[0].system


def test_a_mixture_that_has_lost_a_member_is_given_up(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"idx": number, "instruction": f"Question {number}"} for number in range(50)])
    loopback.script("b", Reply(status=401))
    done = moa(*generate("flask", "--concurrency", "1", "--set", "num_layers=1"))
    assert done.code == 1
    assert "layer 1, proposer 2 (openai:b) failed 8 times in a row, and the run was given up" in done.err
    assert len(loopback.calls("last")) == 8


NANO = ("-p", "openai:gpt-4.1-nano", "-p", "openai:gpt-4.1-nano", "-a", "openai:gpt-4.1-nano", "--set", "num_layers=1")


def test_a_limit_in_dollars_counts_what_was_spent_before(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    # Output of gpt-4.1-nano costs 40 cents per million tokens, so each question costs $1.20.
    loopback.script("*", Reply("x", usage=Usage(prompt=0, completion=1_000_000)))
    arguments = generate("flask", "--own-settings", "--concurrency", "1", members=NANO)
    done = moa(*arguments, "--max-cost-usd", "2.5")
    assert done.code == 1
    assert "--max-cost-usd 2.5: $0.1000 is left, and the next call may cost $0.4" in done.err
    assert len(read(tmp_path)) == 2
    # Earlier costs still count.
    assert moa(*arguments, "--max-cost-usd", "2.5").code == 1
    assert len(loopback.requests) == 6
    done = moa(*arguments, "--max-cost-usd", "4")
    assert done.code == 0
    assert "3 answers, 2 of them from the journal; $3.6000 in all" in done.err
    assert len(loopback.requests) == 9


def test_a_limit_in_dollars_needs_prices(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    done = moa(*generate("flask", "--max-cost-usd", "1"))
    assert done.code == 2
    assert "--max-cost-usd cannot be kept: the prices of openai:a, openai:b, openai:last are not known" in " ".join(
        done.err.split()
    )
    assert not loopback.requests


def test_a_changed_mixture_asks_what_has_changed(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    assert moa(*generate("flask", "--set", "num_layers=1")).code == 0
    loopback.reset()
    # Options for how to run, not what to ask, can change; and more questions can be added.
    write(tmp_path, [*FLASK, {"idx": 4, "instruction": "Question 4"}])
    done = moa(*generate("flask", "--set", "num_layers=1", "--set", "max_concurrency=2", "--concurrency", "3"))
    assert done.code == 0
    assert sorted(loopback.models) == ["a", "b", "last"]
    loopback.reset()
    members = ("-p", "openai:a", "-p", "openai:c", "-a", "openai:last", "--set", "num_layers=1")
    assert moa(*generate("flask", members=members)).code == 0
    assert sorted(loopback.models) == ["c"] * 4 + ["last"] * 4
    systems = {request.user: request.system for request in loopback.calls("last")}
    assert "1. a says: Question 1\n2. c says: Question 1" in systems["Question 1"]


def test_a_file_that_is_no_journal_is_left_alone(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    (tmp_path / "answers.journal").write_text("something else\nof somebody's\n")
    done = moa(*generate("flask"))
    assert done.code == 2
    assert "answers.journal is not a journal (file is not a database); give another --output" in done.err
    assert not loopback.requests
    assert (tmp_path / "answers.journal").read_text() == "something else\nof somebody's\n"


def test_the_ledger_of_an_earlier_version_is_refused_with_the_remedy(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    (tmp_path / "answers.ledger").write_text('{"key": "of an earlier version"}\n')
    done = moa(*generate("flask"))
    assert done.code == 2
    assert "answers.ledger is the ledger of an earlier version" in done.err
    assert "give another --output, or remove the file" in " ".join(done.err.split())
    assert not loopback.requests
    assert not (tmp_path / "answers.journal").exists()
